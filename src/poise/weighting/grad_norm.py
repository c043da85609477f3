"""Equal gradient norms: every weighted term pulls on the parameters equally hard.

Wang, Sankaran, Wang & Perdikaris, "An expert's guide to training physics-informed neural
networks", arXiv:2308.08468 (2023), Algorithm 1, eq. (2.12), as their code jaxpi has it:

    λ̂ₖ = (mean over j of ‖∇Lⱼ‖) / ‖∇Lₖ‖.

The norms are over all parameters, biases included. Deviation: eq. (2.12) has the sum over j, the
code the mean; the factor is the same for all terms.

Cost: a pass over gradients that the step has at hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from poise.weighting.averaged import Averaged, Estimate, shares
from poise.weighting.weighting import Signals, Weighting, Weights


@dataclass(frozen=True)
class GradNorm(Averaged):
    """λ̂ₖ = meanⱼ(‖∇Lⱼ‖) / ‖∇Lₖ‖."""

    recipe: ClassVar[str] = "gradnorm"
    needs: ClassVar[frozenset[str]] = frozenset({"gradients"})

    @classmethod
    def usual(cls) -> Weighting:
        return cls(every=10)

    def estimate(self, signals: Signals, weights: Weights, memory: Any) -> Estimate:
        assert signals.gradients is not None
        return Estimate(shares({name: _norm(g) for name, g in signals.gradients.items()}))


def _norm(gradient: Any) -> Array:
    leaves = [leaf.ravel() for leaf in jax.tree.leaves(gradient)]
    return jnp.linalg.norm(jnp.concatenate(leaves))
