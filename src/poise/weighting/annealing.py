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

Extension. The maximum is one entry of thousands, and jumps. Any two statistics of
`poise.weighting.statistics` may stand for the maximum and the mean, for example
``Annealing(numerator=Quantile(0.99), denominator=LogMean())``.

Cost: none for the gradients, which the step has at hand, and one pass over them every `every`
steps; quantiles and trimmed means sort them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from poise.weighting.averaged import Averaged, AveragedState, Estimate
from poise.weighting.statistics import Max, PerLayer, Statistic
from poise.weighting.weighting import Signals, Weights, check_names


@dataclass(frozen=True)
class Annealing(Averaged):
    """Weights by the gradient-statistics rule of Wang, Teng & Perdikaris (2021).

    Attributes
    ----------
    every, ema, warmup, freeze
        As `poise.weighting.Averaged` has them; the first average is with λₖ = 1.
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
    numerator, denominator
        Statistics of |∇L_r| and |∇Lₖ|; left out, the largest entry, and the mean of the layers'
        means.

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
    numerator: Statistic = field(default_factory=Max)
    denominator: Statistic = field(default_factory=PerLayer)

    recipe: ClassVar[str] = "annealing"
    needs: ClassVar[frozenset[str]] = frozenset({"gradients"})
    takes_first_whole: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.epsilon) and self.epsilon > 0):
            raise ValueError(f"Annealing(epsilon={self.epsilon!r}): must be positive")
        for name in ("numerator", "denominator"):
            if not isinstance(given := getattr(self, name), Statistic):
                raise ValueError(
                    f"Annealing({name}={given!r}): expected a statistic such as "
                    "poise.weighting.statistics.Quantile(0.9)"
                )

    def remember(self, names: Sequence[str], dtype: Any) -> dict[str, Array]:
        """Of each term whether it is the reference.

        This is data rather than the first key of a dict: JAX sorts the keys of dicts that pass
        through it.
        """
        del dtype
        reference = self.reference
        if reference is not None:
            check_names("Annealing(reference=...)", [reference], names)
        else:
            reference = "residual" if "residual" in names else names[0]
        return {name: jnp.asarray(name == reference) for name in names}

    def estimate(self, signals: Signals, weights: Weights, memory: dict[str, Array]) -> Estimate:
        gradients = signals.gradients
        assert gradients is not None
        magnitudes = {name: weight_magnitudes(g) for name, g in gradients.items()}
        tops = [jnp.where(memory[n], self.numerator(m), 0) for n, m in magnitudes.items()]
        top = jnp.max(jnp.stack(tops))
        found, info = {}, {"numerator": top}
        for name, layers in magnitudes.items():
            size = self.denominator(layers)
            # ∇(λL) = λ∇L: the weighted statistic needs no second gradient.
            below = (weights[name] * size if self.weighted else size) + self.epsilon
            found[name] = jnp.where(memory[name], 1, top / below)
            info[f"denominator.{name}"] = size
        return Estimate(found, memory, info=info)

    def update(
        self, state: AveragedState, signals: Signals
    ) -> tuple[Weights, AveragedState, dict[str, Array]]:
        weights, state, info = super().update(state, signals)
        weights = {n: jnp.where(state.memory[n], 1, weight) for n, weight in weights.items()}
        return weights, state._replace(weights=weights), info


def weight_magnitudes(gradient: Any) -> list[Array]:
    """|g| of the leaves that belong to weight matrices, arrays of two axes or more, flat.

    Raises
    ------
    ValueError
        If there is none.
    """
    found = [jnp.abs(leaf).ravel() for leaf in jax.tree.leaves(gradient) if leaf.ndim >= 2]
    if not found:
        raise ValueError(
            "Annealing measures gradients of weight matrices, and this network has no weight "
            "matrices; use Fixed(...)"
        )
    return found
