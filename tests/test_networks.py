"""Networks: sizes, initial parameters, the scaling of their input, and exact periods."""

import itertools
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from nested import assert_close, multi_indices, nested, quick
from poise.derivatives import propagate
from poise.derivatives.streams import single
from poise.geometry import Box
from poise.networks import MLP, SIREN, Architecture, Embedding, grow
from poise.networks.embedding import HALF
from poise.networks.siren import Waves
from poise.training.recipe import describe, rebuild

UNIT = Box(("t", "x"), (0.0, 0.0), (1.0, 1.0))
TUBE = Box(("t", "x", "y"), (0.0, -1.0, 2.0), (1.0, 0.5, 5.0), ("x",))
TORUS = Box(("x", "y"), (-1.0, 0.3), (0.5, 2.3), ("x", "y"))
SKEW = Box(("t", "x", "y"), (-1.0, 10.0, 0.0), (3.0, 10.5, 7.0))


def building(network, domain=UNIT, outputs=1, dtype=jnp.float32):
    return lambda key: network.build(domain, outputs, jax.random.key(key), dtype)


def build(*arguments, key=0, **options):
    return building(*arguments, **options)(key)  # it computes in NumPy in part


def shape_of(*arguments, **options):
    """A network of which the shapes matter and no numbers."""
    return build(*arguments, **options)


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
    assert network.embedding.center == (0.5, 0.5)
    np.testing.assert_allclose(network.embedding.spread, [1 / np.sqrt(12)] * 2, rtol=1e-15)


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
        (lambda: MLP(harmonics=0), ["MLP(harmonics=0)", "positive integer"]),
        (lambda: SIREN(width=0), ["SIREN(width=0)", "positive integer"]),
        (lambda: SIREN(depth=2.0), ["SIREN(depth=2.0)", "positive integer"]),
        (lambda: SIREN(harmonics=True), ["SIREN(harmonics=True)", "positive integer"]),
        (lambda: SIREN(scale=0), ["SIREN(scale=0)", "positive number"]),
        (lambda: SIREN(scale=np.nan), ["SIREN(scale=nan)", "positive number"]),
        (lambda: SIREN(scale="2"), ["SIREN(scale='2')", "positive number"]),
        (lambda: SIREN(scale=[2, 2]), ["SIREN(scale=[2, 2])", "positive number"]),
        (lambda: SIREN(scale={"x": -1}), ["SIREN(scale['x']=-1)", "positive number"]),
        (lambda: SIREN(oscillations=5), ["SIREN(oscillations=5)", "{'t': 5}"]),
        (lambda: SIREN(oscillations={"t": 0}), ["SIREN(oscillations['t']=0)", "positive"]),
        (
            lambda: shape_of(SIREN(scale={"y": 3})),
            ["SIREN(scale['y'])", "no such coordinate", "t, x"],
        ),
        (
            lambda: shape_of(SIREN(oscillations={"z": 3}), SKEW),
            ["SIREN(oscillations['z'])", "no such coordinate", "t, x, y"],
        ),
        (lambda: Embedding.of(UNIT, harmonics=0), ["Embedding(harmonics=0)", "positive integer"]),
        (lambda: Embedding.of(UNIT, divisor=-1.0), ["Embedding(divisor=-1.0)", "positive number"]),
    ],
)
def test_bad_settings_are_errors(make, fragments, unchecked):
    with pytest.raises(ValueError, match=r"MLP|SIREN|Embedding") as caught:
        make()
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_an_architecture_is_compared_by_its_choices():
    assert MLP(3, 2) == MLP(3, 2) != MLP(3, 3)
    assert isinstance(MLP(), Architecture)


# Embeddings and exact periods


