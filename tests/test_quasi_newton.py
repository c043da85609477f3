"""SSBFGS, SSBroyden and L-BFGS against their formulas in NumPy, and the laws of their class."""

import math
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poise.optimizers import LBFGS, SSBFGS, SSBroyden, View
from poise.optimizers.broyden import BroydenState, broyden

RULES = {"ssbfgs": SSBFGS(), "ssbroyden": SSBroyden()}
EVERY = {**RULES, "lbfgs": LBFGS()}

pytestmark = pytest.mark.usefixtures("x64")


def definite(random, n, spread=2.0):
    """A random symmetric positive definite matrix, eigenvalues from e^-spread to e^spread."""
    q, _ = np.linalg.qr(random.normal(size=(n, n)))
    return q @ np.diag(np.exp(random.uniform(-spread, spread, n))) @ q.T


def pair(random, n):
    """s, and y = A s of a random positive definite A, so that yᵀs > 0."""
    s = random.normal(size=n)
    return s, definite(random, n) @ s


def published(rule, b, h, n):
    """φ and τ by the formulas of Urbán, Stefanou & Pons (2025), eqs. (11), (13)-(23)."""
    if rule == "ssbfgs":
        return 1.0, min(1.0, 1.0 / b)
    a = b * h - 1
    c = math.sqrt(a / (a + 1))
    rho_minus = min(1.0, h * (1 - c))
    theta = max((rho_minus - 1) / a, min(1 / rho_minus, (1 - b) / b))
    sigma, rho = 1 + a * theta, min(1.0, 1 / b)
    if theta > 0:
        tau = rho * min(sigma ** (-1 / (n - 1)), 1 / theta)
    else:
        tau = min(rho * sigma ** (-1 / (n - 1)), sigma)
    return (1 - theta) / sigma, tau


def published_update(rule, inverse, s, y, curvature):
    """H' in NumPy, the class written as DFP plus φ w wᵀ (Nocedal & Wright, 2006, ch. 6.3)."""
    hy = inverse @ y
    phi, tau = published(rule, curvature / (y @ s), y @ hy / (y @ s), s.size)
    w = s / (y @ s) - hy / (y @ hy)
    middle = inverse - np.outer(hy, hy) / (y @ hy) + phi * (y @ hy) * np.outer(w, w)
    return middle / tau + np.outer(s, s) / (y @ s)


@jax.jit
def both_updates(inverse, s, y, curvature):
    return {name: rule.update(inverse, s, y, curvature) for name, rule in RULES.items()}


@pytest.mark.parametrize(
    ("b", "h", "theta", "tau"),
    [
        # a = 3, c = √¾: ρ⁻ = 2 - √3, θ = θ⁻ = (1 - √3)/3, σ = ρ⁻ and τ = σ.
        (2.0, 2.0, (1 - math.sqrt(3)) / 3, 2 - math.sqrt(3)),
        # a = 1, c = √½: ρ⁻ = 1, θ = (1 - b)/b = 1, σ = 2 and τ = 2^(-1/2): DFP, scaled.
        (0.5, 4.0, 1.0, math.sqrt(0.5)),
        # a = 3, c = √¾, h(1 - c) > 1: ρ⁻ = 1, θ = 0, σ = 1 and τ = 1/b: SSBFGS.
        (0.5, 8.0, 1.0, 0.5),
    ],
)
def test_factors_worked_out_by_hand(b, h, theta, tau):
    """In three dimensions, σ^(-1/(n - 1)) = σ^(-1/2)."""
    phi, scale = SSBroyden().factors(jnp.asarray(b), jnp.asarray(h), 3)
    assert float(phi) == pytest.approx((1 - theta) / (1 + (b * h - 1) * theta), rel=1e-13)
    assert float(scale) == pytest.approx(tau, rel=1e-13)


@settings(max_examples=200, deadline=None)
@given(st.floats(1e-6, 1e6), st.floats(0, 1e6), st.integers(1, 1000))
def test_factors_keep_every_update_positive_definite(b, excess, n):
    """0 < τ ≤ 1 and 1 + aφ > 0 for any bh ≥ 1, both sides of Cauchy and Schwarz included."""
    h = (1 + excess) / b
    with jax.enable_x64(True):
        for rule in RULES.values():
            phi, tau = map(float, rule.factors(jnp.asarray(b), jnp.asarray(h), n))
            assert math.isfinite(phi)
            assert 0 < tau <= 1
            assert 1 + max(b * h - 1, 0) * phi > 0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_update_is_the_published_one_and_keeps_the_laws(seed):
    """H'y = s; H' symmetric and positive definite; H' as NumPy has it. Six dimensions."""
    random = np.random.default_rng(seed)
    inverse, (s, y) = definite(random, 6), pair(random, 6)
    curvature = s @ np.linalg.solve(inverse, s)
    with jax.enable_x64(True):
        updates = both_updates(*map(jnp.asarray, (inverse, s, y, curvature)))
    for name, (after, trusted) in updates.items():
        after = np.asarray(after)
        size = np.linalg.norm(after)
        assert trusted
        np.testing.assert_allclose(after @ y, s, atol=1e-12 * size * np.linalg.norm(y))
        np.testing.assert_allclose(after, after.T, atol=1e-14 * size)
        assert np.linalg.eigvalsh((after + after.T) / 2)[0] > 0
        expected = published_update(name, inverse, s, y, curvature)
        np.testing.assert_allclose(after, expected, atol=1e-10 * size)


