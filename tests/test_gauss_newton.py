"""Gauss-Newton: its linear algebra against NumPy's, its memory, and the promises of its steps."""

from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import poise
from nested import quick
from poise.losses import Model, Objective
from poise.optimizers import GaussNewton, View
from poise.optimizers.damped import (
    Dense,
    Gram,
    Kernel,
    Krylov,
    Linearized,
    choose,
    damped_triangle,
)
from poise.optimizers.gauss_newton import GaussNewtonState, linearize
from poise.points import Sobol
from poise.training.step import Step
from poise.weighting import Fixed

pytestmark = pytest.mark.usefixtures("x64")

SOLVERS = {
    "dense": (Dense(), False),
    "dense, precise": (Dense(), True),
    "kernel": (Kernel(), False),
    "kernel, precise": (Kernel(), True),
    "gram": (Gram(), False),
    "krylov": (Krylov(iterations=500, tolerance=1e-12), False),
}


def matrix(rows, columns, condition, seed=0):
    """Singular values from 1 down to 1/condition, evenly on a logarithmic scale."""
    random = np.random.default_rng(seed)
    few = min(rows, columns)
    left, _ = np.linalg.qr(random.normal(size=(rows, few)))
    right, _ = np.linalg.qr(random.normal(size=(columns, few)))
    return left @ np.diag(np.logspace(0, -np.log10(condition), few)) @ right.T


@cache
def solving(solver, precise):
    @quick
    def solve(jacobian, residual, other, damping):
        at = Linearized(
            residual,
            jacobian.T @ residual,
            jacobian if solver.holds_jacobian else None,
            lambda: jacobian.T @ jacobian,
            lambda d: jacobian @ d,
            lambda e: jacobian.T @ e,
        )
        flag = jnp.asarray(precise)
        factors, scale = solver.prepare(at, flag)
        step, again = solver.solve(at, factors, damping, flag)
        return step, again(other), scale

    return solve


def augmented(jacobian, residual, damping):
    """min ‖J d + r‖² + μ ‖d‖² as one least-squares problem, by NumPy's SVD."""
    size = jacobian.shape[1]
    full = np.concatenate([jacobian, np.sqrt(damping) * np.eye(size)])
    return np.linalg.lstsq(full, -np.concatenate([residual, np.zeros(size)]), rcond=None)[0]


SHAPES = [(40, 12), (12, 12), (9, 30), (150, 70), (70, 150)]


@pytest.mark.parametrize("damping", [1e-6, 1e-2, 1.0])
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        (name, shape)
        for name in SOLVERS
        for shape in SHAPES
        if "kernel" not in name or shape[0] <= shape[1]  # that form is for fewer residuals
    ],
)
def test_every_way_solves_the_damped_problem(name, shape, damping):
    jacobian = matrix(*shape, condition=30.0)
    random = np.random.default_rng(2)
    residual, other = random.normal(size=(2, shape[0]))
    step, again, scale = solving(*SOLVERS[name])(jacobian, residual, other, damping)
    for found, right in ((step, residual), (again, other)):
        expected = augmented(jacobian, right, damping)
        np.testing.assert_allclose(found, expected, atol=1e-9 * np.abs(expected).max())
    # Dampings are measured in a number of the order of the largest eigenvalue, which is 1 here.
    assert 1 / shape[1] <= scale <= 1 + 1e-12


@pytest.mark.parametrize(("name", "shape"), [("dense", (60, 20)), ("kernel", (20, 60))])
def test_qr_is_accurate_where_normal_equations_are_not(name, shape):
    """Condition 1e10, damping 1e-18: the square of the condition has no digits left."""
    jacobian = matrix(*shape, condition=1e10)
    residual = np.random.default_rng(2).normal(size=shape[0])
    expected = augmented(jacobian, residual, 1e-18)
    errors = {}
    for way in (name, f"{name}, precise"):
        step, *_ = solving(*SOLVERS[way])(jacobian, residual, residual, 1e-18)
        errors[way] = np.linalg.norm(step - expected) / np.linalg.norm(expected)
    assert errors[f"{name}, precise"] < 1e-5  # 1e10 times the precision, and some
    assert not errors[name] < 1e-2  # wrong, or not a number


