"""ReLoBRaLo: relative loss balancing with random lookback.

Bischof & Kraus, "Multi-objective loss balancing for physics-informed deep learning",
arXiv:2110.09813 (2021), eqs. (9)-(11). With K terms, temperature T and

    bₖ(t, t') = K · exp(Lₖ(t) / (T Lₖ(t'))) / Σⱼ exp(Lⱼ(t) / (T Lⱼ(t'))),

the weights are

    λₖ(t) = α (ρ λₖ(t - 1) + (1 - ρ) bₖ(t, 0)) + (1 - α) bₖ(t, t - 1),

ρ a random number that is 1 with probability `lookback` and else 0: now and then progress is
measured from the start of training. α is `ema`.

Cost: none. A term whose loss was exactly zero counts as unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from poise.weighting.averaged import Averaged, Estimate
from poise.weighting.weighting import Signals, Weights


class Losses(NamedTuple):
    """Losses of the first update and of the one before; a random key. NaN before there are any."""

    first: dict[str, Array]
    before: dict[str, Array]
    key: Array


@dataclass(frozen=True)
class ReLoBRaLo(Averaged):
    """Weights by how far each loss has fallen, since the last update or since the start.

    Attributes
    ----------
    ema
        α, share of the old weights.
    temperature
        T: small values give the slowest term nearly all, large ones make weights equal.
    lookback
        Expectation of ρ, in [0, 1]: how often the last weights are gone on from.
    seed
        Of ρ.

    Raises
    ------
    ValueError
        For a setting outside its range.
    """

    ema: float = 0.999
    temperature: float = 1.0
    lookback: float = 0.999
    seed: int = 0

    recipe: ClassVar[str] = "relobralo"
    needs: ClassVar[frozenset[str]] = frozenset({"losses"})
    takes_first_whole: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"ReLoBRaLo(temperature={self.temperature!r}): must be positive")
        if not 0 <= self.lookback <= 1:
            raise ValueError(f"ReLoBRaLo(lookback={self.lookback!r}): must be between 0 and 1")

    def remember(self, names: Sequence[str], dtype: Any) -> Losses:
        nothing = {name: jnp.asarray(jnp.nan, dtype) for name in names}
        return Losses(nothing, dict(nothing), jax.random.PRNGKey(self.seed))

    def estimate(self, signals: Signals, weights: Weights, memory: Losses) -> Estimate:
        losses = signals.losses
        assert losses is not None
        names = list(losses)

        def stacked(part: Any) -> Array:
            return jnp.stack([part[name] for name in names])

        now = stacked(losses)

        def balance(since: Array) -> Array:
            # Nothing to compare with: unchanged.
            ratios = jnp.where((since > 0) & jnp.isfinite(since), now / since, 1)
            exponents = ratios / self.temperature
            powers = jnp.exp(exponents - jnp.max(exponents))
            return len(names) * powers / jnp.sum(powers)

        first = stacked(memory.first)
        first = jnp.where(jnp.isnan(first), now, first)
        key, own = jax.random.split(memory.key)
        stay = jax.random.bernoulli(own, self.lookback)
        former = jnp.where(stay, stacked(weights), balance(first))
        found = balance(stacked(memory.before))

        def by_name(values: Array) -> Weights:
            return dict(zip(names, values, strict=True))

        after = Losses(by_name(first), dict(losses), key)
        return Estimate(by_name(found), after, by_name(former))