def test_limits_of_the_class_are_bfgs_and_dfp():
    random = np.random.default_rng(3)
    for _ in range(5):
        inverse, (s, y) = definite(random, 7), pair(random, 7)
        rho, one = 1 / (y @ s), np.eye(7)
        bfgs = (one - rho * np.outer(s, y)) @ inverse @ (one - rho * np.outer(y, s))
        bfgs += rho * np.outer(s, s)
        hy = inverse @ y
        dfp = inverse - np.outer(hy, hy) / (y @ hy) + rho * np.outer(s, s)
        given = tuple(map(jnp.asarray, (inverse, s, y)))
        np.testing.assert_allclose(broyden(*given, 1.0, 1.0), bfgs, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(broyden(*given, 0.0, 1.0), dfp, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", RULES)
def test_quadratic_is_solved_in_as_many_exact_steps_as_dimensions(name):
    random = np.random.default_rng(5)
    n, rule = 6, RULES[name]
    matrix, x = definite(random, n), jnp.asarray(random.normal(size=n))
    inverse, g = jnp.eye(n), matrix @ x
    first = float(jnp.linalg.norm(g))
    for k in range(n):
        assert float(jnp.linalg.norm(g)) > 1e-6 * first, f"done already after {k} steps"
        direction = -inverse @ g
        s = -(g @ direction) / (direction @ matrix @ direction) * direction
        y = matrix @ s
        inverse, trusted = rule.update(inverse, s, y, -(s @ g) * (s @ s) / (s @ direction))
        # sᵀBs = -α sᵀg with α = ‖s‖²/(sᵀd) for s = α d.
        assert trusted
        x, g = x + s, g + y
    assert float(jnp.linalg.norm(g)) < 1e-9 * first


def view_of(function, params, sign=1.0, changed=False):
    """A view of a sum of squares; sign -1 lies about its gradient."""
    loss, gradient = jax.value_and_grad(lambda p: jnp.sum(function(p) ** 2))(params)
    one = {"all": jnp.ones((), params.dtype)}
    gradient = sign * gradient
    return View({"all": loss}, {"all": gradient}, one, gradient, changed, function)


def valley(p):
    """Rosenbrock's function in four dimensions, as rows."""
    return jnp.concatenate([10 * (p[1:] - p[:-1] ** 2), 1 - p[:-1]])


@cache
def program(optimizer, function):
    return jax.jit(lambda p, s, sign: optimizer.step(p, s, view_of(function, p, sign)))


def stepper(optimizer, function=valley):
    return lambda p, s, sign=1.0: program(optimizer, function)(p, s, sign)


@pytest.mark.parametrize("name", RULES)
def test_memory_of_a_run_is_what_numpy_makes_of_its_steps(name):
    """H after each of 12 steps, from the recorded parameters, gradients and step sizes."""
    optimizer = RULES[name]
    params = jnp.asarray([-1.2, 1.0, -0.5, 0.8])
    state, step = optimizer.init(params), stepper(optimizer)
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(valley(p) ** 2)))
    g = np.asarray(gradient(params))
    inverse = np.eye(4) * min(1.0, 1 / np.linalg.norm(g))
    for _ in range(12):
        after, state, info = step(params, state)
        assert info["accepted"]
        s, size = np.asarray(after - params), float(info["step_size"])
        np.testing.assert_allclose(s, -size * inverse @ g, rtol=1e-6)
        g_after = np.asarray(gradient(after))
        inverse = published_update(name, inverse, s, g_after - g, -size * s @ g)
        np.testing.assert_allclose(
            state.inverse, inverse, rtol=1e-6, atol=1e-8 * np.abs(inverse).max()
        )
        assert not state.fresh
        params, g = after, g_after


