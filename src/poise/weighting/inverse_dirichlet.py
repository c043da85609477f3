"""Inverse Dirichlet weighting: the gradients of all terms get the same variance.

Maddu, Sturm, Müller & Sbalzarini, "Inverse Dirichlet weighting enables reliable training of
physics informed neural networks", Mach. Learn.: Sci. Technol. 3 (2022) 015026, eq. (13):

    λ̂ₖ = maxⱼ std(∇Lⱼ) / std(∇Lₖ),

the standard deviation over all parameters, averaged with the share `ema` = 0.5 of the old weight.
Where the gradient is a sum of many contributions of both signs its deviation is a steadier measure
than its largest entry, on which `Annealing` rests.

Deviation. The first estimate is taken whole.

Cost: a pass over gradients that the step has at hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from poise.weighting.averaged import Averaged, Estimate, shares
from poise.weighting.weighting import Signals, Weighting, Weights


@dataclass(frozen=True)
class InverseDirichlet(Averaged):
    """λ̂ₖ = maxⱼ std(∇Lⱼ) / std(∇Lₖ)."""

    ema: float = 0.5

    recipe: ClassVar[str] = "inverse-dirichlet"
    needs: ClassVar[frozenset[str]] = frozenset({"gradients"})

    @classmethod
    def usual(cls) -> Weighting:
        return cls(every=10)

    def estimate(self, signals: Signals, weights: Weights, memory: Any) -> Estimate:
        assert signals.gradients is not None
        spread = {
            name: jnp.std(jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(gradient)]))
            for name, gradient in signals.gradients.items()
        }
        balanced = shares(spread)  # mean/std: the least of them belongs to the largest
        least = jnp.min(jnp.stack(list(balanced.values())))
        return Estimate({name: weight / least for name, weight in balanced.items()})
