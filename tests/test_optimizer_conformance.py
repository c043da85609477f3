"""What holds of every optimizer: one least-squares problem, one list, the same tests for all."""

import json
from functools import cache
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from poise import optimizers
from poise.optimizers import (
    LBFGS,
    SOAP,
    SSBFGS,
    Adam,
    GaussNewton,
    Optax,
    SSBroyden,
    View,
    weighted_sum,
)
from poise.training.recipe import describe, rebuild

OPTIMIZERS = {
    "adam": Adam(0.01),
    "optax": Optax(optax.adam(1e-3)),
    "soap": SOAP(0.01),
    "lbfgs": LBFGS(memory=8),
    "ssbfgs": SSBFGS(),
    "ssbroyden": SSBroyden(),
    "gauss-newton": GaussNewton(),
}
SEARCHING = [name for name, each in OPTIMIZERS.items() if each.needs]
QUASI_NEWTON = ["lbfgs", "ssbfgs", "ssbroyden"]
"""Those with a memory of the loss's shape, which a change of points or weights empties."""

SETTINGS = [("float32", False), ("float32", True), ("float64", True)]
WEIGHTS = {"data": 1.0, "ends": 3.0}


@pytest.fixture(params=OPTIMIZERS)
def name(request):
    return request.param


def parameters(dtype):
    """Of y = cᵀ tanh(W (x, 1) + b): two matrices and a bias."""
    random = np.random.default_rng(1)
    return {
        "bias": jnp.asarray(random.normal(size=4), dtype),
        "inner": jnp.asarray(random.normal(size=(4, 2)), dtype),
        "outer": jnp.asarray(random.normal(size=(1, 4)), dtype),
    }


def targets(dtype):
    return jnp.sin(3 * jnp.linspace(-1, 1, 16, dtype=dtype))


def start(optimizer, dtype):
    """Parameters in the layout that the optimizer wants."""
    params = parameters(dtype)
    return ravel_pytree(params)[0] if optimizer.flat else params


def view_of(optimizer, params, wanted, changed=False, reach=np.inf):
    """All that a view can have, for fitting `wanted`: one term inside, one for the two ends.

    The rows are NaN farther than `reach` from the first parameters.
    """
    centre, unravel = ravel_pytree(parameters(wanted.dtype))

    def residuals(params):
        p = unravel(params) if optimizer.flat else params
        x = jnp.linspace(-1, 1, wanted.size, dtype=wanted.dtype)
        hidden = p["inner"] @ jnp.stack([x, jnp.ones_like(x)]) + p["bias"][:, None]
        error = (p["outer"] @ jnp.tanh(hidden))[0] - wanted
        return {"data": error[1:-1], "ends": error[jnp.array([0, -1])]}

    def rows(params):
        found = residuals(params)
        away = jnp.linalg.norm(ravel_pytree(params)[0] - centre)
        return jnp.where(
            away <= reach,
            jnp.concatenate([found[n] * (WEIGHTS[n] / found[n].size) ** 0.5 for n in WEIGHTS]),
            jnp.nan,
        )

    losses, gradients = {}, {}
    for n in WEIGHTS:
        losses[n], gradients[n] = jax.value_and_grad(lambda p, n=n: jnp.mean(residuals(p)[n] ** 2))(
            params
        )
    weights = {n: jnp.asarray(w, wanted.dtype) for n, w in WEIGHTS.items()}
    flat, layout = ravel_pytree(params)
    jacobian = jax.jacrev(lambda v: rows(layout(v)))(flat)
    return View(
        losses,
        gradients,
        weights,
        weighted_sum(weights, gradients),
        changed,
        rows,
        rows(params),
        jacobian,
        lambda: jacobian.T @ jacobian,
    )


@cache
def program(name):
    """n steps for n known only when it runs: one program for all tests in float64."""
    optimizer = OPTIMIZERS[name]
    traces = []

    def step(params, state, wanted, changed, reach):
        view = view_of(optimizer, params, wanted, changed, reach)
        params, state, info = optimizer.step(params, state, view)
        return params, state, view.loss, info

    @jax.jit
    def run(params, state, wanted, changed, reach, steps):
        traces.append(1)
        shape = jax.eval_shape(step, params, state, wanted, changed, reach)
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shape[2:])
        return jax.lax.fori_loop(
            0,
            steps,
            lambda n, carry: step(carry[0], carry[1], wanted, changed & (n == 0), reach),
            (params, state, *nothing),
        )

    return run, traces