def test_lbfgs_is_that_of_optax():
    """15 steps as optax's own loop takes them, to rounding, with a memory that overflows."""
    ours, theirs = LBFGS(memory=3, max_linesearch_steps=20), optax.lbfgs(memory_size=3)
    params = other = jnp.asarray([-1.2, 1.0, -0.5, 0.8])
    state, their_state, step = ours.init(params), theirs.init(other), stepper(ours)

    @jax.jit
    def their_step(p, state):
        def function(p):
            return jnp.sum(valley(p) ** 2)

        value, grad = jax.value_and_grad(function)(p)
        updates, state = theirs.update(grad, state, p, value=value, grad=grad, value_fn=function)
        return optax.apply_updates(p, updates), state

    for _ in range(15):
        params, state, info = step(params, state)
        other, their_state = their_step(other, their_state)
        assert info["accepted"]
        np.testing.assert_allclose(params, other, rtol=1e-7)


@pytest.mark.parametrize("name", EVERY)
def test_accepted_steps_fulfil_both_wolfe_conditions(name):
    """c₁ = 1e-4 and c₂ = 0.9, at ten random starts in the valley, five steps each."""
    optimizer = EVERY[name]
    step = stepper(optimizer)
    slope = jax.jit(jax.value_and_grad(lambda p: jnp.sum(valley(p) ** 2)))
    for start in np.random.default_rng(7).uniform(-2, 2, size=(10, 4)):
        params = jnp.asarray(start)
        state = optimizer.init(params)
        for _ in range(5):
            after, state, info = step(params, state)
            (f, g), (f_after, g_after), s = slope(params), slope(after), after - params
            assert info["accepted"]
            assert float(f_after) <= float(f + 1e-4 * s @ g)
            assert abs(float(s @ g_after)) <= 0.9 * abs(float(s @ g))
            params = after


@pytest.mark.parametrize("name", EVERY)
def test_a_step_that_would_raise_the_loss_is_not_taken_and_clears_the_memory(name):
    """The gradient's sign is wrong, so that every trial is higher."""
    optimizer = EVERY[name]
    params = jnp.asarray([-1.2, 1.0, -0.5, 0.8])
    state, step = optimizer.init(params), stepper(optimizer)
    for _ in range(4):
        params, state, _ = step(params, state)
    after, state, info = step(params, state, -1.0)
    assert not info["accepted"] and info["step_size"] == 0
    assert np.array_equal(after, params)
    resumed, _, info = step(params, state)
    anew, _, _ = step(params, optimizer.init(params))
    assert info["accepted"]
    assert np.array_equal(resumed, anew)


@pytest.mark.parametrize("name", RULES)
def test_memory_that_does_not_point_downhill_is_not_used(name):
    optimizer = RULES[name]
    params = jnp.asarray([-1.2, 1.0, -0.5, 0.8])
    step = stepper(optimizer)
    broken = BroydenState(-jnp.eye(4), jnp.array(False))
    anew, _, _ = step(params, optimizer.init(params))
    after, state, info = step(params, broken)
    assert info["accepted"]
    assert np.array_equal(after, anew)
    assert np.linalg.eigvalsh(state.inverse)[0] > 0


@pytest.mark.parametrize("name", RULES)
def test_no_update_from_a_step_without_curvature(name):
    """yᵀs ≤ 0, and y = 0, where the formula divides by 0."""
    rule = RULES[name]
    s = jnp.asarray([1.0, 2.0])
    for y in (-s, 0 * s):
        assert not rule.update(jnp.eye(2), s, y, s @ s)[1]
    assert rule.update(jnp.eye(2), s, s, s @ s)[1]


@pytest.mark.parametrize("name", EVERY)
def test_one_dimension(name):
    """Where s and Hy are parallel and 1/(n - 1) has no meaning: x³ = 8."""
    optimizer = EVERY[name]
    params = jnp.asarray([5.0])
    state, step = optimizer.init(params), stepper(optimizer, lambda p: p**3 - 8)
    for _ in range(12):
        params, state, _ = step(params, state)
    assert float(params[0]) == pytest.approx(2, abs=1e-10)


@pytest.mark.parametrize("name", EVERY)
def test_at_a_minimum_nothing_moves_and_nothing_breaks(name):
    optimizer = EVERY[name]
    params = jnp.ones(4)
    after, state, info = stepper(optimizer)(params, optimizer.init(params))
    assert not info["accepted"]
    assert np.array_equal(after, params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


@pytest.mark.parametrize("value", [0, -1, True])
def test_settings_out_of_range_are_refused(value):
    for kind in (SSBFGS, SSBroyden, LBFGS):
        with pytest.raises(ValueError, match=rf"{kind.__name__}\(max_linesearch_steps={value}\)"):
            kind(max_linesearch_steps=value)
    with pytest.raises(ValueError, match=rf"LBFGS\(memory={value}\): must be a whole number"):
        LBFGS(memory=value)
