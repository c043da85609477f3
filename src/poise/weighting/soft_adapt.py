"""SoftAdapt: terms whose loss falls slowest get the most weight.

Heydari, Thompson & Mehmood, "SoftAdapt: Techniques for adaptive loss weighting of neural networks
with multi-part loss functions", arXiv:1912.12355 (2019), section 3. With the change of a loss
between two updates, sₖ = Lₖ(t) - Lₖ(t - 1),

    λ̂ₖ = K · exp(β sₖ) / Σⱼ exp(β sⱼ),

a share of the number K of terms.

Variants of the paper: `normalized` divides the changes by Σⱼ |sⱼ|, so that their unit drops out;
`loss_weighted` multiplies the exponentials by Lₖ, so that small losses get little weight.

Deviation. The factor K: equal changes give the weights 1. The paper's shares add up to 1, which
differs by a factor that the learning rate takes up.

Cost: none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array

from poise.weighting.averaged import Averaged, Estimate
from poise.weighting.weighting import Signals, Weights


@dataclass(frozen=True)
class SoftAdapt(Averaged):
    """λ̂ₖ = K softmax(β sₖ), s the changes of the losses.

    Attributes
    ----------
    every
        Steps between updates, over which changes are measured.
    ema
        0: the shares are used as they are, as in the paper.
    beta
        How strongly changes count; negative favours terms that fall fastest.
    normalized, loss_weighted
        The variants.

    Raises
    ------
    ValueError
        For a setting outside its range.
    """

    ema: float = 0.0
    beta: float = 0.1
    normalized: bool = True
    loss_weighted: bool = False

    recipe: ClassVar[str] = "softadapt"
    needs: ClassVar[frozenset[str]] = frozenset({"losses"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not math.isfinite(self.beta):
            raise ValueError(
                f"SoftAdapt(beta={self.beta!r}): must be a finite number; 0.1 is usual"
            )

    def remember(self, names: Sequence[str], dtype: Any) -> dict[str, Array]:
        """The losses of the update before; NaN before the first, which leaves the weights 1."""
        return {name: jnp.asarray(jnp.nan, dtype) for name in names}

    def estimate(self, signals: Signals, weights: Weights, memory: dict[str, Array]) -> Estimate:
        losses = signals.losses
        assert losses is not None
        names = list(losses)
        now, before = (jnp.stack([part[n] for n in names]) for part in (losses, memory))
        changes = jnp.where(jnp.isnan(before), 0, now - before)
        if self.normalized:
            tiny = jnp.finfo(changes.dtype).tiny
            changes = changes / jnp.maximum(jnp.sum(jnp.abs(changes)), tiny)
        exponents = self.beta * changes
        powers = jnp.exp(exponents - jnp.max(exponents))
        if self.loss_weighted:
            powers = jnp.where(jnp.sum(now) > 0, powers * now, powers)
        found = len(names) * powers / jnp.sum(powers)
        return Estimate(dict(zip(names, found, strict=True)), dict(losses))
