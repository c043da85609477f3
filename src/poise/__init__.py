"""poise: physics-informed neural networks that keep the terms of their loss in balance."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from poise import networks, optimizers, points, weighting, zoo
    from poise.geometry import periodic
    from poise.problem import Problem
    from poise.solution import Solution
    from poise.terms import boundary, data, initial, interior, periodic_sides
    from poise.training.run import train
    from poise.training.solve import solve

__all__ = [
    "Problem",
    "Solution",
    "boundary",
    "data",
    "initial",
    "interior",
    "networks",
    "optimizers",
    "periodic",
    "periodic_sides",
    "points",
    "solve",
    "train",
    "weighting",
    "zoo",
]

_HOMES = {
    "Problem": "poise.problem",
    "Solution": "poise.solution",
    "boundary": "poise.terms",
    "data": "poise.terms",
    "initial": "poise.terms",
    "interior": "poise.terms",
    "periodic": "poise.geometry",
    "periodic_sides": "poise.terms",
    "solve": "poise.training.solve",
    "train": "poise.training.run",
}
"""Where names come from. They are imported when first asked for: JAX takes more than a second, and
the command line answers, to Ctrl-C as well, before that."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'poise' has no attribute {name!r}")
    home = _HOMES.get(name)
    if home is None:
        found: Any = importlib.import_module(f"poise.{name}")
    else:
        found = getattr(importlib.import_module(home), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
