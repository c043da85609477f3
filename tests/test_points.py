"""Collocation points: where they fall, how evenly, and who may draw them."""

from functools import cache

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from scipy.stats import qmc

from nested import quick
from poise.geometry import Box
from poise.points import Sampler, Sobol, Uniform, samplers_for, to_unit

SAMPLERS = [Uniform, Sobol]
DTYPES = [np.float32, np.float64]


def draw(sampler, dimension, key=0, dtype=np.float64, prepared_with=0):
    """Points of the unit cube, drawn as an objective draws them."""
    with jax.enable_x64(dtype == np.float64):
        return np.asarray(drawing(sampler, dimension, dtype)(key, prepared_with))


@cache
def drawing(sampler, dimension, dtype):
    @quick
    def drawn(key, prepared_with):
        prepared = sampler.prepare(jax.random.key(prepared_with), dimension, dtype)
        bits = jax.random.bits(jax.random.key(key), (sampler.noise(dimension),), jnp.uint32)
        return sampler.draw(bits, prepared, dtype)

    return drawn


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dimension", [0, 2])
@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("kind", SAMPLERS)
def test_points_lie_in_the_unit_cube_one_a_column(kind, fresh, dimension, dtype):
    unit = draw(kind(64, fresh=fresh), dimension, dtype=dtype)
    assert unit.shape == (dimension, 64)
    assert unit.dtype == dtype
    assert np.all((unit >= 0) & (unit < 1))
    # Every coordinate spreads over its interval, and no two coordinates are the same numbers.
    for i, row in enumerate(unit):
        assert row.min() < 0.1 and row.max() > 0.9
        assert all(np.any(row != other) for other in unit[i + 1 :])


