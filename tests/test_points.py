"""Collocation points: where they fall, how evenly, and who may draw them."""

from functools import cache

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from scipy.stats import qmc

import poise
from nested import quick
from poise.geometry import Box
from poise.losses import Model, Objective
from poise.optimizers import LBFGS, Adam, GaussNewton, SSBroyden
from poise.points import Adaptive, Sampler, Sobol, Uniform, samplers_for, to_unit
from poise.training.step import Step
from poise.weighting import Fixed

SAMPLERS = [Uniform, Sobol]
DTYPES = [np.float32, np.float64]


def draw(sampler, dimension, key=0, dtype=np.float64, prepared_with=0):
    """Points of the unit cube, drawn as an objective draws them."""
    with jax.enable_x64(dtype == np.float64):
        return np.asarray(drawing(sampler, dimension, dtype)(key, prepared_with))


@cache
def drawing(sampler, dimension, dtype):
    @quick
    def draw_from(prepared, key):
        bits = jax.random.bits(jax.random.key(key), (sampler.noise(dimension),), jnp.uint32)
        return sampler.draw(bits, prepared, dtype)

    def drawn(key, prepared_with):
        # What is prepared once is computed in NumPy.
        return draw_from(
            sampler.prepare(np.random.default_rng(prepared_with), dimension, dtype), key
        )

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


@pytest.mark.parametrize("edges", [0.25, 0.9, 1.0])
def test_gathered_points_have_the_density_that_is_stated(edges):
    box = Box(("t", "x"), (0.0, -2.0), (1.0, 4.0), periodic=("t",))
    with jax.enable_x64(True):
        even = np.linspace(0, 1, 10_001)
        unit = jnp.asarray(np.stack([even, even]))
        t, x = np.asarray(box.interior().from_unit(unit, edges))
        side = np.asarray(box.side("x", 1).from_unit(unit[:1], edges))
    np.testing.assert_array_equal(t, even)  # a periodic coordinate has no ends
    np.testing.assert_array_equal(side, [even, np.full(10_001, 4.0)])
    assert x[0] == -2 and x[-1] == 4 and np.all(np.diff(x) > 0)
    np.testing.assert_allclose(x + x[::-1], 2, atol=1e-12)
    spacing = np.diff((x + 2) / 6) * 10_000
    np.testing.assert_allclose(spacing[[0, -1]], 1 - edges, atol=3e-4)
    np.testing.assert_allclose(spacing[5000], 1 + edges * (np.pi / 2 - 1), rtol=1e-6)


def test_points_gathered_wholly_are_those_of_chebyshev():
    with jax.enable_x64(True):
        unit = (jnp.arange(8) + 0.5)[None] / 8
        got = np.asarray(Box(("x",), (-1.0,), (1.0,)).interior().from_unit(unit, 1.0))[0]
    np.testing.assert_allclose(got, np.polynomial.chebyshev.chebpts1(8), atol=1e-15)


@pytest.mark.parametrize("edges", [-0.1, 1.5, float("nan")])
@pytest.mark.parametrize("kind", [Uniform, Sobol, Adaptive])
def test_edges_outside_their_range_are_refused(kind, edges):
    with pytest.raises(ValueError, match=rf"{kind.__name__}\(edges=.*\[0, 1\]"):
        kind(64, edges=edges)


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


# Points where the residual is large


def test_adaptive_points_start_as_a_sobol_sequence_and_take_no_random_numbers():
    sampler = Adaptive(32)
    assert sampler.noise(3) == 0 and not sampler.fresh
    np.testing.assert_array_equal(draw(sampler, 3), draw(Sobol(32, fresh=False), 3))


@pytest.mark.parametrize(
    ("count", "share", "drawn"), [(32, 0.5, 16), (10, 0.25, 2), (10, 1, 10), (3, 0.01, 1)]
)
def test_a_share_of_the_points_is_drawn(count, share, drawn):
    assert Adaptive(count, share=share).drawn == drawn


@cache
def choosing(sampler):
    @jax.jit
    def choose(keys, candidates, sizes, former):
        one = jax.vmap(lambda key: sampler.choose(key, candidates, sizes, former))
        return one(jax.random.split(keys, 400))[:, 0].astype(int)

    return choose


def chosen(sampler, sizes, key=0):
    """Numbers of the candidates taken, in each of 400 drawings; -1 for a former point."""
    candidates = jnp.arange(len(sizes), dtype=float)[None]
    former = jnp.full((1, sampler.drawn), -1.0)
    return np.asarray(
        choosing(sampler)(jax.random.key(key), candidates, jnp.asarray(sizes, float), former)
    )


