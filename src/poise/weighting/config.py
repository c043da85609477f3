"""The conflict-free direction: equally far along the gradients of all terms.

Liu, Chu & Thuerey, "ConFIG: towards conflict-free training of physics informed neural networks",
ICLR 2025, eqs. (2) and (3). With the unit vectors of the gradients as rows of U,

    d = U⁺ 1 / ‖U⁺ 1‖,    g = (Σₖ ∇Lₖ · d) d:

d makes the same angle with every gradient, and where gradients agree the step is as long as
theirs together.

U⁺ 1 = Uᵀ (U Uᵀ)⁺ 1 is taken from the K by K products. Deviations: a term without any gradient is
left out; where the gradients of two terms are opposite there is no such direction, and g = 0.

Cost: K² products of gradients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from poise.weighting.direction import Direction


@dataclass(frozen=True)
class ConFIG(Direction):
    """Conflict-free inverse gradients."""

    recipe: ClassVar[str] = "config"

    def combine(self, gradients: Float[Array, "K P"], memory: Any) -> tuple[Array, Any]:
        norms = jnp.linalg.norm(gradients, axis=1)
        units = gradients / jnp.where(norms > 0, norms, 1)[:, None]
        present = (norms > 0).astype(gradients.dtype)
        # Products of unit vectors are known to a few eps: what is smaller is zero.
        rounding = 10 * len(gradients) * float(jnp.finfo(gradients.dtype).eps)
        shares = jnp.linalg.pinv(units @ units.T, rtol=rounding, hermitian=True) @ present
        direction = shares @ units
        length = jnp.linalg.norm(direction)
        unit = direction / jnp.where(length > 0, length, 1)
        # Opposite gradients: the equations U d = 1 have no solution.
        solved = jnp.max(jnp.abs(units @ direction - present)) < 0.5
        return jnp.where(solved, jnp.sum(gradients @ unit), 0) * unit, memory
