"""The sine network, which goes deepest on smooth solutions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from poise.geometry import Box
from poise.networks.architecture import Architecture, check_sizes
from poise.networks.embedding import HALF, Embedding
from poise.networks.mlp import Dense, Perceptron
from poise.randomness import once

_SCALE = 2.0


@dataclass(frozen=True)
class SIREN(Architecture):
    """A perceptron with sine activations, h ← sin(W h + b), and a linear output.

    The idea is that of Sitzmann, Martel, Bergman, Lindell & Wetzstein ("Implicit neural
    representations with periodic activation functions", NeurIPS 2020, section 3.2): the first
    layer sets the frequencies, and the layers after it keep the distribution of their inputs.
    Coordinates enter scaled to [-1, 1], a periodic one as its phase φ in [0, 2π). With n the
    inputs of a layer, the initial parameters are

    - first layer: W[i, j] ~ scaleⱼ · Normal(0, 1), b ~ Uniform(-π, π); the weights of a phase
      are drawn likewise, rounded to whole numbers and not trained (`Waves`);
    - further hidden layers: W ~ Normal(0, 1/n), b ~ Uniform(-1, 1);
    - output: W ~ Normal(0, 1/n), b = 0.

    This deviates from the paper, whose weights are uniform, of variance 2/n after the first
    layer, and whose first layer multiplies by ω₀ = 30, chosen on images and sound. Solutions of
    differential equations are mostly smoother. What the scale should be follows from the
    solution: on [-1, 1] it is the angular frequency that a single unit typically has.

    Attributes
    ----------
    width
        Units of a hidden layer.
    depth
        Number of hidden layers.
    scale
        Standard deviation of the first layer's weights: a number, or one by coordinate (2 for
        those left out). On a periodic coordinate it holds for all features.
    oscillations
        How many full oscillations the solution is expected to make over the length of a
        coordinate, by coordinate: a hint where they differ much. k of them have the angular
        frequency kπ on [-1, 1], and k in a phase: the scale becomes max(scale, kπ) or
        max(scale, k).
    harmonics
        None: units of the first layer are waves sin(kφ + w·t + b) with whole wave numbers k. A
        number: periodic coordinates enter as that many pairs of cosines and sines instead, as
        `Embedding` has them.

    Raises
    ------
    ValueError
        For sizes that are no positive whole numbers, and scales and oscillations that are no
        positive numbers; from `build`, for a name that is no coordinate.
    """

    width: int = 20
    depth: int = 3
    scale: float | Mapping[str, float] = _SCALE
    oscillations: Mapping[str, float] | None = None
    harmonics: int | None = None

    def __post_init__(self) -> None:
        check_sizes(self, "width", "depth", *(["harmonics"] if self.harmonics is not None else []))
        if isinstance(self.scale, Mapping):
            scale = {n: _positive(f"scale[{n!r}]", value) for n, value in self.scale.items()}
        else:
            scale = _positive("scale", self.scale)
        object.__setattr__(self, "scale", scale)
        if self.oscillations is None:
            return
        if not isinstance(self.oscillations, Mapping):
            raise ValueError(
                f"SIREN(oscillations={self.oscillations!r}): give numbers by coordinate, such as "
                "{'t': 5}"
            )
        hints = {n: _positive(f"oscillations[{n!r}]", k) for n, k in self.oscillations.items()}
        object.__setattr__(self, "oscillations", hints)

    def build(self, domain: Box, outputs: int, key: PRNGKeyArray, dtype: Any) -> Perceptron:
        waves = bool(domain.periodic) and self.harmonics is None
        embedding = Embedding.of(domain, divisor=HALF, harmonics=self.harmonics or 1)
        if waves:  # the phases as they are
            embedding = Embedding(embedding.center, embedding.spread)
        scales = self._scales(domain)
        first = np.asarray([scales[axis] for axis in embedding.sources])
        sizes = [embedding.size, *[self.width] * self.depth, outputs]
        shapes = list(zip(sizes[1:], sizes[:-1], strict=True))
        random = once(key)
        layers: list[Any] = []
        for index, (n_out, n_in) in enumerate(shapes):
            weight = random.normal(size=(n_out, n_in)) * (1 / math.sqrt(n_in) if index else first)
            largest = 0.0 if index == self.depth else 1.0 if index else math.pi
            bias = random.uniform(-largest, largest, n_out)
            layers.append(Dense(jnp.asarray(weight, dtype), jnp.asarray(bias, dtype)))
        if waves:
            layers[0] = Waves.of(layers[0], domain)
        return Perceptron(tuple(layers), jnp.sin, embedding)

    def _scales(self, domain: Box) -> list[float]:
        """The scale of each coordinate."""
        hints = self.oscillations or {}
        given = self.scale
        if not isinstance(given, Mapping):
            given = dict.fromkeys(domain.names, given)
        for setting, names in (("scale", given), ("oscillations", hints)):
            for name in names:
                if name not in domain.names:
                    raise ValueError(
                        f"SIREN({setting}[{name!r}]): no such coordinate; the coordinates are "
                        f"{', '.join(domain.names)}"
                    )
        found = []
        for name in domain.names:
            around = 1 / (self.harmonics or 1)
            per_oscillation = around if name in domain.periodic else math.pi
            found.append(max(given.get(name, _SCALE), per_oscillation * hints.get(name, 0.0)))
        return found


class Waves(eqx.Module):
    """A first layer of waves: W h + K φ + b with whole wave numbers K.

    Any function of sin(kφ + ...) with whole k has the period 2π in φ exactly, with all its
    derivatives. A wave that travels along a periodic coordinate is one unit of this layer, while
    from cos φ and sin φ it would have to be made of products.

    Attributes
    ----------
    weight, bias
        Trained: of the coordinates on intervals.
    numbers
        K, not trained: of the phases.
    axes, phases
        Positions of the coordinates on intervals and of the periodic ones.
    """

    weight: Float[Array, "outputs intervals"]
    bias: Float[Array, " outputs"]
    numbers: Int[Array, "outputs phases"]
    axes: tuple[int, ...] = eqx.field(static=True)
    phases: tuple[int, ...] = eqx.field(static=True)

    @classmethod
    def of(cls, layer: Dense, domain: Box) -> Waves:
        """From a dense layer on all coordinates: weights of phases are rounded and kept."""
        axes = [i for i, name in enumerate(domain.names) if name not in domain.periodic]
        phases = [i for i, name in enumerate(domain.names) if name in domain.periodic]
        weight = layer.weight
        numbers = jnp.round(weight[:, jnp.asarray(phases)]).astype(jnp.int32)
        plain = weight[:, jnp.asarray(axes, jnp.int32)]
        return cls(plain, layer.bias, numbers, tuple(axes), tuple(phases))

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " outputs"]:
        # Slices rather than an index array: derivatives pass through them as they are.
        pick = [jax.lax.slice_in_dim(x, i, i + 1) for i in range(x.shape[0])]
        phase = jnp.concatenate([pick[i] for i in self.phases])
        around = self.numbers.astype(x.dtype) @ phase + self.bias
        if not self.axes:
            return around
        return self.weight @ jnp.concatenate([pick[i] for i in self.axes]) + around


def _positive(setting: str, value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"SIREN({setting}={value!r}): must be a positive number")
    return number
