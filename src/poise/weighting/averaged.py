"""What rules that estimate weights share: interval, average over steps, bounds, warm-up, freezing.

A rule of its own is one file with one class::

    @dataclass(frozen=True)
    class EqualLosses(Averaged):
        needs: ClassVar[frozenset[str]] = frozenset({"losses"})

        def estimate(self, signals, weights, memory):
            return Estimate(shares(signals.losses))
"""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from poise.weighting.weighting import Signals, Weighting, Weights, check_average, ones


class Estimate(NamedTuple):
    """What a rule makes of the signals of one step.

    Attributes
    ----------
    weights
        λ̂ₖ.
    memory
        What it wants to know at the next update, as `Averaged.remember` lays it out.
    former
        What λ̂ₖ is averaged with; None for the present weights.
    info
        Figures worth knowing.
    """

    weights: Weights
    memory: Any = ()
    former: Weights | None = None
    info: Mapping[str, Array] = {}


class AveragedState(NamedTuple):
    """λₖ; whether they have been estimated at all; updates so far; what the rule remembers."""

    weights: Weights
    started: Bool[Array, ""]
    updates: Int[Array, ""]
    memory: Any


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
    warmup
        Steps for which the weights stay as they begin, while the rule already looks on.
    freeze
        Step from which on the weights stay as they are; None for never.

    Raises
    ------
    ValueError
        For a setting outside its range.
    """

    every: int = 1
    ema: float = 0.9
    minimum: float = 0.0
    maximum: float = math.inf
    warmup: int = 0
    freeze: int | None = None

    takes_first_whole: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_average(self, self.every, self.ema, self.minimum, self.maximum)
        for name in ("warmup", "freeze"):
            value = getattr(self, name)
            if name == "freeze" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ValueError(
                    f"{type(self).__name__}({name}={value!r}): must be a whole number of steps"
                )

    @property
    def interval(self) -> int:
        return self.every

    @abc.abstractmethod
    def estimate(self, signals: Signals, weights: Weights, memory: Any) -> Estimate:
        """λ̂ₖ from the signals of one step, the present weights and what was remembered. Pure."""

    def remember(self, names: Sequence[str], dtype: Any) -> Any:
        """What there is to remember before the first update: a pytree of arrays."""
        del names, dtype
        return ()

    def init(self, names: Sequence[str], dtype: Any = None) -> tuple[Weights, AveragedState]:
        weights = ones(names, dtype)
        (some, *_) = weights.values()
        memory = self.remember(names, some.dtype)
        return weights, AveragedState(weights, jnp.asarray(False), jnp.zeros((), jnp.int32), memory)

    def update(
        self, state: AveragedState, signals: Signals
    ) -> tuple[Weights, AveragedState, dict[str, Array]]:
        found = self.estimate(signals, state.weights, state.memory)
        whole = self.takes_first_whole & ~state.started
        share = jnp.where(whole, 0.0, self.ema)

        def average(present: Array, former: Array, new: Array) -> Array:
            # An estimate that is no number (a term with no gradient at all) changes nothing.
            kept = share.astype(former.dtype)
            mean = kept * former + (1 - kept) * new
            mean = jnp.clip(mean, self.minimum, self.maximum)
            return jnp.where(self._moving(state) & jnp.isfinite(mean), mean, present)

        former = state.weights if found.former is None else found.former
        weights = jax.tree.map(average, state.weights, former, found.weights)
        usable = jnp.all(jnp.isfinite(jnp.stack(list(found.weights.values()))))
        started = state.started | usable & self._moving(state)
        # Nor is it remembered.
        memory = jax.tree.map(
            lambda new, old: jnp.where(usable, new, old), found.memory, state.memory
        )
        after = AveragedState(weights, started, state.updates + 1, memory)
        return weights, after, dict(found.info)

    def _moving(self, state: AveragedState) -> Array:
        """Whether the weights change at this update."""
        step = state.updates * self.every
        moving = step >= self.warmup
        return moving if self.freeze is None else moving & (step < self.freeze)


def shares(sizes: Mapping[str, Array]) -> Weights:
    """λ̂ₖ = (mean over j of sⱼ) / sₖ: every λₖ sₖ is then the same.

    A size far below the largest is taken as eps times that, so that weights stay finite; where
    all are zero all weights are 1.
    """
    stacked = jnp.stack(list(sizes.values()))
    least = jnp.finfo(stacked.dtype).eps * jnp.max(stacked) + jnp.finfo(stacked.dtype).tiny
    mean = jnp.mean(jnp.maximum(stacked, least))
    return {name: mean / jnp.maximum(size, least) for name, size in sizes.items()}
