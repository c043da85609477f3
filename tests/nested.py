"""Derivatives by nested differentiation of a whole network: what propagation must equal."""

import itertools

import equinox as eqx
import jax
import numpy as np

from poise.geometry import Box
from poise.networks import MLP


def quick(function):
    """Compiled with little optimization: programs here run once, and compiling takes the time."""
    options = {
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
        "xla_cpu_use_fusion_emitters": False,
    }
    return jax.jit(function, compiler_options=options)


def multi_indices(dimension, highest, lowest=1):
    return [
        alpha
        for size in range(lowest, highest + 1)
        for alpha in itertools.combinations_with_replacement(range(dimension), size)
    ]


def sample(dimension, count=5):
    return jax.random.uniform(jax.random.key(dimension), (dimension, count), float, 0.2, 0.9)


def pushed(function, direction):
    return lambda x: jax.jvp(function, (x,), (direction,))


def nested(network, points, highest):
    """Every derivative up to an order, by multi-index, as arrays of shape (m, N).

    Differentiating in `highest` directions and keeping every value on the way gives the lower
    derivatives, along subsets of the directions, too.
    """
    top = multi_indices(len(points), highest, lowest=highest)

    def at(x, directions):
        function = network
        for direction in directions:
            function = pushed(function, direction)
        return function(x)

    over_points = jax.vmap(at, in_axes=(1, None), out_axes=-1)
    directions = np.eye(len(points))[np.array(top)]
    found = quick(jax.vmap(over_points, in_axes=(None, 0)))(points, directions)
    out = {}
    # Leaves come in binary order; the outermost pair belongs to the last direction.
    chosen = itertools.product((False, True), repeat=highest)
    for bits, leaf in zip(chosen, jax.tree.leaves(found), strict=True):
        for alpha, values in zip(top, leaf, strict=True):
            out[tuple(sorted(itertools.compress(reversed(alpha), bits)))] = np.asarray(values)
    return out


def mlp(activation, depth, dimension=2, outputs=2, dtype=float):
    """A small network of the library on a domain that is not symmetric, with biases."""
    domain = Box.from_intervals({name: (-0.3, 1 + i) for i, name in enumerate("txy"[:dimension])})
    network = MLP(6, depth, activation).build(domain, outputs, jax.random.key(0), dtype)
    rng = np.random.default_rng(1)
    biases = [(0.3 * rng.normal(size=la.bias.shape)).astype(dtype) for la in network.layers]
    return eqx.tree_at(lambda n: [layer.bias for layer in n.layers], network, biases)


def assert_close(got, expected, what, tolerance=1e-10, floor=0.0):
    """Equal up to a share of the largest entry, or of `floor` where all entries are small."""
    scale = max(np.abs(expected).max(), floor)
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * scale, err_msg=str(what))
