"""Collocation points: where residuals are evaluated.

A sampler gives points of the unit cube; the patch of a term maps them into place. All of it runs
on the device, inside the compiled training loop. Random numbers come as raw bits from outside:
one call of the generator serves all terms of a step, for on a CPU the calls cost more than the
numbers.
"""

from __future__ import annotations

import abc
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, UInt32


@dataclass(frozen=True)
class Sampler(abc.ABC):
    """How many points a term has in each of its places, and how they are drawn.

    Attributes
    ----------
    count
        Number of points on each patch: in the interior, at the initial time, on each side.
    fresh
        Draw new points at every step, or keep the first ones.
    edges
        How much the points gather at the ends of every coordinate that is not periodic, in
        [0, 1]: not at all, to Chebyshev's density (`poise.geometry.box.gathered`). A network
        that has settled is nearly linear in its parameters, and a least-squares fit of P smooth
        functions at even points runs wild at the edges unless there are of the order of P² of
        them; at points with the arcsine density P log P are enough (Cohen & Migliorati, SMAI J.
        Comput. Math. 3, 2017, section 5, for polynomials). The term's loss is then a mean that
        counts the edges more.
    """

    count: int
    fresh: bool = True
    edges: float = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 1:
            raise ValueError(f"points: {self.count!r} is not a positive number of points")
        if not 0 <= self.edges <= 1:
            raise ValueError(f"{type(self).__name__}(edges={self.edges!r}): must be in [0, 1]")

    @abc.abstractmethod
    def prepare(self, random: np.random.Generator, dimension: int, dtype: Any) -> Array:
        """What `draw` needs, computed once; its first axis has length `dimension`."""

    @abc.abstractmethod
    def noise(self, dimension: int) -> int:
        """How many random numbers of 32 bits a call of `draw` takes."""

    @abc.abstractmethod
    def draw(
        self, bits: UInt32[Array, " noise"], prepared: Array, dtype: Any
    ) -> Float[Array, "dimension N"]:
        """Points in [0, 1), one a column. Pure."""


@dataclass(frozen=True)
class Uniform(Sampler):
    """Independent, uniformly distributed points, on a lattice of 2⁻²⁴ (float64: 2⁻³²)."""

    def prepare(self, random: np.random.Generator, dimension: int, dtype: Any) -> Array:
        if self.fresh:
            return jnp.zeros((dimension, 0), dtype)
        bits = _bits(random, (dimension, self.count))
        return jnp.asarray(to_unit(bits, dtype))

    def noise(self, dimension: int) -> int:
        return dimension * self.count if self.fresh else 0

    def draw(self, bits: Array, prepared: Array, dtype: Any) -> Array:
        if not self.fresh:
            return prepared
        return to_unit(bits.reshape(prepared.shape[0], self.count), dtype)


@dataclass(frozen=True)
class Sobol(Sampler):
    """Points of the Sobol sequence, randomized by a digital shift.

    The direction numbers are those of Joe & Kuo (SIAM J. Sci. Comput. 30, 2008), as SciPy has
    them. A shift is an exclusive-or of all points with the same random bits in each dimension:
    it keeps the even spread (the net) and makes every point uniformly distributed, so that fresh
    points at each step cost one random number a dimension. A power of two spreads best.
    """

    def prepare(self, random: np.random.Generator, dimension: int, dtype: Any) -> Array:
        if dimension == 0:
            return jnp.zeros((0, self.count), jnp.uint32)
        from scipy.stats import qmc

        with warnings.catch_warnings():  # a count that is no power of two is the user's choice
            warnings.simplefilter("ignore", UserWarning)
            unit = qmc.Sobol(dimension, scramble=False, bits=32).random(self.count)
        integers = (unit.T * 2.0**32).astype("uint32")
        return jnp.asarray(integers ^ _bits(random, (dimension, 1)))

    def noise(self, dimension: int) -> int:
        return dimension if self.fresh else 0

    def draw(self, bits: Array, prepared: Array, dtype: Any) -> Array:
        return to_unit(prepared ^ bits[:, None] if self.fresh else prepared, dtype)