def test_features_are_scaled_coordinates_cosines_and_sines(x64):
    embedding = Embedding.of(TUBE, divisor=HALF, harmonics=2)
    assert embedding.size == 6
    assert embedding.sources == (0, 2, 1, 1, 1, 1)
    for t, x, y in np.random.default_rng(0).uniform(-3, 3, (5, 3)):
        angle = 2 * np.pi * (x + 1) / 1.5
        waves = [f(k * angle) for k in (1, 2) for f in (np.cos, np.sin)]
        got = embedding(jnp.array([t, x, y]))
        np.testing.assert_allclose(got, [2 * t - 1, (y - 3.5) / 1.5, *waves], rtol=1e-12)


def test_several_periodic_coordinates_have_features_of_their_own(x64):
    embedding = Embedding.of(TORUS)
    assert embedding.sources == (0, 1, 0, 1)
    a, b = 2 * np.pi * 0.2 / 1.5, 2 * np.pi * 0.9 / 2
    expected = [np.cos(a), np.cos(b), np.sin(a), np.sin(b)]
    np.testing.assert_allclose(embedding(jnp.array([-0.8, 1.2])), expected, rtol=1e-14)


def test_without_periodic_coordinates_the_embedding_is_two_operations():
    traced = jax.make_jaxpr(Embedding.of(SKEW, harmonics=3))(jnp.zeros(3))
    assert [equation.primitive.name for equation in traced.eqns] == ["sub", "div"]
    assert Embedding.of(SKEW).size == 3