@pytest.mark.parametrize("kind", SAMPLERS)
def test_fresh_points_change_with_the_key_and_only_with_it(kind):
    first, again, other = (draw(kind(64), 2, key) for key in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.all(first != other)


@pytest.mark.parametrize("kind", SAMPLERS)
def test_fixed_points_do_not_change_and_take_no_random_numbers(kind):
    sampler = kind(64, fresh=False)
    assert sampler.noise(2) == 0
    np.testing.assert_array_equal(draw(sampler, 2, 1), draw(sampler, 2, 2))
    assert np.all(draw(sampler, 2, 1) != draw(sampler, 2, 1, prepared_with=5))


def test_fresh_points_cost_a_number_each_or_one_a_dimension():
    assert Uniform(64).noise(3) == 3 * 64
    assert Sobol(64).noise(3) == 3


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_largest_bits_give_less_than_one_and_zero_gives_zero(dtype):
    with jax.enable_x64(dtype == np.float64):
        unit = np.asarray(to_unit(jnp.array([0, 2**31, 2**32 - 1], jnp.uint32), dtype))
    assert unit.dtype == dtype
    assert unit[0] == 0 and unit[1] == 0.5
    assert 1 - 2.0**-23 < unit[2] < 1


def test_uniform_points_have_the_moments_of_the_uniform_distribution():
    unit = draw(Uniform(20_000), 2)
    deviation = 1 / np.sqrt(20_000)
    np.testing.assert_allclose(unit.mean(axis=1), 1 / 2, atol=5 * deviation)
    np.testing.assert_allclose(unit.var(axis=1), 1 / 12, atol=5 * deviation)
    np.testing.assert_allclose(np.corrcoef(unit)[0, 1], 0, atol=5 * deviation)


def test_shifted_sobol_points_are_uniform_one_by_one():
    # The first point over many keys: a digital shift takes it anywhere.
    first = np.array([draw(Sobol(1), 1, key)[0, 0] for key in range(200)])
    assert np.histogram(first, 4, (0, 1))[0].min() > 25


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("key", [None, 0, 7])
@pytest.mark.parametrize("dimension", [2, 5])
def test_sobol_points_fill_equal_intervals_of_every_coordinate_equally(dimension, key, dtype):
    unit = draw(Sobol(64, fresh=key is not None), dimension, key or 0, dtype)
    for row in unit:
        for bins in (2, 8, 64):
            np.testing.assert_array_equal(np.histogram(row, bins, (0, 1))[0], 64 // bins)


@pytest.mark.parametrize("key", [0, 1])
def test_sobol_points_of_the_plane_are_a_net(key):
    # The first two coordinates form a (0, m, 2)-net: each elementary rectangle holds one point.
    unit = draw(Sobol(64), 2, key)
    for power in range(7):
        cells = 2**power, 2 ** (6 - power)
        counts, *_ = np.histogram2d(*unit, bins=cells, range=[(0, 1), (0, 1)])
        np.testing.assert_array_equal(counts, 1)


def test_sobol_points_are_those_of_scipy_up_to_the_shift():
    ours = (draw(Sobol(16, fresh=False), 3) * 2**32).astype(np.uint32)
    theirs = (qmc.Sobol(3, scramble=False).random(16).T * 2**32).astype(np.uint32)
    shifts = ours ^ theirs
    np.testing.assert_array_equal(shifts, np.broadcast_to(shifts[:, :1], shifts.shape))
    assert len(np.unique(shifts)) == 3


def test_every_coordinate_is_shifted_by_bits_of_its_own():
    first, second = ((draw(Sobol(16), 3, key) * 2**32).astype(np.uint32) for key in (1, 2))
    shifts = first ^ second
    np.testing.assert_array_equal(shifts, np.broadcast_to(shifts[:, :1], shifts.shape))
    assert len(np.unique(shifts)) == 3


def test_sobol_points_spread_better_than_uniform_ones():
    for key in range(3):
        even, loose = (qmc.discrepancy(draw(kind(256), 2, key).T) for kind in (Sobol, Uniform))
        assert even < loose / 5


# Patches

BOX = Box(("t", "x", "y"), (0.0, -1.3, 2.0), (0.1, 0.7, 5.0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("side", [None, ("t", -1), ("x", 1), ("x", -1), ("y", 1)])
def test_a_patch_fixes_its_coordinate_exactly_and_spreads_the_others(side, kind, dtype):
    patch = BOX.interior() if side is None else BOX.side(*side)
    with jax.enable_x64(dtype == np.float64):
        points = np.asarray(patch.from_unit(jnp.asarray(draw(kind(64), len(patch.free), 0, dtype))))
    assert points.shape == (3, 64) and points.dtype == dtype
    for axis, (low, high) in enumerate(zip(BOX.lower, BOX.upper, strict=True)):
        if side and side[0] == BOX.names[axis]:
            assert axis not in patch.free
            assert np.all(points[axis] == dtype(high if side[1] > 0 else low))
        else:
            assert axis in patch.free
            length = high - low
            assert low <= points[axis].min() < low + 0.1 * length
            assert high - 0.1 * length < points[axis].max() <= high


def test_a_patch_gives_each_free_coordinate_numbers_of_its_own():
    patch = BOX.side("x", 1)
    got = np.asarray(patch.from_unit(jnp.array([[0.25, 0.5], [0.75, 1.0]])))
    np.testing.assert_allclose(got, [[0.025, 0.05], [0.7, 0.7], [4.25, 5.0]], rtol=1e-6)


def test_zero_is_mapped_to_the_lower_end_and_a_half_to_the_middle():
    unit = jnp.array([[0.0, 0.5], [0.0, 0.5], [0.0, 0.5]])
    points = np.asarray(BOX.interior().from_unit(unit))
    np.testing.assert_array_equal(points[:, 0], np.array(BOX.lower, np.float32))
    np.testing.assert_allclose(points[:, 1], [0.05, -0.3, 3.5], rtol=1e-6)


# Which term draws what


def test_a_number_means_fresh_uniform_points_for_every_term_that_draws():
    found = samplers_for(128, {"residual": True, "sensor": False, "initial": True})
    assert found == {"residual": Uniform(128), "initial": Uniform(128)}
    assert found["residual"].fresh


def test_a_sampler_serves_every_term():
    sampler = Sobol(64, fresh=False)
    assert samplers_for(sampler, {"a": True, "b": True}) == {"a": sampler, "b": sampler}


def test_a_mapping_gives_each_term_its_own():
    found = samplers_for({"b": 5, "a": Sobol(8)}, {"a": True, "b": True, "sensor": False})
    assert found == {"a": Sobol(8), "b": Uniform(5)}
    assert list(found) == ["a", "b"]


@pytest.mark.parametrize(
    ("points", "fragments"),
    [
        ({"a": 1, "b": 1, "c": 1}, ["points['c']", "a, b"]),
        ({"a": 1, "b": 1, "sensor": 1}, ["points['sensor']", "a, b"]),
        ({"a": 1}, ["term b"]),
        ({}, ["a, b"]),
        ({"a": 1, "b": "many"}, ["'many'", "Sobol"]),
        ("many", ["'many'", "Sobol"]),
        (12.5, ["12.5", "Sobol"]),
        (None, ["None", "Sobol"]),
        (Sobol, ["Sobol(1024)"]),
        (0, ["0", "positive"]),
        (-3, ["-3", "positive"]),
        (True, ["True", "positive"]),
    ],
)
def test_points_that_fit_no_term_are_an_error(points, fragments):
    with pytest.raises(ValueError, match="points") as caught:
        samplers_for(points, {"a": True, "b": True, "sensor": False})
    for fragment in fragments:
        assert fragment in str(caught.value)


@pytest.fixture
def unchecked():
    """As users run it: without the type checks of the tests, which would speak first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("count", [0, -1, 2.5, "64", True, None])
def test_a_sampler_needs_a_positive_number_of_points(kind, count, unchecked):
    with pytest.raises(ValueError, match="positive number of points"):
        kind(count)


def test_a_sampler_is_what_the_library_takes_it_for():
    assert all(issubclass(kind, Sampler) for kind in SAMPLERS)
