"""Propagated derivatives against nested differentiation of the whole network."""

from collections import Counter

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nested import assert_close, mlp, multi_indices, nested, quick, sample
from poise.derivatives import propagate
from poise.derivatives.streams import single

pytestmark = pytest.mark.usefixtures("x64")

# Networks


class Made(eqx.Module):
    """A network as a user writes one: parameters, and a function of them and a point."""

    w: dict
    rule: object = eqx.field(static=True)

    def __call__(self, x):
        return self.rule(self.w, x)


def made(rule, dimension=2, dtype=float):
    shapes = {"a": (6, dimension), "b": (6, 6), "c": (2, 6), "bias": (6,), "scale": (6,)}
    keys = dict(zip(shapes, jax.random.split(jax.random.key(7), len(shapes)), strict=True))
    w = {n: 0.6 * jax.random.normal(keys[n], shape, dtype) for n, shape in shapes.items()}
    return Made(w, rule)


def gated(w, x):
    h, g = jnp.tanh(w["a"] @ x + w["bias"]), jnp.sin(w["a"] @ x)
    return w["c"] @ (h * g + (1 - h) * jnp.tanh(w["b"] @ g))


def fourier(w, x):
    phase = 2.0 * w["a"] @ x
    return w["c"] @ jnp.tanh(w["b"] @ (jnp.sin(phase) + jnp.cos(phase)))


def weight_normalised(w, x):
    v = w["b"] / jnp.linalg.norm(w["b"], axis=1, keepdims=True)
    return w["c"] @ jnp.tanh((w["scale"][:, None] * v) @ jnp.tanh(w["a"] @ x))


def scanned(w, x):
    def layer(h, row):
        return jnp.tanh(row * h + 0.3), h.sum()

    h, sums = jax.lax.scan(layer, w["a"] @ x, w["b"][:2])
    return w["c"] @ h + sums


@jax.custom_jvp
def cubed(z):
    return z**3


@cubed.defjvp
def _(primals, tangents):
    return cubed(primals[0]), 3 * primals[0] ** 2 * tangents[0]


@jax.jit
def inner(h, bias):
    return jnp.tanh(h) * bias


MADE = {
    "gated": gated,
    "fourier features": fourier,
    "weight normalised": weight_normalised,
    "x @ W": lambda w, x: jnp.tanh(jnp.tanh(x @ w["a"].T + w["bias"]) @ w["b"]) @ w["c"].T,
    "outer product": lambda w, x: jnp.tanh(jnp.einsum("i,j->ij", x, w["scale"])).sum(0)[:3],
    "quotient": lambda w, x: (w["a"] @ x) / (2 + jnp.sin(w["a"][::-1] @ x)),
    "constant over x": lambda w, x: w["bias"][:2] / x + x / w["bias"][:2],
    "whole powers": lambda w, x: (w["a"] @ x) ** 3 - (w["a"] @ x + 2) ** -2 + x[0] ** 5,
    "real powers": lambda w, x: (x + 0.5) ** 2.5 + jnp.power(x, w["bias"][:2]),
    "power of a power": lambda w, x: (x + 0.5) ** x[::-1] + 2.0**x,
    "exp log sqrt": lambda w, x: jnp.exp(-x) * jnp.log(1 + x) + jnp.sqrt(x) + jnp.log1p(x**2),
    "concatenate": lambda w, x: w["c"] @ jnp.sin(jnp.concatenate([x, x[:1] * x, w["bias"][:2]])),
    "slices": lambda w, x: jnp.stack([x[0] * x[1], jnp.cos(x)[1], (x[::-1] * x)[0]]),
    "where": lambda w, x: jnp.where(w["a"] @ x > 0, jnp.sin(w["a"] @ x), (w["a"] @ x) ** 2),
    "sums": lambda w, x: jnp.outer(jnp.sin(w["a"] @ x), x).sum(axis=0) + jnp.cumsum(x**3),
    "norm": lambda w, x: jnp.linalg.norm(w["a"] @ x) * x,
    "einsum": lambda w, x: jnp.einsum("i,j,ij->j", jnp.tanh(w["a"] @ x), w["a"] @ x, w["b"]),
    "jit": lambda w, x: w["c"] @ inner(inner(w["a"] @ x, w["bias"]), w["scale"]),
    "checkpoint": lambda w, x: w["c"] @ jax.checkpoint(lambda h: jnp.sin(h) * h)(w["a"] @ x),
    "own derivative rule": lambda w, x: w["c"] @ jnp.sin(cubed(w["a"] @ x)),
    "rule on coordinates": lambda w, x: jax.nn.softplus(x) * cubed(x[::-1]),
    "softplus": lambda w, x: w["c"] @ jax.nn.softplus(w["b"] @ jnp.sin(w["a"] @ x)),
    "relu": lambda w, x: w["c"] @ jax.nn.relu(jnp.sin(w["a"] @ x) + w["bias"]),
    "sort": lambda w, x: w["c"] @ jnp.sort(jnp.sin(w["a"] @ x)),
    "scan": scanned,
    "loop on coordinates": lambda w, x: jax.lax.fori_loop(0, 2, lambda i, h: jnp.sin(h * h), x),
    "branch": lambda w, x: jax.lax.cond(x[0] > 0.5, jnp.sin, jnp.exp, x),
    "gradient": lambda w, x: jax.grad(lambda y: jnp.tanh(w["a"] @ y).sum() * y[0])(x),
    "complex": lambda w, x: jnp.abs(jnp.exp((1 + 2j) * x) + x[::-1]),
    "identity": lambda w, x: x,
    "no input": lambda w, x: w["bias"],
    "first input only": lambda w, x: jnp.tanh(w["a"][:, 0] * x[0]),
    "stopped": lambda w, x: jax.lax.stop_gradient(x) * x,
}