def advance(name, params, state, wanted, changed=False, reach=np.inf, steps=1):
    """Parameters, state, loss before the last step, its info."""
    wanted, steps = jnp.asarray(wanted), jnp.asarray(steps, "int32")
    reach = jnp.asarray(reach, wanted.dtype)
    return program(name)[0](params, state, wanted, jnp.asarray(changed), reach, steps)


def shapes(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), tree)


def assert_same(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_every_public_optimizer_is_tested_here():
    public = {getattr(optimizers, each) for each in optimizers.__all__}
    concrete = {
        kind
        for kind in public
        if isinstance(kind, type)
        and issubclass(kind, optimizers.Optimizer)
        and not getattr(kind, "__abstractmethods__", None)
    }
    assert concrete == {type(each) for each in OPTIMIZERS.values()}


def test_settings_are_written_and_read_back(name):
    """A run folder can say which optimizer it used; what was made by hand in optax it cannot."""
    optimizer = OPTIMIZERS[name]
    written = json.loads(json.dumps(describe(optimizer)))
    if name == "optax":
        with pytest.raises(ValueError, match="made in Python"):
            rebuild(written)
    else:
        assert rebuild(written) == optimizer


@pytest.mark.parametrize(("dtype", "wide"), SETTINGS)
def test_state_is_arrays_and_a_step_keeps_structure_and_dtypes(name, dtype, wide):
    """Seen by tracing alone; a scan refuses a step that changes its carry."""
    with jax.enable_x64(wide):
        optimizer = OPTIMIZERS[name]
        params, wanted = start(optimizer, dtype), targets(dtype)
        state = optimizer.init(params)
        assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))

        def step(carry, _):
            params, state, info = optimizer.step(*carry, view_of(optimizer, carry[0], wanted))
            return (params, state), info

        carry = (params, state)
        (after, info) = jax.eval_shape(lambda c: jax.lax.scan(step, c, length=3), carry)
        assert shapes(jax.eval_shape(step, carry, None)[0]) == shapes(carry)
        assert shapes(after) == shapes(carry)
        assert all(figure.shape == (3,) for figure in info.values())
        floats = [leaf for leaf in jax.tree.leaves(state) if leaf.dtype.kind == "f"]
        assert all(leaf.dtype == dtype for leaf in floats)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["adam", "soap"])  # parameters as a vector, as a tree
def test_the_view_is_what_it_says(name):
    """The tests' own view: ‖r‖² is the loss, its gradient is 2 Jᵀr, and Σ λₖ ∇Lₖ."""
    optimizer = OPTIMIZERS[name]
    params = start(optimizer, "float64")
    view = view_of(optimizer, params, targets("float64"))
    assert float(view.value(params)) == pytest.approx(float(view.loss), rel=1e-14)
    flat = ravel_pytree(view.gradient)[0]
    np.testing.assert_allclose(2 * view.jacobian.T @ view.rows(params), flat, rtol=1e-11)
    np.testing.assert_array_equal(view.residual, view.rows(params))
    np.testing.assert_allclose(view.gram(), view.jacobian.T @ view.jacobian, rtol=1e-13)


@pytest.mark.usefixtures("x64")
def test_nothing_is_retraced_and_the_second_call_is_the_first(name):
    optimizer = OPTIMIZERS[name]
    params, wanted = start(optimizer, "float64"), targets("float64")
    first = advance(name, params, optimizer.init(params), wanted)
    traces = program(name)[1]
    traces.clear()
    assert_same(advance(name, params, optimizer.init(params), wanted), first)
    params, state, _, info = advance(name, first[0], first[1], wanted)
    advance(name, params, state, wanted, changed=True)
    assert not traces
    assert all(np.isfinite(figure) for figure in info.values())


@pytest.mark.usefixtures("x64")
def test_a_resumed_run_is_the_run_itself(name):
    """4 + 4 steps are 8 steps bit for bit, with state and parameters stored as NumPy arrays."""
    optimizer = OPTIMIZERS[name]
    params, wanted = start(optimizer, "float64"), targets("float64")
    state = optimizer.init(params)
    whole = advance(name, params, state, wanted, steps=8)
    half = advance(name, params, state, wanted, steps=4)[:2]
    structure = jax.tree.structure(half)
    stored = [np.asarray(leaf) for leaf in jax.tree.leaves(half)]
    read = jax.tree.unflatten(structure, [jnp.asarray(leaf) for leaf in stored])
    assert_same(advance(name, *read, wanted, steps=4), whole)
    assert_same(params, start(optimizer, "float64"))
    assert_same(state, optimizer.init(params))


