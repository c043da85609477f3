"""Self-adaptive weights (SA-PINN): one for each point, trained to make the loss larger.

McClenny & Braga-Neto, "Self-adaptive physics-informed neural networks", J. Comput. Phys. 474
(2023) 111722, eqs. (8)-(12): with the mask m(α) = α², the parameters go down and the αᵢ go up on

    L = Σₖ Σᵢ m(αᵢ) rᵢ² / N.

The ascent is Adam's, as in the authors' code; the gradient with respect to αᵢ is 2 αᵢ rᵢ² / N.

Deviations. All αᵢ start at 1 (the paper draws them at random, and larger for initial data). They
move before the step rather than with it. Points drawn anew get the mean αᵢ of their term, and no
momentum.

Cost: none beyond the residuals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from poise.weighting.pointwise import Emphasis, Pointwise, TermRows


@dataclass(frozen=True)
class SelfAdaptive(Pointwise):
    """mᵢ = αᵢ² with αᵢ by gradient ascent.

    Attributes
    ----------
    learning_rate
        Of the ascent.

    Raises
    ------
    ValueError
        For a rate that is not positive.
    """

    learning_rate: float = 5e-3

    recipe: ClassVar[str] = "self-adaptive"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"SelfAdaptive(learning_rate={self.learning_rate!r}): not positive")

    @property
    def _rule(self) -> optax.GradientTransformation:
        return optax.adam(self.learning_rate)

    def begin(self, sizes: Mapping[str, int], interior: Sequence[str], dtype: Any) -> Any:
        alpha = {name: jnp.ones(sizes[name], dtype) for name in self.chosen(sizes, interior)}
        return alpha, self._rule.init(alpha)

    def emphasize(self, rows: Mapping[str, TermRows], memory: Any) -> tuple[Emphasis, Any]:
        alpha, ascent = memory
        alpha = {name: rows[name].inherited(former) for name, former in alpha.items()}

        def forget(part: Any) -> Any:
            """Moments of points that are no more; the number of steps is a scalar."""
            if not isinstance(part, dict):
                return part
            return {name: jnp.where(rows[name].renewed, 0, moment) for name, moment in part.items()}

        ascent = jax.tree.map(forget, ascent, is_leaf=lambda part: isinstance(part, dict))
        slopes = {  # Adam goes down: the sign turns it
            name: -2 * former * rows[name].residuals ** 2 / former.size
            for name, former in alpha.items()
        }
        change, ascent = self._rule.update(slopes, ascent, alpha)
        new: Any = optax.apply_updates(alpha, change)
        return {name: each**2 for name, each in new.items()}, (new, ascent)