@pytest.mark.parametrize(("power", "floor"), [(1.0, 1.0), (2.0, 0.5), (1.0, 0.0), (0.0, 3.0)])
def test_candidates_are_taken_by_the_density_of_the_residual(power, floor):
    """One of 40 in each of 400 drawings, ten of them with a large residual: chi-square."""
    sizes = np.where(np.arange(40) < 10, 7.0, 1.0)
    density = sizes**power / np.mean(sizes**power) + floor
    found = np.concatenate(
        [chosen(Adaptive(1, power=power, floor=floor), sizes, key).ravel() for key in range(5)]
    )
    expected = found.size * density / density.sum()
    statistic = np.sum((np.bincount(found, minlength=40) - expected) ** 2 / expected)
    assert 15 < statistic < 75  # 39 degrees of freedom: beyond in one of a thousand cases
    # A wrong density is noticed.
    flat = np.full(40, found.size / 40)
    gap = np.sum((np.bincount(found, minlength=40) - flat) ** 2 / flat)
    assert gap > 200 or power == 0


@pytest.mark.parametrize("factor", [1e-30, 1.0, 1e30])
def test_no_candidate_is_taken_twice_whatever_the_size_of_the_residual(factor):
    with jax.enable_x64(False):
        found = chosen(Adaptive(8, share=1, power=2.0), factor * np.linspace(1, 5, 12))
    assert all(len(set(row)) == 8 and min(row) >= 0 for row in found)
    # Without a floor and the others zero there is no choice.
    sizes = np.where(np.arange(12) < 8, factor, 0)
    found = chosen(Adaptive(8, share=1, floor=0.0), sizes)
    np.testing.assert_array_equal(np.sort(found), np.broadcast_to(np.arange(8), found.shape))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_candidates_whose_residual_is_no_number_are_never_taken(bad):
    sizes = np.where(np.arange(24) % 3 == 0, bad, np.arange(24) + 1.0)
    found = chosen(Adaptive(8, share=1), sizes)
    assert np.all(found % 3 != 0) and np.all(found >= 0)
    assert np.mean(found > 12) > 0.5  # and the others by their size
    # Where only five are left, three former points stay.
    found = chosen(Adaptive(8, share=1), np.where(np.arange(24) < 5, 1.0, bad))
    expected = [-1, -1, -1, 0, 1, 2, 3, 4]
    np.testing.assert_array_equal(np.sort(found), np.broadcast_to(expected, found.shape))


def test_where_the_residual_vanishes_all_candidates_are_alike():
    found = chosen(Adaptive(4, share=1), np.zeros(12))
    counts = np.bincount(found.ravel(), minlength=12)
    assert np.all(counts > 0.5 * found.size / 12)
    assert np.all(chosen(Adaptive(4, share=1, floor=0.0), np.zeros(12)) == -1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"count": 0}, "positive number of points"),
        ({"fresh": True}, "Adaptive(fresh=True)"),
        ({"share": 0.0}, "Adaptive(share=0.0)"),
        ({"share": 1.5}, "Adaptive(share=1.5)"),
        ({"share": np.nan}, "Adaptive(share=nan)"),
        ({"every": 0}, "Adaptive(every=0)"),
        ({"every": True}, "Adaptive(every=True)"),
        ({"candidates": 2.5}, "Adaptive(candidates=2.5)"),
        ({"power": -1.0}, "Adaptive(power=-1.0)"),
        ({"floor": np.inf}, "Adaptive(floor=inf)"),
    ],
)
def test_bad_settings_of_adaptive_points_are_refused_by_name(options, words, unchecked):
    with pytest.raises(ValueError, match=r"points|Adaptive") as caught:
        Adaptive(**{"count": 8, **options})
    assert words in str(caught.value)


def peaked():
    """A residual that is large for t + x > 1.6, and one on two sides, large for t < 0.2."""
    terms = {
        "r": poise.interior(lambda u, t, x: u + jnp.where(t + x > 1.6, 100.0, 0.0)),
        "b": poise.boundary("x", lambda u, t: u + jnp.where(t < 0.2, 100.0, 0.0)),
        "i": poise.initial(lambda u: u - 1),
    }
    return poise.Problem({"t": (0, 1), "x": (0, 1)}, ["u"], terms)


def objective_of(**samplers):
    samplers = {"r": Adaptive(64), "b": Adaptive(16, share=0.25), "i": Uniform(4), **samplers}
    with jax.enable_x64(False):
        return Objective(peaked(), samplers, jax.random.key(0), np.float32)


