"""A wider network that computes the same function: where training goes on when it has no more room.

Every hidden layer gets more units. What the new units take in is drawn as in a fresh network;
what they give to the old units and to the output starts at zero. So the function, and with it
the loss, is what it was, and there are new directions in which it can fall (the zero-padded form
of Net2WiderNet; Chen, Goodfellow & Shlens, "Net2Net: Accelerating learning via knowledge
transfer", ICLR 2016, section 2).
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from poise.networks.mlp import Perceptron


def grow(network: Perceptron, wider: Perceptron) -> Perceptron:
    """Put a network into a wider one of the same kind and depth.

    Parameters
    ----------
    network
        Trained.
    wider
        Fresh: gives the new units.

    Returns
    -------
    Perceptron
        With the shapes of `wider` and the function of `network`, exactly but for the order of
        additions.

    Raises
    ------
    ValueError
        If `wider` is not at least as wide in every layer, of another depth or activation, or of
        other inputs or outputs.
    """
    same = len(network.layers) == len(wider.layers) and network.activation is wider.activation
    if not same:
        raise ValueError("grow: the wider network must have the same depth and activation")
    # What is not an array (the scaling of the inputs, which are phases) is in the structure.
    outputs = len(network.layers[-1].bias), len(wider.layers[-1].bias)
    if jax.tree.structure(network) != jax.tree.structure(wider) or outputs[0] != outputs[1]:
        raise ValueError(
            "grow: the wider network must be of the same kind, see the same inputs (the same "
            "domain, as many harmonics) and have as many outputs; they have "
            f"{network.embedding.size} and {wider.embedding.size} inputs, {outputs[0]} and "
            f"{outputs[1]} outputs"
        )
    layers = []
    for index, (old, new) in enumerate(zip(network.layers, wider.layers, strict=True)):
        layers.append(_embed(old, new, first=index == 0))
    return eqx.tree_at(lambda n: n.layers, wider, tuple(layers))


def _embed(old: Any, new: Any, *, first: bool) -> Any:
    """The old layer in the corner of the new one."""

    def place(part: Any, into: Any) -> Any:
        if not eqx.is_array(into):
            return into
        if any(a > b for a, b in zip(part.shape, into.shape, strict=True)):
            raise ValueError(f"grow: a layer of shape {part.shape} does not fit into {into.shape}")
        if into.ndim == 2 and not first:
            rows, columns = part.shape
            # Old units, and the output, do not hear the new ones.
            into = into.at[:rows, columns:].set(0)
        corner = tuple(slice(0, size) for size in part.shape)
        return jnp.asarray(into).at[corner].set(part)

    return jax.tree.map(place, old, new)
