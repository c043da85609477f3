"""Learning-rate annealing: loss weights from the statistics of back-propagated gradients.

Wang, Teng & Perdikaris, "Understanding and mitigating gradient flow pathologies in
physics-informed neural networks", SIAM J. Sci. Comput. 43 (2021), Algorithm 1, eqs. (40)-(41).

Every `every` steps, with r the reference term (the equation) and k any other,

    λ̂ₖ = maxₗ max|∂L_r/∂Wₗ| / (meanₗ mean|∂(λₖ Lₖ)/∂Wₗ| + ε)
    λₖ ← ema · λₖ + (1 - ema) · λ̂ₖ,        λ_r = 1.

Wₗ are the weight *matrices* of the layers; biases take no part. The mean goes first over the
entries of a layer and then plainly over the layers, so that a small layer counts as much as a
large one; the maximum goes over all entries.

The denominator. The authors' code, which gave the published figures, differentiates the loss
*with its present weight*: since ∇(λₖLₖ) = λₖ∇Lₖ the fixed point is λₖ = √(max/mean). The text
of the article has the loss without it (eq. 40), fixed point max/mean. `weighted` chooses;
the default is the code's.

Cost: none for the gradients, which the step has at hand, and one pass over them every `every`
steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from poise.weighting.weighting import Signals, Weighting, Weights, check_average, check_names, ones


class AnnealingState(NamedTuple):
    """λₖ, and of each term whether it is the reference.

    The reference is data rather than the first key of a dict: JAX sorts the keys of dicts that
    pass through it.
    """

    weights: Weights
    reference: dict[str, Array]


@dataclass(frozen=True)
class Annealing(Weighting):
    """Weights by the gradient-statistics rule of Wang, Teng & Perdikaris (2021).

    Attributes
    ----------
    every
        Steps between updates.
    ema
        Share of the old weight that is kept at an update, in [0, 1).
    weighted
        Take the gradient of the weighted loss in the denominator (the authors' code), or of
        the unweighted one (their text).
    reference
        The term whose weight stays 1 and whose largest gradient the others are measured by.
        None: the one named "residual", or else the first.
    epsilon
        Added to the denominator.
    minimum, maximum
        Bounds on every λₖ but the reference's, applied after the average.

    Raises
    ------
    ValueError
        For a setting outside its range; from `init`, for a reference that does not exist.
    """

    every: int = 10
    ema: float = 0.9
    weighted: bool = True
    reference: str | None = None
    epsilon: float = 1e-10
    minimum: float = 0.0
    maximum: float = math.inf

    needs: ClassVar[frozenset[str]] = frozenset({"gradients"})

    def __post_init__(self) -> None:
        check_average(self, self.every, self.ema, self.minimum, self.maximum)
        if not (math.isfinite(self.epsilon) and self.epsilon > 0):
            raise ValueError(f"Annealing(epsilon={self.epsilon!r}): must be positive")

    @property
    def interval(self) -> int:
        return self.every

    def init(self, names: Sequence[str], dtype: Any = None) -> tuple[Weights, AnnealingState]:
        if self.reference is not None:
            check_names("Annealing(reference=...)", [self.reference], names)
        weights = ones(names, dtype)
        reference = self._reference(names)
        chosen = {name: jnp.asarray(name == reference) for name in names}
        return weights, AnnealingState(weights, chosen)

    def update(
        self, state: AnnealingState, signals: Signals
    ) -> tuple[Weights, AnnealingState, dict[str, Array]]:
        gradients, reference = signals.gradients, state.reference
        assert gradients is not None
        largest = jnp.max(
            jnp.stack([jnp.where(reference[n], largest_entry(g), 0) for n, g in gradients.items()])
        )
        weights = {}
        info = {"max_gradient": largest}
        for name, gradient in gradients.items():
            former, mean = state.weights[name], mean_magnitude(gradient)
            # ∇(λL) = λ∇L: the weighted statistic needs no second gradient.
            denominator = (former * mean if self.weighted else mean) + self.epsilon
            average = self.ema * former + (1 - self.ema) * largest / denominator
            bounded = jnp.clip(average, self.minimum, self.maximum)
            weights[name] = jnp.where(reference[name], 1, bounded)
            info[f"mean_gradient.{name}"] = mean
        return weights, AnnealingState(weights, reference), info

    def _reference(self, names: Sequence[str]) -> str:
        if self.reference is not None:
            return self.reference
        return "residual" if "residual" in names else names[0]


def weight_matrices(gradient: Any) -> list[Array]:
    """The leaves that belong to weight matrices: arrays of two axes or more.

    Raises
    ------
    ValueError
        If there is none.
    """
    found = [leaf for leaf in jax.tree.leaves(gradient) if leaf.ndim >= 2]
    if not found:
        raise ValueError(
            "Annealing measures gradients of weight matrices, and this network has no weight "
            "matrices; use Fixed(...)"
        )
    return found


def largest_entry(gradient: Any) -> Array:
    """maxₗ max|g_l| over the weight matrices."""
    return jnp.max(jnp.stack([jnp.max(jnp.abs(g)) for g in weight_matrices(gradient)]))


def mean_magnitude(gradient: Any) -> Array:
    """meanₗ mean|g_l|: the mean over layers of the layers' means."""
    return jnp.mean(jnp.stack([jnp.mean(jnp.abs(g)) for g in weight_matrices(gradient)]))
