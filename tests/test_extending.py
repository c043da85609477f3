"""docs/extending.md: its example is run as written, and its rule keeps the contract."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import poise
from poise.weighting import Signals
from poise.weighting.pointwise import TermRows

TEXT = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()


@pytest.fixture(scope="module")
def example():
    names = {"__name__": "example"}
    found = []
    for code in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(compile(code, "extending.md", "exec"), names)
        found.append(names["solution"])
    return names | {"solutions": found}


def test_the_example_trains(example):
    solution, _ = example["solutions"]
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
    files = re.findall(r"`((?:tests|benchmarks|src)/[\w/.]+)`", TEXT)
    assert "src/poise/weighting/__init__.py" in files and "tests/test_scaling_laws.py" in files
    for file in files:
        assert (Path(__file__).parents[1] / file).exists(), file
    kinds = (poise.weighting.Averaged, poise.weighting.Pointwise, poise.weighting.Direction)
    known = (
        {name for place in kinds for name in dir(place)} | set(dir(TermRows)) | set(dir(Signals))
    )
    for said in re.findall(r"`(\w+)\([\w, ]*\)`", TEXT):
        assert said in known or said == "Estimate", said
    for said in (
        "tied",
        "chosen",
        "terms",
        "check_coordinates",
        "usual",
        "trace_probes",
        "renewed",
    ):
        assert f"`{said}`" in TEXT and said in known, said


def test_its_rule_of_points_trains_and_weights_points(example):
    _, solution = example["solutions"]
    assert solution.metrics["steps"] == 200
    rule = example["LargeResiduals"](terms=("residual",), maximum=1.2)
    state = rule.prepare({"residual": 4, "boundary": 2}, ("residual",), jnp.float32)
    residuals = jnp.array([1.0, -2.0, 3.0, 0.0])
    rows = {"residual": TermRows(residuals, {"x": residuals}, jnp.zeros(4, bool))}
    emphasis, _ = jax.jit(rule.weigh)(rows, state)
    np.testing.assert_allclose(emphasis["residual"], [2 / 3, 1.2, 1.2, 0], rtol=1e-6)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (lambda losses, of: dict(losses), "gave a dict; expected an Estimate"),
        (
            lambda losses, of: of({"boundary": losses["boundary"]}),
            "gave weights for boundary; expe",
        ),
        (lambda losses, of: of({n: jnp.ones(3) for n in losses}), r"has the shape \(3,\)"),
        (lambda losses, of: of(dict(losses), (1.0,)), "another memory than `remember` lays out"),
    ],
)
def test_mistakes_in_a_rule_of_ones_own_are_answered_in_words(weights, said):
    class Mistaken(poise.weighting.Averaged):
        needs = frozenset({"losses"})

        def estimate(self, signals, present, memory):
            return weights(signals.losses, poise.weighting.Estimate)

    _, state = Mistaken().init(("residual", "boundary"))
    seen = Signals(losses={"residual": jnp.asarray(4.0), "boundary": jnp.asarray(0.25)})
    with pytest.raises(ValueError, match=rf"Mistaken\.estimate.*{said}"):
        jax.jit(Mistaken().update)(state, seen)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda found, memory: found, "gave a dict; expected weights by term, and what to rem"),
        (lambda found, memory: ({"boundary": jnp.ones(2)}, memory), "gave weights for boundary"),
        (
            lambda found, memory: ({"residual": jnp.ones(3)}, memory),
            r"have the shape \(3,\); expec",
        ),
    ],
)
def test_mistakes_in_a_rule_of_points_are_answered_in_words(example, wrong, said):
    class Mistaken(example["LargeResiduals"]):
        def emphasize(self, rows, memory):
            return wrong(*super().emphasize(rows, memory))

    rule = Mistaken(terms=("residual",))
    state = rule.prepare({"residual": 4}, ("residual",), jnp.float32)
    rows = {"residual": TermRows(jnp.ones(4), {"x": jnp.ones(4)}, jnp.zeros(4, bool))}
    with pytest.raises(ValueError, match=said):
        rule.weigh(rows, state)


def test_a_signal_that_does_not_exist_is_refused_before_training(example):
    class Mistaken(example["RootLosses"]):
        needs = frozenset({"loss"})

    with pytest.raises(ValueError, match="no signal 'loss'; the signals are losses, gradients, tr"):
        poise.train(poise.zoo.load("poisson-2d"), weighting=Mistaken(), steps=2, progress=False)


def test_one_file_and_one_line_are_enough(example, monkeypatch):
    """What the guide promises of the index: the rule has a recipe once it is there."""
    from poise.training import recipe

    class RootLosses(example["RootLosses"]):
        recipe = "root-losses"

    monkeypatch.setattr(poise.weighting, "RootLosses", RootLosses, raising=False)
    rules = recipe._rules()
    assert rules["root-losses"] == RootLosses()
    assert next(iter(rules)) == "fixed" and set(rules) == {*recipe.RULES, "root-losses"}

    class Taken(RootLosses):
        recipe = "solve"

    monkeypatch.setattr(poise.weighting, "Taken", Taken, raising=False)
    with pytest.raises(ValueError, match="Taken: the recipe name 'solve' is taken"):
        recipe._rules()
    Taken.recipe = "root-losses"
    with pytest.raises(ValueError, match="'root-losses' is taken"):
        recipe._rules()
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
