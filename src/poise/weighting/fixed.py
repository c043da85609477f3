"""Fixed loss weights: the standard PINN, and the baseline of every comparison.

L = Σ λₖ Lₖ with constant λₖ, all 1 unless given (Raissi, Perdikaris & Karniadakis, J. Comput.
Phys. 378, 2019).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array

from poise.weighting.weighting import Signals, Weighting, Weights, check_names, ones


@dataclass(frozen=True)
class Fixed(Weighting):
    """Constant loss weights. Costs nothing.

    Attributes
    ----------
    values
        λ by term; 1 where a term is not named. Finite and not negative.

    Raises
    ------
    ValueError
        For a weight that is negative or not finite; from `init`, for an unknown term.
    """

    values: Mapping[str, float] = field(default_factory=dict)

    recipe: ClassVar[str] = "fixed"

    def __post_init__(self) -> None:
        for name, value in self.values.items():
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"Fixed: weight {name!r} = {value!r} must be finite and >= 0")

    @property
    def interval(self) -> int:
        return 0

    def init(self, names: Sequence[str], dtype: Any = None) -> tuple[Weights, Weights]:
        check_names("Fixed", list(self.values), names)
        weights = {
            name: jnp.asarray(self.values.get(name, 1.0), one.dtype)
            for name, one in ones(names, dtype).items()
        }
        return weights, weights

    def update(self, state: Weights, signals: Signals) -> tuple[Weights, Weights, dict[str, Array]]:
        return state, state, {}