def test_terms_are_refined_where_their_residual_is_large_and_keep_their_sides():
    objective, model = objective_of(), Model(lambda p: p[:1], {})
    points = objective.kept_points()
    assert set(points) == {"r", "b"}

    @jax.jit
    def refine(key):
        return {term: objective.refine(term, model, points[term], key) for term in points}

    found = refine(jax.random.key(1))
    (inside,), (left, right) = found["r"], found["b"]
    np.testing.assert_array_equal(inside[:, :32], points["r"][0][:, :32])
    t, x = np.asarray(inside[:, 32:])
    assert np.mean(t + x > 1.6) > 0.25  # three times the share of the area
    assert len(set(t)) == 32 and np.all((inside >= 0) & (inside <= 1))
    for side, former, at in ((left, points["b"][0], 0), (right, points["b"][1], 1)):
        assert side.shape == (2, 16) and np.all(side[1] == at)
        np.testing.assert_array_equal(side[:, :12], former[:, :12])
        assert np.all(side[0, 12:] != former[0, 12:])
    assert np.all(left[0, 12:] != right[0, 12:])
    again, other = refine(jax.random.key(1)), refine(jax.random.key(2))
    np.testing.assert_array_equal(again["r"][0], inside)
    assert np.all(other["r"][0][:, 32:] != inside[:, 32:])


def test_terms_gather_their_points_at_the_edges_first_and_when_they_are_drawn_anew():
    """Of Chebyshev's density 4/π arcsin √(1/6) lies in the outer sixths, of an even one a third."""
    model = Model(lambda p: 0 * p[:1], {})

    def outside(edges):
        objective = objective_of(
            r=Adaptive(1024, floor=1e9, edges=edges), i=Sobol(256, edges=edges)
        )
        first = objective.sample(jax.random.key(2))
        (anew,) = objective.refine("r", model, first["r"], jax.random.key(3))
        places = {"first": first["r"][0], "anew": anew[:, 512:], "initial": first["i"][0][1:]}
        return {name: np.mean(np.abs(np.asarray(x) - 0.5) > 1 / 3) for name, x in places.items()}

    gathered = 4 / np.pi * np.arcsin(np.sqrt(1 / 6))
    assert gathered == pytest.approx(0.535, abs=1e-3)
    for edges, expected in ((0.0, 1 / 3), (1.0, gathered)):
        for name, share in outside(edges).items():
            assert share == pytest.approx(expected, abs=0.05), (edges, name)


def step_with(optimizer, **samplers):
    network = poise.networks.MLP(3, 1).build(
        peaked().domain, 1, jax.random.key(0), np.dtype("float32")
    )
    return Step(objective_of(**samplers), Fixed(), optimizer, Model(network, {}))


def test_a_step_draws_points_anew_at_multiples_of_every_and_only_then():
    """Interior every 2 steps, sides every 3; the optimizer is told of it."""
    seen = []

    class Telling(SSBroyden):
        def step(self, params, state, view):
            jax.debug.callback(lambda changed: seen.append(bool(changed)), view.changed)
            return params, state, {}

    samplers = {"r": Adaptive(16, every=2), "b": Adaptive(16, every=3), "i": Sobol(4, fresh=False)}
    step = step_with(Telling(), **samplers)
    compiled, state = quick(step), step.init(jax.random.key(5))
    redrawn = {"r": [], "b": []}
    for n in range(8):
        after, _ = compiled(state)
        for term, when in redrawn.items():
            pair = after.points[term], state.points[term]
            same = [np.array_equal(a, b) for a, b in zip(*pair, strict=True)]
            assert len(set(same)) == 1
            if not same[0]:
                when.append(n)
        state = after
    jax.effects_barrier()
    assert redrawn == {"r": [2, 4, 6], "b": [3, 6]}
    assert [n for n, changed in enumerate(seen) if changed] == [2, 3, 4, 6]
    assert len(seen) == 8


@pytest.mark.parametrize("optimizer", [GaussNewton(), SSBroyden(), LBFGS()])
def test_optimizers_that_compare_losses_refuse_fresh_points(optimizer):
    with pytest.raises(ValueError, match=type(optimizer).__name__) as caught:
        step_with(optimizer)
    for words in ("its points must stay", "'i'", "Uniform(count=4", "Sobol(512, fresh=False)"):
        assert words in str(caught.value)
    step_with(optimizer, i=Sobol(4, fresh=False))
    step_with(Adam(1e-3))