@pytest.mark.parametrize("size", [1, 2, 31, 32, 33, 192, 200])  # panels of 32 and more
@given(damping=st.floats(1e-12, 1e3), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_the_damped_triangle_is_that_of_the_whole_matrix(size, damping, seed):
    """RᵀR = TᵀT + μI, R upper triangular, and the right side turned along."""
    random = np.random.default_rng(seed)
    triangle = np.triu(random.normal(size=(size, size + 2)))
    found = np.asarray(jax.jit(damped_triangle)(jnp.asarray(triangle), jnp.asarray(damping)))
    square, right = triangle[:, :size], triangle[:, size:]
    factor = found[:, :size]
    assert not np.any(np.tril(factor, -1))
    whole = square.T @ square + damping * np.eye(size)
    np.testing.assert_allclose(factor.T @ factor, whole, atol=1e-12 * np.abs(whole).max())
    turned = square.T @ right
    np.testing.assert_allclose(
        factor.T @ found[:, size:], turned, atol=1e-12 * size * np.abs(turned).max()
    )


def test_a_solver_says_what_it_lacks():
    view = View({}, {}, {}, None, False, rows=lambda p: p**2)
    at = linearize(jnp.ones(3), view)
    for solver in (Dense(), Kernel(), Gram()):
        with pytest.raises(ValueError, match="lacks the Jacobian"):
            solver.prepare(at, jnp.asarray(False))


# Which way


@pytest.mark.parametrize(
    ("rows", "parameters", "numbers", "wanted"),
    [
        # Dense: 4·1000·100 + 6·100². Gram: 4·100² + 30·1000·√100. Krylov would take more.
        (1000, 100, 460_000, Dense()),
        (1000, 100, 459_999, Gram()),
        (1000, 100, 340_000, Gram()),
        # As many rows as columns are dense; with fewer the matrix of the rows is smaller:
        # 4·99·100 + 6·99². Gram: 4·100² + 30·99·√100.
        (100, 100, 100_000, Dense()),
        (99, 100, 100_000, Kernel()),
        (99, 100, 98_406, Kernel()),
        (99, 100, 98_405, Gram()),
        (99, 100, 69_699, Krylov()),  # 20·100 + 45·99·√100
        (99, 100, 46_550, Krylov()),
    ],
)
def test_size_and_memory_choose_the_way(rows, parameters, numbers, wanted):
    # A seventh more, for the differentiation.
    assert choose(rows, parameters, 8 * numbers * 8 / 7 + 1, 8) == wanted
    assert choose(rows, parameters, 4 * numbers * 8 / 7 + 1, 4) == wanted


def test_too_little_memory_is_an_error_that_names_numbers():
    with pytest.raises(ValueError, match="1234 residuals and 567 parameters") as caught:
        GaussNewton(memory_gb=1e-6).solver_for(1234, 567, 8)
    assert "0.00102 MiB" in str(caught.value)
    least = float(str(caught.value).split("at least ")[1].split()[0])
    enough = GaussNewton(memory_gb=1.01 * least / 1024)
    assert enough.solver_for(1234, 567, 8) == Krylov()
    assert GaussNewton(solver=Gram()).solver_for(10, 10**9, 8) == Gram()


def test_points_differentiated_at_a_time_take_an_eighth_of_the_memory():
    assert GaussNewton(memory_gb=0.05).batch(1000, 8) == 2**30 // (20 * 8 * 4 * 8 * 1000)
    assert GaussNewton(memory_gb=4.0).batch(1000, 8) == 256  # what fits into a cache
    assert GaussNewton(memory_gb=1e-9).batch(1000, 8) == 1


def step_of(memory_mb, width, count):
    problem = poise.Problem(
        {"x": (0, 1)},
        ["u"],
        {"r": poise.interior(lambda u: u.xx + u), "b": poise.boundary(lambda u: u - 1)},
    )
    samplers = {"r": Sobol(count, fresh=False), "b": Sobol(1, fresh=False)}
    objective = Objective(problem, samplers, jax.random.key(0), np.float64)
    network = poise.networks.MLP(width, 2).build(
        problem.domain, 1, jax.random.key(1), np.dtype("float64")
    )
    optimizer = GaussNewton(memory_gb=memory_mb / 1024)
    return Step(objective, Fixed(), optimizer, Model(network, {}))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("memory_mb", "width", "count", "way"),
    [
        (780, 40, 60_000, Gram),
        (250, 60, 10_000, Krylov),
        (40, 20, 1500, Dense),
        (30, 30, 400, Kernel),
    ],
)
def test_a_compiled_step_stays_below_its_memory(memory_mb, width, count, way):
    """As XLA counts its temporary buffers; J itself is larger where it is not held."""
    step = step_of(memory_mb, width, count)
    chosen = step.optimizer.solver_for(step.rows.size, step.start.size, 8)
    assert type(chosen) is way
    held = 8 * step.rows.size * step.start.size
    assert (way in (Dense, Kernel)) == (held < memory_mb * 2**20)
    program = jax.jit(step).lower(step.init(jax.random.key(0))).compile()
    found = program.memory_analysis().temp_size_in_bytes
    assert held / 100 < found < memory_mb * 2**20


