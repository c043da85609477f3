"""One number for the size of a gradient: plain and robust statistics of |g|.

A statistic gets the absolute values of the entries of a gradient, a flat array for each weight
matrix, and gives one number. All of them look at all entries at once, so that a layer counts by
its size; `PerLayer` takes a statistic of each layer and averages these plainly.

The largest entry, the numerator of the published rule, is one entry of thousands: it jumps from
step to step. Quantiles, trimmed and logarithmic means do not follow single entries.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass, field

import jax.numpy as jnp
from jaxtyping import Array, Float


@dataclass(frozen=True)
class Statistic(abc.ABC):
    """Magnitudes of a gradient to one number, which goes with them: s(c·|g|) = c·s(|g|)."""

    @abc.abstractmethod
    def __call__(self, layers: Sequence[Float[Array, " _"]]) -> Float[Array, ""]:
        """The size of a gradient with these magnitudes, by layer."""


@dataclass(frozen=True)
class Max(Statistic):
    """The largest."""

    def __call__(self, layers: Sequence[Array]) -> Array:
        return jnp.max(jnp.stack([jnp.max(layer) for layer in layers]))


@dataclass(frozen=True)
class Mean(Statistic):
    """The arithmetic mean."""

    def __call__(self, layers: Sequence[Array]) -> Array:
        return jnp.mean(jnp.concatenate(layers))


@dataclass(frozen=True)
class RMS(Statistic):
    """The root of the mean square."""

    def __call__(self, layers: Sequence[Array]) -> Array:
        everything = jnp.concatenate(layers)
        largest = jnp.maximum(jnp.max(everything), jnp.finfo(everything.dtype).tiny)
        return largest * jnp.sqrt(jnp.mean((everything / largest) ** 2))  # squares may underflow


@dataclass(frozen=True)
class LogMean(Statistic):
    """The geometric mean, exp(mean log |g|). Zeros count as the smallest number of the type."""

    def __call__(self, layers: Sequence[Array]) -> Array:
        everything = jnp.concatenate(layers)
        logs = jnp.log(jnp.maximum(everything, jnp.finfo(everything.dtype).tiny))
        return jnp.where(jnp.any(everything > 0), jnp.exp(jnp.mean(logs)), 0)


@dataclass(frozen=True)
class Quantile(Statistic):
    """The number below which a share of the entries lie, interpolated linearly.

    Attributes
    ----------
    share
        Between 0 and 1; 0.5 is the median.

    Raises
    ------
    ValueError
        For a share outside [0, 1].
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"Quantile({self.share!r}): must be between 0 and 1")

    def __call__(self, layers: Sequence[Array]) -> Array:
        return jnp.quantile(jnp.concatenate(layers), self.share)


@dataclass(frozen=True)
class Median(Statistic):
    """Half of the entries are smaller."""

    def __call__(self, layers: Sequence[Array]) -> Array:
        return jnp.median(jnp.concatenate(layers))


@dataclass(frozen=True)
class TrimmedMean(Statistic):
    """The mean without the smallest and the largest entries.

    Attributes
    ----------
    share
        Of the entries that is left out at each end, in [0, 0.5). A fraction of an entry is not.

    Raises
    ------
    ValueError
        For a share outside [0, 0.5).
    """

    share: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.share < 0.5:
            raise ValueError(f"TrimmedMean({self.share!r}): must be in [0, 0.5)")

    def __call__(self, layers: Sequence[Array]) -> Array:
        everything = jnp.sort(jnp.concatenate(layers))
        out = int(self.share * everything.size)
        return jnp.mean(everything[out : everything.size - out])


@dataclass(frozen=True)
class PerLayer(Statistic):
    """The plain mean over the layers of a statistic of each: a small layer counts as a large one.

    Attributes
    ----------
    of
        The statistic.
    """

    of: Statistic = field(default_factory=Mean)

    def __call__(self, layers: Sequence[Array]) -> Array:
        return jnp.mean(jnp.stack([self.of([layer]) for layer in layers]))
