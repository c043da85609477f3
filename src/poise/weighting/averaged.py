"""What rules share that estimate every weight anew and average the estimates over steps."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from poise.weighting.weighting import Signals, Weighting, Weights, check_average, ones


class AveragedState(NamedTuple):
    """λₖ, and whether they have been estimated at all."""

    weights: Weights
    started: Bool[Array, ""]


@dataclass(frozen=True)
class Averaged(Weighting):
    """λₖ ← ema · λₖ + (1 - ema) · λ̂ₖ every `every` steps; the first estimate is taken whole.

    Attributes
    ----------
    every
        Steps between updates.
    ema
        Share of the old weight that is kept at an update, in [0, 1).
    minimum, maximum
        Bounds on every λₖ, applied after the average.

    Raises
    ------
    ValueError
        For a setting outside its range.
    """

    every: int = 1
    ema: float = 0.9
    minimum: float = 0.0
    maximum: float = math.inf

    def __post_init__(self) -> None:
        check_average(self, self.every, self.ema, self.minimum, self.maximum)

    @property
    def interval(self) -> int:
        return self.every

    @abc.abstractmethod
    def estimate(self, signals: Signals) -> Weights:
        """λ̂ₖ from the signals of one step."""

    def init(self, names: Sequence[str], dtype: Any = None) -> tuple[Weights, AveragedState]:
        weights = ones(names, dtype)
        return weights, AveragedState(weights, jnp.asarray(False))

    def update(
        self, state: AveragedState, signals: Signals
    ) -> tuple[Weights, AveragedState, dict[str, Array]]:
        share = jnp.where(state.started, self.ema, 0.0)

        def average(former: Array, found: Array) -> Array:
            # An estimate that is no number (a term with no gradient at all) changes nothing.
            kept = share.astype(former.dtype)
            mean = kept * former + (1 - kept) * found
            mean = jnp.clip(mean, self.minimum, self.maximum)
            return jnp.where(jnp.isfinite(mean), mean, former)

        estimate = self.estimate(signals)
        weights = jax.tree.map(average, state.weights, estimate)
        usable = jnp.all(jnp.isfinite(jnp.stack(list(estimate.values()))))
        return weights, AveragedState(weights, state.started | usable), {}


def shares(sizes: dict[str, Array]) -> Weights:
    """λ̂ₖ = (mean over j of sⱼ) / sₖ: every λₖ sₖ is then the same.

    A size far below the largest is taken as eps times that, so that weights stay finite; where
    all are zero all weights are 1.
    """
    stacked = jnp.stack(list(sizes.values()))
    least = jnp.finfo(stacked.dtype).eps * jnp.max(stacked) + jnp.finfo(stacked.dtype).tiny
    mean = jnp.mean(jnp.maximum(stacked, least))
    return {name: mean / jnp.maximum(size, least) for name, size in sizes.items()}
