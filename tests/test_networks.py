"""The multilayer perceptron: sizes, initial parameters, and the scaling of its input."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from nested import quick
from poise.geometry import Box
from poise.networks import MLP, Architecture

UNIT = Box(("t", "x"), (0.0, 0.0), (1.0, 1.0))
SKEW = Box(("t", "x", "y"), (-1.0, 10.0, 0.0), (3.0, 10.5, 7.0))


def building(network, domain=UNIT, outputs=1, dtype=jnp.float32):
    return lambda key: network.build(domain, outputs, jax.random.key(key), dtype)


def build(*arguments, key=0, **options):
    return quick(building(*arguments, **options))(key)


def shape_of(*arguments, **options):
    """The network without numbers in it, which takes no time."""
    return jax.eval_shape(building(*arguments, **options), 0)


def parameters(network):
    return jax.tree.leaves(network)


def test_the_reference_network_has_10401_parameters():
    network = shape_of(MLP(width=50, depth=5))
    assert sum(array.size for array in parameters(network)) == 10_401
    assert MLP() == MLP(width=50, depth=5, activation=jnp.tanh)


@pytest.mark.parametrize(
    ("width", "depth", "domain", "outputs"),
    [(7, 1, UNIT, 1), (7, 4, SKEW, 3), (1, 2, UNIT, 2)],
)
def test_layers_run_from_coordinates_over_hidden_layers_to_fields(width, depth, domain, outputs):
    network = shape_of(MLP(width, depth), domain, outputs)
    shapes = [(layer.weight.shape, layer.bias.shape) for layer in network.layers]
    sizes = [domain.dimension, *[width] * depth, outputs]
    assert shapes == [((high, low), (high,)) for low, high in itertools.pairwise(sizes)]


def test_weights_are_drawn_with_the_variance_of_glorot_and_biases_are_zero():
    network = build(MLP(width=120, depth=2), SKEW, outputs=80)
    for layer in network.layers:
        outputs, inputs = layer.weight.shape
        weights = np.asarray(layer.weight, np.float64) / np.sqrt(2 / (inputs + outputs))
        # Of n normal numbers the mean varies by 1/√n and the variance by √(2/n).
        spread = 1 / np.sqrt(weights.size)
        assert abs(weights.mean()) < 4 * spread
        assert abs(weights.var() - 1) < 4 * np.sqrt(2) * spread
        # Normal, not uniform: the fourth moment is 3 and not 1.8.
        assert abs((weights**4).mean() - 3) < 4 * np.sqrt(96) * spread
        assert np.all(layer.bias == 0)


def test_every_layer_draws_its_own_numbers():
    first, second = build(MLP(width=9, depth=3)).layers[1:3]
    assert np.all(first.weight != second.weight)


def test_parameters_depend_on_the_key_and_on_nothing_else():
    first, again, other = (build(MLP(9, 3), key=key) for key in (4, 4, 5))
    for a, b in zip(parameters(first), parameters(again), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.all(first.layers[0].weight != other.layers[0].weight)


def test_the_output_is_that_of_the_formula(x64):
    network = build(MLP(width=6, depth=2, activation=jnp.sin), SKEW, 2, dtype=jnp.float64)
    rng = np.random.default_rng(0)
    biases = [rng.normal(size=layer.bias.shape) for layer in network.layers]
    network = eqx.tree_at(lambda n: [layer.bias for layer in n.layers], network, biases)
    x = np.array([0.5, 10.1, 6.0])
    h = (x - [1.0, 10.25, 3.5]) / (np.array([4.0, 0.5, 7.0]) / np.sqrt(12))
    (w0, w1, w2), (b0, b1, b2) = [np.asarray(layer.weight) for layer in network.layers], biases
    expected = w2 @ np.sin(w1 @ np.sin(w0 @ h + b0) + b1) + b2
    np.testing.assert_allclose(network(jnp.asarray(x)), expected, rtol=1e-13)


@pytest.mark.parametrize("domain", [UNIT, SKEW], ids=["unit", "skew"])
def test_inputs_uniform_on_the_domain_are_standardized(domain, x64):
    seen = []

    def spy(h):
        seen.append(h)
        return h

    network = build(MLP(domain.dimension, 1, spy), domain, dtype=jnp.float64)
    identity = jnp.eye(domain.dimension)
    network = eqx.tree_at(lambda n: n.layers[0].weight, network, identity)
    ends = np.array([domain.lower, domain.upper])
    for point in (*ends, ends.mean(axis=0)):
        network(jnp.asarray(point))
    low, high, middle = seen
    np.testing.assert_allclose(middle, 0, atol=1e-14)
    np.testing.assert_allclose(high, np.sqrt(3), rtol=1e-13)
    np.testing.assert_allclose(low, -np.sqrt(3), rtol=1e-13)


def test_the_unit_interval_has_mean_one_half_and_deviation_one_over_root_twelve():
    network = shape_of(MLP())
    assert network.center == (0.5, 0.5)
    np.testing.assert_allclose(network.spread, [1 / np.sqrt(12)] * 2, rtol=1e-15)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_parameters_and_output_have_the_dtype_asked_for(dtype, x64):
    network = shape_of(MLP(5, 2), dtype=dtype)
    assert {array.dtype for array in parameters(network)} == {np.dtype(dtype)}
    assert jax.eval_shape(lambda n: n(jnp.zeros(2, dtype)), network).dtype == dtype


def test_weights_and_biases_are_trained_and_the_scaling_of_the_input_is_not():
    assert len(parameters(shape_of(MLP(5, depth=5)))) == 12


@pytest.fixture
def unchecked():
    """As users run it: without the type checks of the tests, which would speak first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize(
    ("make", "fragments"),
    [
        (lambda: MLP(width=0), ["width=0", "positive integer"]),
        (lambda: MLP(depth=-2), ["depth=-2", "positive integer"]),
        (lambda: MLP(width=2.5), ["width=2.5", "positive integer"]),
        (lambda: MLP(depth=True), ["depth=True", "positive integer"]),
        (lambda: MLP(width="50"), ["width='50'", "positive integer"]),
        (lambda: MLP(depth=None), ["depth=None", "positive integer"]),
        (lambda: MLP(activation="tanh"), ["activation='tanh'", "jnp.tanh"]),
        (lambda: MLP(activation=None), ["activation=None", "jnp.tanh"]),
    ],
)
def test_bad_sizes_and_activations_are_errors(make, fragments, unchecked):
    with pytest.raises(ValueError, match="MLP") as caught:
        make()
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_an_architecture_is_compared_by_its_choices():
    assert MLP(3, 2) == MLP(3, 2) != MLP(3, 3)
    assert isinstance(MLP(), Architecture)