# Steps


def driver(rows, optimizer, gram=False, compiled=True):
    """One compiled step on a function of flat parameters."""

    def step(params, state):
        residual, jacobian = rows(params), jax.jacrev(rows)(params)
        one = {"all": jnp.ones((), params.dtype)}
        view = View(
            {"all": jnp.sum(residual**2)},
            {},
            one,
            None,
            False,
            rows,
            residual,
            None if gram else jacobian,
            lambda: jacobian.T @ jacobian,
        )
        return *optimizer.step(params, state, view), view.loss

    return quick(step) if compiled else step


def losses_of(rows, optimizer, start, steps, until=0.0, **options):
    """Losses before every step and after the last, and the last parameters."""
    step = driver(rows, optimizer, **options)
    params, losses = jnp.asarray(start), []
    state = optimizer.init(params)
    for _ in range(steps):
        before = params
        params, state, info, loss = step(params, state)
        losses.append(float(loss))
        assert bool(info["accepted"]) == bool(np.any(before != params))
        if losses[-1] <= until:
            break
    return [*losses, float(jnp.sum(rows(params) ** 2))], params


def rosenbrock(p):
    return jnp.stack([10 * (p[1] - p[0] ** 2), 1 - p[0]])


def exponentials(p):
    """y = a e^(-b x) + c e^(-d x) through 20 exact values of (2, 1, -1, 4)."""
    x = jnp.linspace(0, 3, 20, dtype=p.dtype)
    wanted = 2 * jnp.exp(-x) - jnp.exp(-4 * x)
    return p[0] * jnp.exp(-p[1] * x) + p[2] * jnp.exp(-p[3] * x) - wanted


VALLEY = [-1.2, 1.0]


@pytest.mark.parametrize("solver", [None, Gram(), Krylov()])
def test_the_valley_of_rosenbrock(solver):
    optimizer = GaussNewton(solver=solver)
    losses, params = losses_of(rosenbrock, optimizer, VALLEY, 30, 1e-20, gram=solver is not None)
    assert losses[-1] < 1e-20 and len(losses) < 22
    assert np.all(np.diff(losses) <= 0)
    np.testing.assert_allclose(params, [1, 1], atol=1e-10)


def test_a_fit_of_exponentials():
    losses, params = losses_of(exponentials, GaussNewton(), [1.0, 0.5, -0.5, 2.0], 40, 1e-20)
    assert losses[-1] < 1e-20 and len(losses) < 25
    assert np.all(np.diff(losses) <= 0)
    np.testing.assert_allclose(params, [2, 1, -1, 4], atol=1e-8)