@pytest.mark.usefixtures("x64")
def test_it_lowers_the_loss(name):
    optimizer = OPTIMIZERS[name]
    params, wanted = start(optimizer, "float64"), targets("float64")
    state, losses = optimizer.init(params), []
    for _ in range(60):
        before = params
        params, state, loss, info = advance(name, params, state, wanted)
        losses.append(float(loss))
        if optimizer.needs and not info["accepted"]:
            assert_same(params, before)
    assert losses[-1] < (0.9 if name == "optax" else 0.1) * losses[0]
    if optimizer.needs:  # these look before they step
        assert all(b <= a * (1 + 1e-14) for a, b in pairwise(losses))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", SEARCHING)
def test_numbers_that_are_not_finite_go_nowhere(name, bad):
    optimizer = OPTIMIZERS[name]
    params, wanted = start(optimizer, "float64"), targets("float64")
    params, state, *_ = advance(name, params, optimizer.init(params), wanted, steps=5)
    after, kept, _, info = advance(name, params, state, wanted.at[3].set(bad))
    assert_same(after, params)
    assert not info["accepted"]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(kept))
    healthy, _, loss, info = advance(name, after, kept, wanted)
    assert info["accepted"]
    assert float(view_of(optimizer, healthy, wanted).loss) < float(loss)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", QUASI_NEWTON)
def test_an_unusable_gradient_leaves_the_memory_as_it_was(name):
    optimizer = OPTIMIZERS[name]
    params, wanted = start(optimizer, "float64"), targets("float64")
    params, state, *_ = advance(name, params, optimizer.init(params), wanted, steps=5)
    _, kept, *_ = advance(name, params, state, wanted.at[0].set(np.nan))
    assert_same(kept, state)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", SEARCHING)
def test_a_loss_that_is_not_finite_a_step_away_is_no_trap(name):
    """Rows that are NaN outside a small ball around the start: steps stay inside and help."""
    optimizer = OPTIMIZERS[name]
    params, wanted = start(optimizer, "float64"), targets("float64")
    first, state, losses = ravel_pytree(params)[0], optimizer.init(params), []
    for _ in range(4):
        params, state, loss, _ = advance(name, params, state, wanted, reach=0.05)
        losses.append(float(loss))
        assert float(jnp.linalg.norm(ravel_pytree(params)[0] - first)) <= 0.05
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))
    assert losses[-1] < losses[0]


# What Gauss-Newton remembers is of the loss's size, not of its shape.
REMEMBERING = [n for n, rule in OPTIMIZERS.items() if not rule.needs or n in QUASI_NEWTON]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", REMEMBERING)
def test_a_change_of_points_or_weights_empties_the_memory_of_the_loss(name):
    """The step is then that of a fresh state. Averages of gradients are kept, on the contrary."""
    optimizer = OPTIMIZERS[name]
    params, wanted = start(optimizer, "float64"), targets("float64")
    params, state, *_ = advance(name, params, optimizer.init(params), wanted, steps=6)
    fresh = advance(name, params, optimizer.init(params), wanted)[0]
    going = advance(name, params, state, wanted)[0]
    changed = advance(name, params, state, wanted, changed=True)[0]
    assert not np.array_equal(ravel_pytree(fresh)[0], ravel_pytree(going)[0])
    assert_same(changed, fresh if name in QUASI_NEWTON else going)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", QUASI_NEWTON)
def test_the_valley_of_rosenbrock(name):
    """r = (10 (y - x²), 1 - x) from (-1.2, 1), to a loss of 1e-20 at (1, 1)."""
    optimizer = OPTIMIZERS[name]

    def rows(p):
        return jnp.stack([10 * (p[1] - p[0] ** 2), 1 - p[0]])

    def step(carry, _):
        params, state = carry
        loss, gradient = jax.value_and_grad(lambda p: jnp.sum(rows(p) ** 2))(params)
        one = {"all": jnp.ones(())}
        view = View({"all": loss}, {"all": gradient}, one, gradient, False, rows)
        params, state, info = optimizer.step(params, state, view)
        return (params, state), (loss, info["accepted"])

    params = jnp.asarray([-1.2, 1.0])
    carry = (params, optimizer.init(params))
    (params, _), (losses, accepted) = jax.jit(lambda carry: jax.lax.scan(step, carry, length=60))(
        carry
    )
    np.testing.assert_allclose(params, [1.0, 1.0], atol=1e-10)
    assert losses[-1] < 1e-20
    assert np.all(np.diff(losses) <= 0)
    # At the minimum nothing is accepted any more, and nothing moves.
    assert not accepted[-1]
