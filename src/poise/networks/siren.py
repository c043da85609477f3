"""The sine network, which goes deepest on smooth solutions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from poise.geometry import Box
from poise.networks.architecture import Architecture, check_sizes
from poise.networks.embedding import HALF, Embedding
from poise.networks.mlp import Dense, Perceptron

_SCALE = 2.0


@dataclass(frozen=True)
class SIREN(Architecture):
    """A perceptron with sine activations, h ← sin(W h + b), and a linear output.

    The idea is that of Sitzmann, Martel, Bergman, Lindell & Wetzstein ("Implicit neural
    representations with periodic activation functions", NeurIPS 2020, section 3.2): the first
    layer sets the frequencies, and the layers after it keep the distribution of their inputs.
    Coordinates enter scaled to [-1, 1], periodic ones as cosines and sines (`Embedding`). With
    n the inputs of a layer, the initial parameters are

    - first layer: W[i, j] ~ scaleⱼ · Normal(0, 1), b ~ Uniform(-π, π);
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
        coordinate, by coordinate: a hint where they differ much. k of them on [-1, 1] have the
        angular frequency kπ, and the scale becomes max(scale, kπ). On a periodic coordinate they
        have the frequency k in the phase φ, which a weight of k/harmonics reaches on the highest
        harmonic: the scale becomes max(scale, k/harmonics).
    harmonics
        Pairs of features for each periodic coordinate, as `Embedding` has them.

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
    harmonics: int = 1

    def __post_init__(self) -> None:
        check_sizes(self, "width", "depth", "harmonics")
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
        embedding = Embedding.of(domain, divisor=HALF, harmonics=self.harmonics)
        scales = self._scales(domain)
        first = jnp.asarray([scales[axis] for axis in embedding.sources], dtype)
        sizes = [embedding.size, *[self.width] * self.depth, outputs]
        keys = jax.random.split(key, (len(sizes) - 1, 2))
        layers = []
        for index, (weight_key, bias_key) in enumerate(keys):
            n_in, n_out = sizes[index : index + 2]
            weight = jax.random.normal(weight_key, (n_out, n_in), dtype)
            weight *= 1 / math.sqrt(n_in) if index else first
            reach = 1.0 if index else math.pi
            bias = jax.random.uniform(bias_key, (n_out,), dtype, -reach, reach)
            layers.append(Dense(weight, bias if index < self.depth else jnp.zeros(n_out, dtype)))
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
            per_oscillation = 1 / self.harmonics if name in domain.periodic else math.pi
            found.append(max(given.get(name, _SCALE), per_oscillation * hints.get(name, 0.0)))
        return found


def _positive(setting: str, value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"SIREN({setting}={value!r}): must be a positive number")
    return number
