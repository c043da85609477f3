"""What rules that estimate weights of terms share: an interval, and an average over steps.

A rule of its own is one file with one class::

    @dataclass(frozen=True)
    class EqualLosses(Averaged):
        needs: ClassVar[frozenset[str]] = frozenset({"losses"})

        def estimate(self, signals, weights, memory):
            return Estimate(shares(signals.losses))
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from poise.weighting.bounded import Bounded
from poise.weighting.weighting import Signals, Weights, ones


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
class Averaged(Bounded):
    """λₖ ← ema · λₖ + (1 - ema) · λ̂ₖ every `every` steps; the first estimate is taken whole.

    Attributes
    ----------
    every
        Steps between updates.
    ema
        Share of the old weight that is kept at an update, in [0, 1).
    minimum, maximum, warmup, freeze
        As `poise.weighting.Bounded` has them; bounds are applied after the average.

    Raises
    ------
    ValueError
        For a setting outside its range.
    """

    every: int = 1
    ema: float = 0.9

    takes_first_whole: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        if isinstance(self.every, bool) or not isinstance(self.every, int) or self.every < 1:
            raise ValueError(f"{name}(every={self.every!r}): must be a whole number, 1 or more")
        if not 0 <= self.ema < 1:
            raise ValueError(f"{name}(ema={self.ema!r}): must be in [0, 1); 0.9 is usual")

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
        self._check(found, state)
        whole = self.takes_first_whole & ~state.started
        share = jnp.where(whole, 0.0, self.ema)
        moving = self.moving(state.updates * self.every)

        def average(present: Array, former: Array, new: Array) -> Array:
            # An estimate that is no number (a term with no gradient at all) changes nothing.
            kept = share.astype(former.dtype)
            mean = self.bounded(kept * former + (1 - kept) * new)
            return jnp.where(moving & jnp.isfinite(mean), mean, present)

        former = state.weights if found.former is None else found.former
        weights = jax.tree.map(average, state.weights, former, found.weights)
        usable = jnp.all(jnp.isfinite(jnp.stack(list(found.weights.values()))))
        started = state.started | usable & moving
        # Nor is it remembered.
        memory = jax.tree.map(
            lambda new, old: jnp.where(usable, new, old), found.memory, state.memory
        )
        after = AveragedState(weights, started, state.updates + 1, memory)
        return weights, after, dict(found.info)

    def _check(self, found: Any, state: AveragedState) -> None:
        """Say what is wrong with a rule of one's own before JAX does; nothing is computed."""
        said = f"{type(self).__name__}.estimate"
        if not isinstance(found, Estimate):
            raise ValueError(f"{said} gave a {type(found).__name__}; expected an Estimate(weights)")
        if set(found.weights) != set(state.weights):
            raise ValueError(
                f"{said} gave weights for {', '.join(found.weights) or 'no term'}; expected "
                f"{', '.join(state.weights)}"
            )
        for term, weight in found.weights.items():
            if jnp.shape(weight) != ():
                raise ValueError(
                    f"{said}: the weight of {term!r} has the shape {jnp.shape(weight)}; expected "
                    "one number"
                )
        if jax.tree.structure(found.memory) != jax.tree.structure(state.memory):
            raise ValueError(
                f"{said} gave another memory than `remember` lays out: "
                f"{jax.tree.structure(found.memory)} for {jax.tree.structure(state.memory)}"
            )


def shares(sizes: Mapping[str, Array]) -> Weights:
    """λ̂ₖ = (mean over j of sⱼ) / sₖ: every λₖ sₖ is then the same.

    A size far below the largest is taken as eps times that, so that weights stay finite; where
    all are zero all weights are 1.
    """
    stacked = jnp.stack(list(sizes.values()))
    least = jnp.finfo(stacked.dtype).eps * jnp.max(stacked) + jnp.finfo(stacked.dtype).tiny
    mean = jnp.mean(jnp.maximum(stacked, least))
    return {name: mean / jnp.maximum(size, least) for name, size in sizes.items()}