FOURTH = ["gated", "quotient", "real powers", "einsum", "own derivative rule", "no input"]
"""Differentiated four times; the others, which use the same formulas, three times."""

ACTIVATIONS = {
    activation.__name__: activation
    for activation in [jnp.tanh, jnp.sin, jax.nn.gelu, jax.nn.silu, jax.nn.softplus]
} | {"sigmoid": jax.nn.sigmoid}

# Single derivatives


def assert_all_derivatives(network, points, highest):
    alphas = multi_indices(len(points), highest)
    got = quick(lambda p: propagate(network, p, [single(alpha) for alpha in alphas]))(points)
    expected = nested(network, points, highest)
    floor = 1e-3 * max(np.abs(values).max() for values in expected.values())
    for alpha in [(), *alphas]:
        assert got[single(alpha)].shape == expected[alpha].shape
        assert_close(got[single(alpha)], expected[alpha], alpha, floor=floor)


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_mlp_derivatives_equal_nested_ones(activation, depth):
    assert_all_derivatives(mlp(ACTIVATIONS[activation], depth), sample(2), 4)


@pytest.mark.parametrize("name", MADE)
def test_derivatives_of_any_network_equal_nested_ones(name):
    assert_all_derivatives(made(MADE[name]), sample(2), 4 if name in FOURTH else 3)


@pytest.mark.parametrize("name", ["mlp", "gated"])
def test_derivatives_in_three_coordinates_equal_nested_ones(name):
    network = mlp(jnp.tanh, 2, 3, 1) if name == "mlp" else made(MADE[name], dimension=3)
    assert_all_derivatives(network, sample(3), 3)


# Combinations

WAVE = (((0, 0), 1.0), ((1, 1), -2.0))
HEAT = (((0,), 1.0), ((1, 1), -0.3))
COMBINATIONS = {
    "wave": WAVE,
    "heat": HEAT,
    "third and first": (((0,), 1.0), ((1, 1, 1), 0.7)),
    "third and first of one": (((1,), 2.0), ((1, 1, 1), 0.7)),
    "biharmonic": (((0, 0, 0, 0), 1.0), ((0, 0, 1, 1), 2.0), ((1, 1, 1, 1), 1.0)),
    "first ones": (((0,), 1.0), ((1,), -4.0)),
    "mixed derivative": (((0, 1), 1.5), ((1, 1), -1.0)),
}