NETWORKS = {
    "MLP": MLP(7, 2),
    "MLP, 3 harmonics": MLP(7, 2, harmonics=3),
    "SIREN": SIREN(7, 2, scale=1.0),
    "SIREN, 2 harmonics": SIREN(7, 2, scale=1.0, harmonics=2),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_periods_are_exact_in_all_derivatives_up_to_order_three(name, x64):
    network = build(NETWORKS[name], TUBE, 2, dtype=jnp.float64)
    inside = jax.random.uniform(jax.random.key(1), (3, 4), float, 0.1, 0.4)
    streams = [single(alpha) for alpha in multi_indices(3, 3)]

    @quick
    def jets(points):
        return propagate(network, points, streams)

    # On the two ends, and elsewhere some periods away; t is no periodic coordinate.
    lower = inside.at[1].set(-1.0)
    for points, moved, same in (
        (lower, inside.at[1].set(0.5), True),
        (inside, inside.at[1].add(3 * 1.5), True),
        (inside, inside.at[1].add(0.7), False),
        (inside, inside.at[0].add(1.0), False),
    ):
        here, there = jets(points), jets(moved)
        for stream in (single(()), *streams):
            gap = np.abs(here[stream] - there[stream]).max() / np.abs(here[stream]).max()
            assert gap < 1e-12 if same else gap > 1e-3, stream


@pytest.mark.parametrize("name", ["MLP, 3 harmonics", "SIREN"])
def test_propagation_through_an_embedding_equals_nested_differentiation(name, x64):
    network = build(NETWORKS[name], TUBE, 2, dtype=jnp.float64)
    points = jax.random.uniform(jax.random.key(1), (3, 4), float, 0.1, 0.4)
    expected = nested(network, points, 3)
    streams = [single(alpha) for alpha in multi_indices(3, 3)]
    got = quick(lambda p: propagate(network, p, streams))(points)
    assert len(expected) == len(got)
    for alpha, values in expected.items():
        assert_close(got[single(alpha)], values, alpha, tolerance=1e-11)


# The sine network


def test_a_sine_network_has_the_sizes_asked_for():
    network = shape_of(SIREN())
    assert sum(array.size for array in parameters(network)) == 921
    assert [layer.weight.shape for layer in network.layers] == [
        (20, 2),
        (20, 20),
        (20, 20),
        (1, 20),
    ]
    assert SIREN() == SIREN(width=20, depth=3, scale=2, oscillations=None)
    first, *_ = shape_of(SIREN(9, 1, harmonics=1), TUBE, 3).layers
    assert first.weight.shape == (9, 4)
    assert isinstance(SIREN(), Architecture)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_a_sine_network_has_the_dtype_asked_for(dtype, x64):
    network = shape_of(SIREN(5, 2, oscillations={"x": 9}), TUBE, dtype=dtype)
    trained = parameters(eqx.filter(network, eqx.is_inexact_array))
    assert {array.dtype for array in trained} == {np.dtype(dtype)}
    assert jax.eval_shape(lambda n: n(jnp.zeros(3, dtype)), network).dtype == dtype


def test_the_output_of_a_sine_network_is_that_of_the_formula(x64):
    network = build(SIREN(width=6, depth=2), SKEW, 2, dtype=jnp.float64)
    (w0, b0), (w1, b1), (w2, b2) = ((np.asarray(n.weight), n.bias) for n in network.layers)
    x = np.array([0.5, 10.1, 6.0])
    h = (x - [1.0, 10.25, 3.5]) / [2.0, 0.25, 3.5]
    expected = w2 @ np.sin(w1 @ np.sin(w0 @ h + b0) + b1) + b2
    np.testing.assert_allclose(network(jnp.asarray(x)), expected, rtol=1e-12)


def is_normal(numbers, deviation):
    """Mean, variance and fourth moment, within four standard deviations of theirs."""
    numbers = np.asarray(numbers, np.float64).ravel() / deviation
    error = 1 / np.sqrt(numbers.size)
    assert abs(numbers.mean()) < 4 * error
    assert abs(numbers.var() - 1) < 4 * np.sqrt(2) * error
    assert abs((numbers**4).mean() - 3) < 4 * np.sqrt(96) * error


def is_uniform(numbers, reach):
    """Between the ends and close to both, with the variance of the uniform distribution."""
    numbers = np.asarray(numbers, np.float64) / reach
    assert np.abs(numbers).max() <= 1
    assert numbers.min() < -0.95 and numbers.max() > 0.95
    assert abs(numbers.mean()) < 4 / np.sqrt(3 * numbers.size)
    assert abs(numbers.var() - 1 / 3) < 4 * np.sqrt(4 / 45 / numbers.size)


def test_sine_networks_start_from_the_distributions_they_state():
    network = build(SIREN(width=400, depth=3, scale={"t": 3.0, "x": 0.5}), SKEW, outputs=30)
    first, second, third, last = network.layers
    for axis, scale in enumerate((3.0, 0.5, 2.0)):
        is_normal(first.weight[:, axis], scale)
    is_uniform(first.bias, np.pi)
    for layer in (second, third):
        is_normal(layer.weight, 1 / np.sqrt(400))
        is_uniform(layer.bias, 1.0)
    is_normal(last.weight, 1 / np.sqrt(400))
    assert np.all(last.bias == 0)
    assert np.all(second.weight != third.weight) and np.all(second.bias != third.bias)


@pytest.mark.parametrize(
    ("options", "domain", "expected"),
    [
        ({}, UNIT, [2, 2]),
        ({"scale": 5}, UNIT, [5, 5]),
        ({"scale": {"x": 0.1}}, UNIT, [2, 0.1]),
        # k oscillations: the frequency kπ on [-1, 1], where that is more than the scale.
        ({"oscillations": {"t": 5}}, UNIT, [5 * np.pi, 2]),
        ({"oscillations": {"t": 0.5, "x": 1.5}}, UNIT, [2, 1.5 * np.pi]),
        ({"scale": 7, "oscillations": {"t": 2, "x": 3}}, UNIT, [7, 3 * np.pi]),
        # Features: t, y, cos x, sin x. On the circle k oscillations have the frequency k.
        ({"scale": {"x": 3, "y": 4}}, TUBE, [2, 4, 3, 3]),
        ({"oscillations": {"x": 6, "t": 1}}, TUBE, [np.pi, 2, 6, 6]),
        ({"oscillations": {"x": 6}, "harmonics": 2}, TUBE, [2, 2, 3, 3, 3, 3]),
    ],
)
def test_scales_of_the_first_layer_follow_the_settings(options, domain, expected):
    options = {"harmonics": 1, **options}
    network = build(SIREN(8, 2, **options), domain)
    # The same numbers at scale 1: what is left is the scale of each column.
    plain = build(SIREN(8, 2, scale=1, harmonics=options["harmonics"]), domain)
    ratio = np.asarray(network.layers[0].weight) / np.asarray(plain.layers[0].weight)
    np.testing.assert_allclose(ratio, np.broadcast_to(expected, ratio.shape), rtol=1e-5)
    np.testing.assert_array_equal(network.layers[1].weight, plain.layers[1].weight)


@pytest.mark.parametrize(
    "network",
    [
        SIREN(),
        SIREN(30, 4, scale={"x": 3}, oscillations={"t": 2.5}, harmonics=2),
        MLP(7, 2, jnp.sin, harmonics=3),
    ],
)
def test_networks_are_written_down_and_rebuilt(network):
    written = json.loads(json.dumps(describe(network)))
    assert rebuild(written) == network
    assert written["kind"] == type(network).__name__


def test_settings_of_numpy_are_written_down_as_numbers(unchecked):
    network = SIREN(scale=np.int64(4), oscillations={"t": np.float32(2.5)})
    assert network == SIREN(scale=4, oscillations={"t": 2.5})
    assert rebuild(json.loads(json.dumps(describe(network)))) == network


def test_a_network_written_down_before_there_were_harmonics_has_one():
    written = describe(MLP())
    del written["harmonics"]
    assert rebuild(written) == MLP()


# Waves


def test_a_first_layer_of_waves_is_that_of_the_formula(x64):
    """Coordinates t, x, y with x periodic: its phase is 2π(x + 1)/1.5."""
    network = build(SIREN(6, 1), TUBE, dtype=jnp.float64)
    first, last = network.layers
    assert isinstance(first, Waves)
    assert first.weight.shape == (6, 2) and first.numbers.shape == (6, 1)
    w, k, b = np.asarray(first.weight), np.asarray(first.numbers), np.asarray(first.bias)
    for t, x, y in np.random.default_rng(0).uniform(-2, 2, (4, 3)):
        angle = w @ [2 * t - 1, (y - 3.5) / 1.5] + k[:, 0] * 2 * np.pi * (x + 1) / 1.5 + b
        expected = np.asarray(last.weight) @ np.sin(angle) + last.bias
        np.testing.assert_allclose(network(jnp.array([t, x, y])), expected, rtol=1e-10)


def test_wave_numbers_are_whole_spread_by_their_scale_and_not_trained():
    network = build(SIREN(2000, 1, scale={"x": 3.0}), TUBE)
    first = network.layers[0]
    assert jnp.issubdtype(first.numbers.dtype, jnp.integer)
    # Rounding adds the variance of the rounding error, 1/12.
    assert np.var(first.numbers) == pytest.approx(9 + 1 / 12, rel=0.15)
    assert abs(np.mean(first.numbers)) < 4 * 3.1 / np.sqrt(2000)
    trained, kept = eqx.partition(network, eqx.is_inexact_array)
    assert trained.layers[0].numbers is None and kept.layers[0].numbers is not None
    assert trained.layers[0].weight is not None and trained.layers[0].bias is not None
    # More oscillations are expected: larger wave numbers.
    more = build(SIREN(2000, 1, oscillations={"x": 10}), TUBE).layers[0].numbers
    assert np.var(more) == pytest.approx(100 + 1 / 12, rel=0.15)


def test_where_all_coordinates_are_periodic_all_of_the_first_layer_is_waves(x64):
    network = build(SIREN(5, 2), TORUS, dtype=jnp.float64)
    assert network.layers[0].weight.shape == (5, 0)
    assert network.layers[0].numbers.shape == (5, 2)
    point = jnp.array([0.1, 0.9])
    for shift in ([1.5, 0.0], [0.0, -2.0], [-3.0, 4.0]):
        np.testing.assert_allclose(network(point + jnp.array(shift)), network(point), rtol=1e-10)


# Wider networks


GROWN = {
    "MLP": (MLP(4, 2), MLP(7, 2), SKEW),
    "MLP, periodic": (MLP(4, 3, harmonics=2), MLP(6, 3, harmonics=2), TUBE),
    "SIREN": (SIREN(4, 2), SIREN(9, 2), SKEW),
    "SIREN, waves": (SIREN(4, 2), SIREN(9, 2), TUBE),
    "SIREN, harmonics": (SIREN(4, 1, harmonics=2), SIREN(5, 1, harmonics=2), TUBE),
    "the same width": (SIREN(4, 2), SIREN(4, 2), TUBE),
}


@pytest.mark.parametrize("name", GROWN)
def test_a_grown_network_has_the_function_with_all_its_derivatives(name, x64):
    small, large, domain = GROWN[name]
    network = build(small, domain, 2, dtype=jnp.float64, key=1)
    wider = build(large, domain, 2, dtype=jnp.float64, key=2)
    grown = grow(network, wider)
    assert jax.tree.map(jnp.shape, grown) == jax.tree.map(jnp.shape, wider)
    points = jax.random.uniform(jax.random.key(1), (3, 4), float, 0.1, 0.4)
    streams = [single(alpha) for alpha in multi_indices(3, 2)]
    each = (network, grown, wider)
    before, after, fresh = quick(lambda p: [propagate(n, p, streams) for n in each])(points)
    for stream, values in before.items():
        assert_close(after[stream], values, stream, tolerance=1e-14)
    assert np.abs(fresh[single(())] - before[single(())]).max() > 1e-3


@pytest.mark.parametrize("name", [name for name in GROWN if name != "the same width"])
def test_new_units_can_learn(name, x64):
    """What they give starts at zero and has a gradient; what they take in is not zero."""
    small, large, domain = GROWN[name]
    network = build(small, domain, dtype=jnp.float64, key=1)
    grown = grow(network, build(large, domain, dtype=jnp.float64, key=2))
    point = jnp.array([0.3, 0.2, 0.4])
    gradient = eqx.filter_jit(eqx.filter_grad(lambda n: n(point)[0]))(grown)
    old = small.width
    for index, (layer, slopes) in enumerate(zip(grown.layers, gradient.layers, strict=True)):
        if index:
            assert np.all(layer.weight[: old if index < small.depth else None, old:] == 0)
            assert np.all(slopes.weight[: old if index < small.depth else None, old:] != 0)
        if index < small.depth:
            assert np.all(layer.weight[old:] != 0)


@pytest.mark.parametrize(
    ("wider", "domain", "words"),
    [
        (MLP(7, 3), SKEW, "same depth and activation"),
        (MLP(7, 2, jnp.sin), SKEW, "same depth and activation"),
        (SIREN(7, 2), SKEW, "same depth and activation"),
        (MLP(3, 2), SKEW, r"shape \(4, 3\) does not fit into \(3, 3\)"),
        (MLP(7, 2), UNIT, "same inputs"),
        (MLP(7, 2), TUBE, "same inputs"),
    ],
)
def test_a_network_grows_into_one_of_its_kind_only(wider, domain, words):
    network = build(MLP(4, 2), SKEW)
    with pytest.raises(ValueError, match=words):
        grow(network, build(wider, domain))


def test_a_grown_network_keeps_inputs_and_outputs():
    network = build(MLP(4, 2), TUBE)
    with pytest.raises(ValueError, match=r"as many outputs; .* 1 and 2 outputs"):
        grow(network, build(MLP(6, 2), TUBE, outputs=2))
    with pytest.raises(ValueError, match=r"same inputs.* 4 and 6 inputs"):
        grow(network, build(MLP(6, 2, harmonics=2), TUBE))
    with pytest.raises(ValueError, match="same inputs"):
        grow(build(SIREN(4, 2), TUBE), build(SIREN(6, 2, harmonics=1), TUBE))


def test_a_network_is_built_outside_of_traced_functions():
    def build(key):
        return MLP(3, 1).build(Box(("x",), (0.0,), (1.0,)), 1, key, jnp.float32)

    build(jax.random.key(0))
    with pytest.raises(ValueError, match=r"outside of functions that jax\.jit"):
        jax.eval_shape(build, jax.random.key(0))
