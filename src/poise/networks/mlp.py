"""The multilayer perceptron, as the reference experiments have it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from poise.geometry import Box
from poise.networks.architecture import Architecture, check_sizes
from poise.networks.embedding import Embedding
from poise.randomness import once


@dataclass(frozen=True)
class MLP(Architecture):
    """A multilayer perceptron on standardized coordinates.

    z = (x - mean)/deviation, with the mean and standard deviation of the uniform distribution
    on the domain (for (0, 1): ½ and 1/√12), a periodic coordinate as its cosine and sine (see
    `Embedding`); then `depth` hidden layers h ← φ(W h + b) and a
    linear output. Weights are drawn by Glorot & Bengio (AISTATS 2010), *normal*: variance
    2/(inputs + outputs) of the layer; biases are zero. This is the network of Wang, Teng &
    Perdikaris (SIAM J. Sci. Comput. 43, 2021).

    Attributes
    ----------
    width
        Units of a hidden layer.
    depth
        Number of hidden layers.
    activation
        φ, a function of JAX arrays that acts entry by entry, smooth enough for the derivatives
        of the equation: `jax.numpy.tanh`, `jax.numpy.sin`, `jax.nn.gelu`, ...
    harmonics
        Pairs of features for each periodic coordinate, as `Embedding` has them.

    Raises
    ------
    ValueError
        For sizes that are no positive whole numbers, or an activation that is no function.
    """

    width: int = 50
    depth: int = 5
    activation: Callable[[Array], Array] = jnp.tanh
    harmonics: int = 1

    def __post_init__(self) -> None:
        check_sizes(self, "width", "depth", "harmonics")
        if not callable(self.activation):
            raise ValueError(
                f"MLP(activation={self.activation!r}): must be a function such as jnp.tanh"
            )

    def build(self, domain: Box, outputs: int, key: PRNGKeyArray, dtype: Any) -> Perceptron:
        embedding = Embedding.of(domain, harmonics=self.harmonics)
        sizes = [embedding.size, *[self.width] * self.depth, outputs]
        random = once(key)
        return Perceptron(
            layers=tuple(
                Dense(
                    jnp.asarray(_glorot_normal(random, n_out, n_in), dtype),
                    jnp.zeros(n_out, dtype),
                )
                for n_in, n_out in pairwise(sizes)
            ),
            activation=self.activation,
            embedding=embedding,
        )


class Dense(eqx.Module):
    """An affine layer, W x + b."""

    weight: Float[Array, "outputs inputs"]
    bias: Float[Array, " outputs"]

    def __call__(self, x: Float[Array, " inputs"]) -> Float[Array, " outputs"]:
        return self.weight @ x + self.bias


class Perceptron(eqx.Module):
    """An `MLP` or a `SIREN` with its parameters."""

    layers: tuple[Any, ...]  # `Dense`, or as the first one `poise.networks.siren.Waves`
    activation: Callable[[Array], Array] = eqx.field(static=True)
    embedding: Embedding

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        h = self.embedding(x)
        for layer in self.layers[:-1]:
            h = self.activation(layer(h))
        return self.layers[-1](h)


def _glorot_normal(random: np.random.Generator, outputs: int, inputs: int) -> np.ndarray:
    return random.normal(scale=math.sqrt(2.0 / (inputs + outputs)), size=(outputs, inputs))