@dataclass(frozen=True)
class Adaptive(Sampler):
    """Points of which a share is drawn anew where the residual is large, now and then.

    Residual-based adaptive distribution, RAD (Wu, Zhu, Tan, Kartha & Lu, Comput. Methods Appl.
    Mech. Eng. 403, 2023, 115671, eq. 2): of many uniform candidates, points are drawn without
    repetition with probability proportional to

        p(x) = |r(x)|^power / mean |r|^power + floor.

    Deviation: 1 - `share` of the points are those of a Sobol sequence and stay, so that no
    region is ever left without points.

    Attributes
    ----------
    share
        Of the points that are drawn anew, in (0, 1].
    every
        Steps from one drawing to the next.
    candidates
        Candidates per point drawn.
    power, floor
        As above; a larger power gathers points more, a larger floor spreads them.

    Raises
    ------
    ValueError
        For a setting outside its range.
    """

    fresh: bool = False
    edges: float = 0.0
    share: float = 0.5
    every: int = 10
    candidates: int = 8
    power: float = 1.0
    floor: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fresh:
            raise ValueError("Adaptive(fresh=True): its points stay between drawings; use Sobol")
        if not 0 < self.share <= 1:
            raise ValueError(f"Adaptive(share={self.share!r}): must be in (0, 1]")
        for name in ("every", "candidates"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"Adaptive({name}={value!r}): must be a whole number, 1 or more")
        for name in ("power", "floor"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"Adaptive({name}={value!r}): must be finite and not negative")

    @property
    def drawn(self) -> int:
        """How many of the points are drawn anew."""
        return max(1, round(self.share * self.count))

    def prepare(self, random: np.random.Generator, dimension: int, dtype: Any) -> Array:
        return Sobol(self.count, fresh=False).prepare(random, dimension, dtype)

    def noise(self, dimension: int) -> int:
        return 0

    def draw(self, bits: Array, prepared: Array, dtype: Any) -> Array:
        return to_unit(prepared, dtype)

    def choose(
        self,
        key: PRNGKeyArray,
        candidates: Float[Array, "d C"],
        sizes: Float[Array, " C"],
        former: Float[Array, "d drawn"],
    ) -> Float[Array, "d drawn"]:
        """Of the candidates, those to take, by the size |r| of the residual at each.

        None is taken where the residual is not a finite number, or the density is zero; where
        too few are left, points of `former` stay.
        """
        usable, tiny = jnp.isfinite(sizes), jnp.finfo(sizes.dtype).tiny
        sizes = jnp.where(usable, sizes, 0)
        # The density does not depend on the unit of r: powers of shares do not overflow.
        powered = jnp.where(usable, (sizes / (jnp.max(sizes) + tiny)) ** self.power, 0)
        mean = jnp.sum(powered) / jnp.maximum(jnp.sum(usable), 1)
        density = jnp.where(usable, powered / (mean + tiny) + self.floor, 0)
        # Largest of log p plus Gumbel noise: a draw without repetition (Efraimidis & Spirakis).
        noise = jax.random.gumbel(key, sizes.shape, sizes.dtype)
        best_scores, best = jax.lax.top_k(jnp.log(density) + noise, self.drawn)
        return jnp.where(jnp.isfinite(best_scores), candidates[:, best], former)


def _bits(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return random.integers(0, 2**32, shape, np.uint32)


def to_unit(integers: Any, dtype: Any) -> Any:
    """Random bits to numbers in [0, 1): as many leading bits as the type holds exactly."""
    bits = min(32, jnp.finfo(dtype).nmant + 1)
    return (integers >> (32 - bits)).astype(dtype) * np.asarray(2.0**-bits, dtype)


def samplers_for(points: Any, terms: Mapping[str, bool]) -> dict[str, Sampler]:
    """One sampler for each term that draws points.

    Parameters
    ----------
    points
        A number (uniform points, fresh at every step), a sampler, or a mapping from every term
        to either.
    terms
        Whether each term draws points (one of measured data only does not).

    Raises
    ------
    ValueError
        For an unknown or a missing term, or something that is no sampler.
    """
    drawn = [term for term, draws in terms.items() if draws]
    if isinstance(points, Mapping):
        for term in points:
            if term not in drawn:
                raise ValueError(
                    f"points[{term!r}]: no such term with points to draw; "
                    f"the terms are {', '.join(drawn)}"
                )
        missing = [term for term in drawn if term not in points]
        if missing:
            raise ValueError(f"points: nothing is said about the term {', '.join(missing)}")
        return {term: _sampler(points[term]) for term in drawn}
    return dict.fromkeys(drawn, _sampler(points))


def _sampler(item: Any) -> Sampler:
    if isinstance(item, Sampler):
        return item
    if isinstance(item, int):
        return Uniform(item)
    raise ValueError(
        f"points: {item!r} is neither a number nor a sampler such as poise.points.Sobol(1024)"
    )
