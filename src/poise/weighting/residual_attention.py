"""Residual-based attention (RBA): points whose residual stays large count more.

Anagnostopoulos, Toscano, Stergiopulos & Karniadakis, "Residual-based attention in physics-informed
neural networks", Comput. Methods Appl. Mech. Eng. 421 (2024) 116805, eqs. (6)-(8):

    αᵢ ← γ αᵢ + η |rᵢ| / maxⱼ |rⱼ|,    Lₖ = Σᵢ (αᵢ rᵢ)² / N,

so that mᵢ = αᵢ², without any gradient. αᵢ starts at `start` and stays below η/(1 - γ).

Deviation. Points drawn anew get the mean αᵢ of their term: zero, where αᵢ starts in the paper,
would switch them off for thousands of steps.

Cost: none beyond the residuals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array

from poise.weighting.pointwise import Emphasis, Pointwise, TermRows


@dataclass(frozen=True)
class ResidualAttention(Pointwise):
    """mᵢ = αᵢ² with αᵢ a decaying sum of relative residuals.

    Attributes
    ----------
    gamma
        γ, the share that is kept at a step, in [0, 1).
    eta
        η, what the largest residual adds.
    start
        αᵢ before the first step; 0 in the paper.

    Raises
    ------
    ValueError
        For a setting outside its range.
    """

    gamma: float = 0.999
    eta: float = 0.01
    start: float = 0.0

    recipe: ClassVar[str] = "rba"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.gamma < 1:
            raise ValueError(f"ResidualAttention(gamma={self.gamma!r}): must be in [0, 1)")
        if not self.eta > 0:
            raise ValueError(f"ResidualAttention(eta={self.eta!r}): must be positive")
        if not self.start >= 0:
            raise ValueError(f"ResidualAttention(start={self.start!r}): must not be negative")

    def begin(self, sizes: Mapping[str, int], interior: Sequence[str], dtype: Any) -> Any:
        names = self.chosen(sizes, interior)
        return {name: jnp.full(sizes[name], self.start, dtype) for name in names}

    def emphasize(self, rows: Mapping[str, TermRows], memory: Any) -> tuple[Emphasis, Any]:
        after = {name: self._attention(rows[name], former) for name, former in memory.items()}
        return {name: alpha**2 for name, alpha in after.items()}, after

    def _attention(self, rows: TermRows, former: Array) -> Array:
        sizes = jnp.abs(rows.residuals)
        largest = jnp.max(sizes)
        share = jnp.where(largest > 0, sizes / jnp.where(largest > 0, largest, 1), 0)
        return self.gamma * rows.inherited(former) + self.eta * share
