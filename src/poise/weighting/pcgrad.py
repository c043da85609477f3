"""Gradient surgery: what one term's gradient takes back of another's is projected out.

Yu, Kumar, Gupta, Levine, Hausman & Finn, "Gradient surgery for multi-task learning", NeurIPS 2020,
Algorithm 1. For each term i, against the others j in random order, wherever gᵢ · gⱼ < 0:

    gᵢ ← gᵢ - (gᵢ · gⱼ / ‖gⱼ‖²) gⱼ

with gⱼ as it was. The direction is the sum of the gᵢ.

Cost: K² products of gradients; everything else happens in the coefficients of the gᵢ in the
original gradients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from poise.weighting.direction import Direction


@dataclass(frozen=True)
class PCGrad(Direction):
    """Projected conflicting gradients.

    Attributes
    ----------
    seed
        Of the order in which conflicts are resolved.
    """

    seed: int = 0

    recipe: ClassVar[str] = "pcgrad"

    def remember(self) -> Array:
        return jax.random.PRNGKey(self.seed)

    def combine(self, gradients: Float[Array, "K P"], memory: Any) -> tuple[Array, Array]:
        count = len(gradients)
        products = gradients @ gradients.T
        squares = jnp.where(jnp.diag(products) > 0, jnp.diag(products), 1)
        key, own = jax.random.split(memory)
        orders = jax.vmap(lambda k: jax.random.permutation(k, count))(jax.random.split(own, count))

        def operated(term: Array, order: Array) -> Array:
            """The coefficients of a term's gradient, once it has no conflicts."""

            def resolve(coefficients: Array, other: Array) -> tuple[Array, None]:
                along = coefficients @ products[other]
                conflict = (other != term) & (along < 0)
                taken = jnp.where(conflict, along / squares[other], 0)
                return coefficients.at[other].add(-taken), None

            return jax.lax.scan(resolve, jnp.eye(count, dtype=products.dtype)[term], order)[0]

        coefficients = jax.vmap(operated)(jnp.arange(count), orders)
        return jnp.sum(coefficients, axis=0) @ gradients, key
