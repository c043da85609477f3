"""docs/extending.md: its example is run as written, and its rule keeps the contract."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import poise
from poise.weighting import Signals

TEXT = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()


@pytest.fixture(scope="module")
def example():
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names = {"__name__": "example"}
    exec(compile(code, "extending.md", "exec"), names)
    return names


def test_the_example_trains(example):
    solution = example["solution"]
    assert solution.metrics["steps"] == 200
    weights = np.array([*solution.weights.values()])
    assert np.isfinite(weights).all() and not np.allclose(weights, 1)
    # The mean of the weights is 1 at every update, and so is that of their averages.
    assert weights.mean() == pytest.approx(1, rel=1e-5)
    history = solution.history
    changed = np.diff(history["weight.boundary"]) != 0
    assert changed.any()


def test_its_rule_keeps_the_contract(example):
    rule = example["RootLosses"](ema=0.5)
    weights, state = rule.init(("residual", "boundary"))
    update = jax.jit(rule.update)
    seen = Signals(losses={"residual": jnp.asarray(4.0), "boundary": jnp.asarray(0.25)})
    weights, state, _ = update(state, seen)
    # 1/2 and 2 over their mean 5/4.
    assert {n: float(w) for n, w in weights.items()} == pytest.approx(
        {"residual": 0.4, "boundary": 1.6}
    )
    broken = Signals(losses={"residual": jnp.asarray(jnp.nan), "boundary": jnp.asarray(0.25)})
    later, state, _ = update(state, broken)
    assert all(np.isfinite(w) for w in later.values())


def test_what_the_guide_names_exists():
    for link in re.findall(r"\]\(\.\./(src/[^)]*)\)", TEXT):
        assert (Path(__file__).parents[1] / link).is_file(), link
    assert set(re.findall(r"^\| `\"(\w+)\"` \|", TEXT, re.MULTILINE)) == set(Signals._fields)
    for link in re.findall(r"`(tests/\w+\.py|src/poise/[\w/]+)`", TEXT):
        assert (Path(__file__).parents[1] / link).exists(), link
    for said in ("Averaged.remember", "Averaged.usual", "Pointwise.begin", "Pointwise.emphasize"):
        kind, name = said.split(".")
        assert hasattr(getattr(poise.weighting, kind), name)
    assert poise.weighting.Direction.combine


def test_one_file_and_one_line_are_enough(example, monkeypatch):
    """What the guide promises of the index: the rule has a recipe once it is there."""
    from poise.training import recipe

    class RootLosses(example["RootLosses"]):
        recipe = "root-losses"

    monkeypatch.setattr(poise.weighting, "RootLosses", RootLosses, raising=False)
    rules = recipe._rules()
    assert rules["root-losses"] == RootLosses()
    assert next(iter(rules)) == "fixed" and set(rules) == {*recipe.RULES, "root-losses"}
    line = "from poise.weighting.root_losses import RootLosses as RootLosses"
    assert line in TEXT and 'recipe: ClassVar[str] = "root-losses"' in TEXT
    index = Path(poise.weighting.__file__).read_text()
    assert "from poise.weighting.ntk import NTK as NTK" in index


def test_every_rule_is_on_the_page_of_weightings():
    from poise.training.recipe import RECIPES, RULES

    page = (Path(__file__).parents[1] / "docs" / "weightings.md").read_text()
    for name, rule in RULES.items():
        assert f"| `{type(rule).__name__}` | `{name}` |" in page
    named = set(re.findall(r"^\| `\w+` \| `([\w-]+)` \|", page, re.MULTILINE))
    assert named == set(RULES) and named < set(RECIPES)
