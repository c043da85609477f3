"""Recipes: every choice of a training run in one object that can be written down."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from poise import weighting
from poise.near import near
from poise.networks import MLP, SIREN
from poise.optimizers import Adam, GaussNewton, Optimizer
from poise.points import Adaptive, Sampler, Sobol, Uniform
from poise.precision import check_dtype
from poise.weighting import NTK, Annealing, Pointwise, Weighting


@dataclass(frozen=True)
class Recipe:
    """How to train: network, points, loss weights, optimizer, length and precision.

    The defaults are the reference experiment of Wang, Teng & Perdikaris (2021) with adaptive
    weights.

    Attributes
    ----------
    name
        For tables and folders.
    network
        An `Architecture`, or an equinox module that is called on one point.
    points
        As `poise.points.samplers_for` takes them.
    steps
        Optimizer steps.
    dtype
        "float32" or "float64".
    record_every
        Steps between rows of the history; by default a two-hundredth of the run.
    seconds
        Time after which a run ends even if steps are left; None for no such limit.
    """

    name: str = "annealing"
    network: Any = field(default_factory=MLP)
    points: int | Sampler | Mapping[str, int | Sampler] = field(
        default_factory=lambda: Uniform(128)
    )
    weighting: Weighting = field(default_factory=Annealing)
    optimizer: Optimizer = field(default_factory=Adam)
    steps: int = 40_001
    dtype: str = "float32"
    record_every: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        check_dtype(self.dtype)
        for name in ("steps", "record_every"):
            count = getattr(self, name)
            allowed = count is None and name == "record_every"
            whole = isinstance(count, int) and not isinstance(count, bool) and count >= 1
            if not (allowed or whole):
                raise ValueError(f"{name}={count!r}: must be a positive whole number")

    @property
    def interval(self) -> int:
        """Steps between rows of the history."""
        return self.record_every or max(1, self.steps // 200)


OTHER_NAMES = ("fixed-kept", "newton", "solve", "all")
"""What is said on the command line where a rule's name may stand."""


def _rules() -> dict[str, Weighting]:
    """What the index of rules holds, by name; the baseline first."""
    found: dict[str, Weighting] = {}
    for kind in vars(weighting).values():
        if isinstance(kind, type) and issubclass(kind, Weighting) and vars(kind).get("recipe"):
            if kind.recipe in found or kind.recipe in OTHER_NAMES:
                raise ValueError(f"{kind.__name__}: the recipe name {kind.recipe!r} is taken")
            found[kind.recipe] = kind.usual()
    return {"fixed": found.pop("fixed"), **found}


RULES = _rules()
"""Rules for loss weights that have a recipe of their own, by its name."""


KEPT = Sobol(512, fresh=False)
"""Points of the reference experiment where they have to stay: more, for no others follow."""


def _experiment(name: str, rule: Weighting) -> Recipe:
    """The reference experiment with a rule."""
    if isinstance(rule, Pointwise) and rule.tied:
        return Recipe(name, weighting=rule, points=KEPT)
    return Recipe(name, weighting=rule)


EXPERIMENTS = {
    "fixed": _experiment("fixed", RULES["fixed"]),
    "fixed-kept": Recipe("fixed-kept", weighting=RULES["fixed"], points=KEPT),
    **{name: _experiment(name, rule) for name, rule in RULES.items() if name != "fixed"},
}
"""Every rule, and fixed weights on points that stay beside those rules that need such points."""

RECIPES = {
    **EXPERIMENTS,
    "newton": Recipe(
        "newton",
        network=SIREN(width=30, depth=2, scale=3.0),
        points=Adaptive(512),
        weighting=NTK(),
        optimizer=GaussNewton(),
        steps=200,
        dtype="float64",
        record_every=2,
    ),
    "solve": Recipe(
        "solve",
        network=None,  # found while it runs
        points=Adaptive(512),
        weighting=NTK(),
        optimizer=GaussNewton(),
        dtype="float64",
        record_every=2,
        seconds=60.0,
    ),
}
"""The named recipes of the command line."""


def named(name: str) -> Recipe:
    """A recipe by name.

    Raises
    ------
    ValueError
        For an unknown name; lists those that exist.
    """
    if name not in RECIPES:
        raise ValueError(
            f"no recipe is named {name!r}{near(name, RECIPES)}; there are {', '.join(RECIPES)}"
        )
    return RECIPES[name]


ACTIVATIONS = {
    "tanh": jnp.tanh,
    "sin": jnp.sin,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "sigmoid": jax.nn.sigmoid,
}
"""Activations that have a name on the command line and in config.json."""

_HOMES = (
    "poise.networks",
    "poise.points",
    "poise.weighting",
    "poise.weighting.statistics",
    "poise.optimizers",
)


def describe(item: Any) -> Any:
    """A recipe, or any part of one, in JSON's own types.

    What was made in Python and has no name here is written as its repr, under "python": it
    informs, but `rebuild` refuses it.
    """
    if isinstance(item, Mapping):
        return {name: describe(part) for name, part in item.items()}
    if isinstance(item, float) and not math.isfinite(item):
        return {"float": repr(item)}
    if item is None or isinstance(item, bool | int | float | str):
        return item
    for name, function in ACTIVATIONS.items():
        if item is function:
            return {"function": name}
    kind = type(item)
    ours = kind is Recipe or any(
        getattr(importlib.import_module(home), kind.__name__, None) is kind for home in _HOMES
    )
    if is_dataclass(item) and not isinstance(item, eqx.Module) and ours:
        parts = {f.name: describe(getattr(item, f.name)) for f in fields(item)}
        return parts if kind is Recipe else {"kind": kind.__name__, **parts}
    return {"python": repr(item)}


def rebuild(description: Any) -> Any:
    """The inverse of `describe`.

    Raises
    ------
    ValueError
        For a part that was made in Python.
    """
    if not isinstance(description, Mapping):
        return description
    if "python" in description:
        raise ValueError(
            f"the run used something made in Python, {description['python']}; run the script "
            "again, with out=... and resume=True"
        )
    if "float" in description:
        return float(description["float"])
    if "function" in description:
        return ACTIVATIONS[description["function"]]
    parts = {name: rebuild(part) for name, part in description.items() if name != "kind"}
    if "kind" not in description:
        return parts
    for home in _HOMES:
        found = getattr(importlib.import_module(home), description["kind"], None)
        if found is not None:
            return found(**parts)
    raise ValueError(f"config.json speaks of {description['kind']!r}, which this version lacks")


def rebuild_recipe(description: Mapping[str, Any]) -> Recipe:
    """A recipe from the "recipe" entry of config.json."""
    return replace(Recipe(), **{name: rebuild(part) for name, part in description.items()})