@pytest.mark.parametrize("name", ["mlp", "gated", "sort", "rule on coordinates"])
def test_a_combination_equals_the_sum_of_its_members(name):
    network, points = mlp(jnp.tanh, 2) if name == "mlp" else made(MADE[name]), sample(2)

    def each_on_its_own(p):  # nothing else may supply what a combination needs
        return {n: propagate(network, p, [s])[s] for n, s in COMBINATIONS.items()}

    got = quick(each_on_its_own)(points)
    derivatives = nested(network, points, 4)
    for label, stream in COMBINATIONS.items():
        parts = [c * derivatives[alpha] for alpha, c in stream]
        scale = max(np.abs(part).max() for part in parts)
        assert_close(got[label], sum(parts), label, floor=scale)


def test_members_of_a_combination_are_not_propagated():
    network = mlp(jnp.tanh, 1)
    found = jax.eval_shape(lambda p: propagate(network, p, [HEAT]), sample(2))
    assert set(found) == {single(()), single((1,)), HEAT}


def test_all_streams_of_a_layer_go_through_one_product():
    network, streams = mlp(jnp.tanh, 3), [single(alpha) for alpha in multi_indices(2, 2)]
    traced = jax.make_jaxpr(lambda p: propagate(network, p, streams))(sample(2))
    assert Counter(e.primitive.name for e in traced.eqns)["dot_general"] == 4


# Types and gradients


@pytest.mark.parametrize("name", [*ACTIVATIONS, *MADE])
def test_float32_stays_float32_where_float64_is_allowed(name):
    if name in MADE:
        network = made(MADE[name], dtype=jnp.float32)
    else:
        network = mlp(ACTIVATIONS[name], 2, dtype=jnp.float32)
    points = sample(2).astype(jnp.float32)
    shapes = jax.eval_shape(lambda: propagate(network, points, [WAVE]))
    assert {values.dtype for values in shapes.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("precision", [None, jax.lax.Precision.HIGHEST])
@pytest.mark.parametrize("left", [True, False], ids=["W @ x", "x @ W"])
def test_the_precision_a_network_asks_for_is_kept(left, precision):
    w = jnp.ones((2, 2), jnp.float32)

    def network(x):
        return jnp.dot(w, x, precision=precision) if left else jnp.dot(x, w, precision=precision)

    points = sample(2).astype(jnp.float32)
    traced = jax.make_jaxpr(lambda p: propagate(network, p, [WAVE]))(points)
    (product,) = (e for e in traced.eqns if e.primitive.name == "dot_general")
    assert product.params["precision"] == (precision and (precision, precision))


@pytest.mark.parametrize("name", ["mlp", "gated", "weight normalised", "softplus", "x @ W"])
def test_gradient_by_parameters_equals_the_nested_one(name):
    network, points = mlp(jnp.sin, 2) if name == "mlp" else made(MADE[name]), sample(2)
    params, rest = eqx.partition(network, eqx.is_inexact_array)
    streams = [WAVE, single((0,)), single((0, 1))]

    def propagated(params):
        out = propagate(eqx.combine(params, rest), points, streams)
        return sum(jnp.mean((out[stream] - 1) ** 2) for stream in streams)

    def by_nesting(params):
        function = eqx.combine(params, rest)

        def at(x):
            first, second = jax.jacfwd(function)(x), jax.jacfwd(jax.jacfwd(function))(x)
            return second[:, 0, 0] - 2 * second[:, 1, 1], first[:, 0], second[:, 0, 1]

        return sum(jnp.mean((part - 1) ** 2) for part in jax.vmap(at, 1)(points))

    value, gradient = quick(jax.value_and_grad(propagated))(params)
    expected, expected_gradient = quick(jax.value_and_grad(by_nesting))(params)
    np.testing.assert_allclose(value, expected, rtol=1e-10)
    jax.tree.map(lambda got, wanted: assert_close(got, wanted, name), gradient, expected_gradient)