def test_corrections_follow_the_bend_of_a_valley():
    counts = [
        len(losses_of(rosenbrock, GaussNewton(corrections=n), VALLEY, 60, 1e-20)[0])
        for n in (0, 10)
    ]
    assert counts[1] < counts[0] < 60


def test_a_linear_problem_is_solved_in_one_step():
    """To the damping: with 1e-10 and condition 3 the error of d is of that order."""
    jacobian, random = matrix(30, 6, condition=3.0), np.random.default_rng(1)
    right, start = random.normal(size=30), random.normal(size=6)
    expected = np.linalg.lstsq(jacobian, right, rcond=None)[0]
    optimizer = GaussNewton()
    state = optimizer.init(jnp.asarray(start))._replace(damping=jnp.asarray(1e-10))
    step = driver(lambda p: jacobian @ p - right, optimizer)
    params, after, info, _ = step(jnp.asarray(start), state)
    np.testing.assert_allclose(params, expected, atol=1e-8)
    assert float(info["ratio"]) == pytest.approx(1, rel=1e-6)
    assert info["tried"] == 1 and float(after.damping) == 1e-10


def test_no_step_is_accepted_where_none_lowers_the_loss():
    """At a minimum that is not zero; whatever the model promises is rounding."""
    optimizer = GaussNewton()
    step = driver(lambda p: jnp.stack([p[0] ** 2 + 1, p[1], jnp.ones(())]), optimizer)
    params = jnp.zeros(2)
    after, state, info, _ = step(params, optimizer.init(params))
    np.testing.assert_array_equal(after, params)
    assert not info["accepted"] and state.precise and state.taken == 1
    assert float(state.damping) == pytest.approx(1e-4)


def test_residuals_that_are_no_numbers_leave_the_parameters():
    optimizer = GaussNewton()
    step = driver(lambda p: jnp.log(p), optimizer)
    params = jnp.asarray([-1.0, 2.0])
    after, state, info, _ = step(params, optimizer.init(params))
    np.testing.assert_array_equal(after, params)
    assert not info["accepted"]
    assert all(np.isfinite(leaf).all() for leaf in state)


# What a step hands to the next


def linear_step(state, residual=1.0, **options):
    optimizer = GaussNewton(**options)
    return driver(lambda p: jnp.stack([p[0] - residual, p[1]]), optimizer)(
        jnp.asarray([3.0, -2.0]), state
    )[1:3]


