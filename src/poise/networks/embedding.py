"""The way into a network: coordinates scaled, periodic ones as cosines and sines."""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from poise.geometry import Box

DEVIATION = math.sqrt(12.0)
"""Standard deviations of the uniform distribution in the length of an interval."""

HALF = 2.0
"""Half lengths in the length of an interval: scales it to [-1, 1]."""


class Embedding(eqx.Module):
    """A fixed map from a point, shape (d,), to the features that a network's first layer sees.

    A coordinate on an interval gives one feature, (x - center)/spread. A periodic one with
    lower end a and period P gives cos(kφ) and sin(kφ), φ = 2π(x - a)/P, for k = 1, ...,
    `harmonics`. Any smooth function of these is periodic with all its derivatives, and with
    k = 1 alone they tell all points of the period apart (Dong & Ni, J. Comput. Phys. 435, 2021,
    section 2, who put a trained layer in place of the fixed features); more of them make fine
    structure easier to learn. Nothing in it is trained, and without periodic coordinates it is
    the scaling alone.

    The features come in this order: the coordinates on intervals; then, harmonic by harmonic,
    the cosines of the periodic coordinates and their sines.

    To make a network of your own periodic, build it on `size` features and call it on the
    embedding of the point::

        class Network(eqx.Module):
            embedding: poise.networks.Embedding
            body: eqx.nn.MLP

            def __call__(self, x):
                return self.body(self.embedding(x))

        embedding = poise.networks.Embedding.of(problem.domain)
        body = eqx.nn.MLP(embedding.size, 1, 50, 3, jnp.tanh, key=key)

    Attributes
    ----------
    center, spread
        For each coordinate; of a periodic one its lower end and P/2π, which give φ.
    periodic
        Positions of the periodic coordinates.
    harmonics
        Pairs of features for each of them.
    """

    center: tuple[float, ...] = eqx.field(static=True)
    spread: tuple[float, ...] = eqx.field(static=True)
    periodic: tuple[int, ...] = eqx.field(static=True, default=())
    harmonics: int = eqx.field(static=True, default=1)

    @classmethod
    def of(cls, domain: Box, *, divisor: float = DEVIATION, harmonics: int = 1) -> Embedding:
        """The embedding for a domain.

        Parameters
        ----------
        domain
            Gives the ends of the coordinates and tells which are periodic.
        divisor
            The spread of an interval is its length divided by this: `DEVIATION` = √12 gives
            features of unit variance for uniform points, `HALF` = 2 features in [-1, 1].
        harmonics
            Pairs of features for each periodic coordinate.

        Raises
        ------
        ValueError
            If `harmonics` is no positive whole number, or `divisor` no positive number.
        """
        if isinstance(harmonics, bool) or not isinstance(harmonics, int) or harmonics < 1:
            raise ValueError(f"Embedding(harmonics={harmonics!r}): must be a positive integer")
        if not (math.isfinite(divisor) and divisor > 0):
            raise ValueError(f"Embedding(divisor={divisor!r}): must be a positive number")
        center, spread = [], []
        for name, low, high in zip(domain.names, domain.lower, domain.upper, strict=True):
            around = name in domain.periodic
            center.append(low if around else (low + high) / 2)
            spread.append((high - low) / (2 * math.pi if around else divisor))
        positions = (i for i, name in enumerate(domain.names) if name in domain.periodic)
        return cls(tuple(center), tuple(spread), tuple(positions), harmonics)

    @property
    def sources(self) -> tuple[int, ...]:
        """For each feature the position of the coordinate that it is made of."""
        plain = tuple(i for i in range(len(self.center)) if i not in self.periodic)
        return plain + self.periodic * (2 * self.harmonics)

    @property
    def size(self) -> int:
        """Number of features."""
        return len(self.sources)

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " features"]:
        z = (x - jnp.asarray(self.center, x.dtype)) / jnp.asarray(self.spread, x.dtype)
        if not self.periodic:
            return z
        # Slices rather than an index array: derivatives pass through them as they are.
        pick = [jax.lax.slice_in_dim(z, i, i + 1) for i in range(len(self.center))]
        plain = [pick[i] for i in range(len(pick)) if i not in self.periodic]
        phase = jnp.concatenate([pick[i] for i in self.periodic])
        features = plain
        for k in range(1, self.harmonics + 1):
            angle = phase if k == 1 else float(k) * phase
            features += [jnp.cos(angle), jnp.sin(angle)]
        return jnp.concatenate(features)