def state_of(damping=1e-4, precise=False, below=0, taken=0):
    return GaussNewtonState(
        jnp.asarray(damping), jnp.asarray(precise), jnp.asarray(below, "int32"),
        jnp.asarray(taken, "int32"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("former", "damping", "below"),
    [
        # A linear problem: the first trial is always good, and the next begins lower by two more.
        ({}, 1e-4, 2),
        ({"below": 2}, 1e-4 / 3**2, 4),
        ({"below": 7}, 1e-4 / 3**7, 8),
        # Every fourth begins at least six factors below.
        ({"below": 2, "taken": 3}, 1e-4 / 3**6, 4),
        ({"below": 8, "taken": 3}, 1e-4 / 3**8, 8),
        # Not below 3e-14 with normal equations, 1e-18 with QR.
        ({"damping": 1e-13, "below": 3}, 150 * 2.0**-52, 5),
        ({"damping": 1e-17, "below": 8, "precise": True}, 5e-3 * 2.0**-52, 8),
    ],
)
def test_the_search_begins_below_the_last_damping(former, damping, below):
    former = state_of(**former)
    state, info = linear_step(former)
    assert float(info["damping"]) == pytest.approx(damping, rel=1e-12)
    assert float(state.damping) == float(info["damping"])
    assert state.below == below and state.taken == former.taken + 1
    # Where the floor is all that holds the damping up, QR takes over, for good.
    assert bool(state.precise) == (bool(former.precise) or damping < 2e-12)


def test_the_search_comes_nearer_after_it_came_back():
    """Bold steps fail for a residual that is NaN beyond a short way: the damping must grow."""
    optimizer = GaussNewton(corrections=0)
    step = driver(lambda p: jnp.where(p > 2.9, p, jnp.nan), optimizer)
    _, state, info, _ = step(jnp.asarray([3.0]), state_of(below=5))
    assert info["accepted"] and info["tried"] > 5
    assert state.below == 4 and float(state.damping) > 1
    # d = -3/(1 + μ) with |d| < 0.1: the smallest on the grid with μ > 29.
    grid = 1e-4 / 3**5 * 3.0 ** np.arange(30)
    assert float(state.damping) == pytest.approx(grid[grid > 29][0], rel=1e-9)


def test_a_failed_search_does_not_reach_farther_next_time():
    step = driver(lambda p: jnp.log(p), GaussNewton())
    _, state, _, _ = step(jnp.asarray([-1.0]), state_of(below=0))
    assert state.below == 1


def test_a_scan_carries_the_state():
    optimizer = GaussNewton()
    step = driver(exponentials, optimizer, compiled=False)
    start = jnp.asarray([1.0, 0.5, -0.5, 2.0])

    def body(carry, _):
        params, state, _, loss = step(*carry)
        return (params, state), loss

    scanned, losses = jax.lax.scan(body, (start, optimizer.init(start)), length=6)
    carry, body = (start, optimizer.init(start)), jax.jit(body)
    for loss in losses:
        carry, expected = body(carry, None)
        assert float(loss) == pytest.approx(float(expected), rel=1e-9)
    for a, b in zip(jax.tree.leaves(scanned), jax.tree.leaves(carry), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert scanned[1].taken == 6


@pytest.mark.parametrize("wide", [True, False])
def test_float32_stays_float32_and_works(wide):
    with jax.enable_x64(wide):
        start = jnp.asarray(VALLEY, "float32")
        losses, params = losses_of(rosenbrock, GaussNewton(), start, 30, 1e-10)
        assert params.dtype == np.float32
    assert losses[-1] <= 1e-10
    assert np.all(np.diff(losses) <= 0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": 0.0}, "target=0.0"),
        ({"target": 1.0}, "target=1.0"),
        ({"factor": 1.0}, "factor=1.0"),
        ({"factor": float("nan")}, "factor=nan"),
        ({"reach": 0}, "reach=0"),
        ({"explore": 0}, "explore=0"),
        ({"explore": True}, "explore=True"),
        ({"corrections": -1}, "corrections=-1"),
        ({"look": 1.0}, "look=1.0"),
        ({"look": -0.1}, "look=-0.1"),
        ({"memory_gb": 0.0}, "memory_gb=0.0"),
        ({"memory_gb": float("inf")}, "memory_gb=inf"),
    ],
)
def test_bad_settings_are_refused_by_name(options, words):
    with pytest.raises(ValueError, match="must") as caught:
        GaussNewton(**options)
    assert words in str(caught.value)


def test_a_training_step_is_the_same_with_and_without_the_jacobian_held():
    """J held and summed from pieces of two points: one step from the same parameters."""
    held = step_of(2000, 5, 20)
    start = held.init(jax.random.key(0))
    pieces = step_of(2000, 5, 20)
    pieces.optimizer = GaussNewton(solver=Gram())
    pieces._whole, pieces._batch = False, 2
    first, second = (quick(step)(start) for step in (held, pieces))
    assert float(first[1].loss) == pytest.approx(float(second[1].loss), rel=1e-12)
    np.testing.assert_allclose(first[0].params, second[0].params, atol=1e-6)
    assert np.any(first[0].params != start.params)
    after = held.objective.losses(held.model(first[0].params), held.points(start))
    assert sum(map(float, after.values())) < float(first[1].loss)
    assert eqx.tree_equal(
        jax.tree.map(jnp.shape, first[0].optimizer), jax.tree.map(jnp.shape, start.optimizer)
    )
