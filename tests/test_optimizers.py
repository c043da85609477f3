"""First-order optimizers: Adam and optax's, against optax and against their own formula."""

import math
from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import poise
from poise.optimizers import Adam, Optax, View, weighted_sum
from poise.training.recipe import Recipe
from poise.training.run import prepare
from poise.weighting import Fixed

OPTIMIZERS = {
    "adam": Adam(),
    "adamw": Optax(optax.adamw(1e-2)),
    "sgd": Optax(optax.sgd(optax.cosine_decay_schedule(1e-2, 50), momentum=0.9)),
    "clipped": Optax(optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2)), flat=False),
}


@pytest.fixture(params=OPTIMIZERS)
def optimizer(request):
    return OPTIMIZERS[request.param]


def parameters(dtype):
    """Arrays of several shapes, and a leaf that is not trained, which is None."""
    random = np.random.default_rng(0)
    return {
        "layers": [
            {
                "weight": jnp.asarray(random.normal(size=(4, 3)), dtype),
                "bias": jnp.zeros(4, dtype),
                "activation": None,
            },
            {"weight": jnp.asarray(random.normal(size=(1, 4)), dtype), "bias": jnp.ones(1, dtype)},
        ],
        "nu": jnp.asarray(0.5, dtype),
    }


def view_of(params, weights=(1.0, 3.0)):
    """Two terms whose gradients depend on the parameters and differ by orders of magnitude."""
    kind = jnp.result_type(params["nu"])
    losses = {"a": jnp.asarray(2.0, kind), "b": jnp.asarray(0.5, kind)}
    gradients = {
        "a": jax.tree.map(lambda p: 1e-3 * jnp.cos(p), params),
        "b": jax.tree.map(lambda p: 10 * (p - 1), params),
    }
    given = dict(zip("ab", (jnp.asarray(w, kind) for w in weights), strict=True))
    return View(losses, gradients, given, weighted_sum(given, gradients))


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def shapes(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


@pytest.mark.parametrize(
    ("dtype", "wide"), [("float32", False), ("float32", True), ("float64", True)]
)
def test_state_is_arrays_and_everything_keeps_its_dtype(optimizer, dtype, wide):
    with jax.enable_x64(wide):
        params = parameters(dtype)
        state = optimizer.init(params)
        assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))

        @jax.jit
        def step(params, state):
            return optimizer.step(params, state, view_of(params))

        after, state_after, info = step(params, state)
        assert shapes(after) == shapes(params)
        assert shapes(state_after) == shapes(state)
        assert all(np.isfinite(figure).all() for figure in info.values())
        assert not any(
            np.array_equal(a, b) for a, b in zip(leaves(after), leaves(params), strict=True)
        )


def test_plain_jit_and_scan_agree_and_nothing_is_retraced(optimizer):
    traces = []

    def step(carry, _=None):
        traces.append(1)
        params, state = carry
        params, state, _ = optimizer.step(params, state, view_of(params))
        return (params, state), None

    start = (parameters("float32"), optimizer.init(parameters("float32")))
    scanned, _ = jax.jit(lambda carry: jax.lax.scan(step, carry, length=3))(start)
    plain = compiled = start
    for _ in range(3):
        plain, _ = step(plain)
    traces.clear()
    jitted = jax.jit(step)
    for _ in range(3):
        compiled, _ = jitted(compiled)
    assert len(traces) == 1
    for a, b, c in zip(leaves(plain), leaves(scanned), leaves(compiled), strict=True):
        np.testing.assert_allclose(b, a, rtol=2e-5, atol=1e-6)
        np.testing.assert_allclose(c, a, rtol=2e-5, atol=1e-6)


@cache
def poisson():
    return poise.Problem(
        {"x": (0, 1)},
        ["u"],
        {
            "residual": poise.interior(lambda u, x, k: u.xx + k * jnp.sin(3 * x)),
            # Not u = 0: the untrained network is odd, and Adam would amplify a zero gradient.
            "boundary": poise.boundary(lambda u: u - 1),
        },
        coefficients={"k": 2.0},
    )


def trained(optimizer, steps=20):
    """Model and, by optax alone and on the tree as it is, the same model."""
    recipe = Recipe(
        network=poise.networks.MLP(5, 2),
        points=8,
        weighting=Fixed({"boundary": 7.0}),
        optimizer=optimizer,
        dtype="float64",
    )
    loop = prepare(poisson(), recipe, 3)
    step, state = loop.step, loop.state
    rule = optimizer.rule
    params = eqx.filter(step.model(state.params), eqx.is_inexact_array)
    theirs = rule.init(params)

    @jax.jit
    def both(state, params, theirs):
        points = step.objective.sample(jax.random.fold_in(state.key, state.step))

        def total(params):
            losses = step.objective.losses(eqx.combine(params, step.static), points)
            return losses["residual"] + 7.0 * losses["boundary"]

        updates, theirs = rule.update(jax.grad(total)(params), theirs, params)
        return step(state)[0], optax.apply_updates(params, updates), theirs

    for _ in range(steps):
        state, params, theirs = both(state, params, theirs)
    return leaves(eqx.filter(step.model(state.params), eqx.is_inexact_array)), leaves(params)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "optimizer",
    [Adam(0.1, 0.5, 4), Optax(optax.lamb(1e-2), flat=False)],
    ids=["adam", "lamb-unflattened"],
)
def test_training_steps_are_those_of_optax_on_the_tree(optimizer):
    """20 steps to float64 rounding, whether the parameters are one vector or a tree."""
    ours, expected = trained(optimizer)
    assert len(ours) == 7  # three layers and a coefficient
    for a, b in zip(ours, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("flat", [True, False])
def test_flat_decides_what_a_rule_sees(flat):
    optimizer = Optax(optax.sgd(1e-2, momentum=0.9), flat=flat)
    recipe = Recipe(network=poise.networks.MLP(5, 2), points=8, optimizer=optimizer)
    memory = prepare(poisson(), recipe, 3).state.optimizer
    found = sorted(leaf.shape for leaf in jax.tree.leaves(memory))
    each = [(), (1,), (1, 5), (5,), (5,), (5, 1), (5, 5)]  # 1-5-5-1, and a coefficient
    assert found == ([(47,)] if flat else each)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("optimizer", "rate", "factor", "per"),
    [(Adam(), 1e-3, 0.9, 1000), (Adam(0.02, 0.5, 4), 0.02, 0.5, 4)],
)
def test_learning_rate_falls_continuously(optimizer, rate, factor, per):
    """Under a constant gradient g every update is -rate·factor^(n/per)·|g|/(|g| + 1e-8)."""
    params = {"w": jnp.zeros((2, 1))}
    gradient = {"w": jnp.asarray([[2.0], [-0.5]])}
    one = {"a": jnp.asarray(1.0)}
    view = View(one, {"a": gradient}, one, gradient)
    state = optimizer.init(params)
    step = jax.jit(optimizer.step)
    for n in range(12):
        after, state, _ = step(params, state, view)
        for entry, sign, size in ((0, -1, 2.0), (1, 1, 0.5)):
            change = float(after["w"][entry, 0] - params["w"][entry, 0])
            expected = sign * rate * factor ** (n / per) * size / (size + 1e-8)
            assert change == pytest.approx(expected, rel=1e-6)
        params = after


@pytest.mark.usefixtures("x64")
def test_losses_and_gradients_add_up_with_the_weights():
    losses = {"a": jnp.asarray(2.0), "b": jnp.asarray(5.0), "c": jnp.asarray(7.0)}
    gradients = {
        "a": {"w": jnp.asarray([1.0, -2.0]), "fixed": None, "nu": jnp.asarray(3.0)},
        "b": {"w": jnp.asarray([10.0, 20.0]), "fixed": None, "nu": jnp.asarray(-1.0)},
        "c": {"w": jnp.asarray([0.5, 0.5]), "fixed": None, "nu": jnp.asarray(2.0)},
    }
    # In another order, as a dictionary that has been through JAX.
    weights = {"c": jnp.asarray(4.0), "b": jnp.asarray(100.0), "a": jnp.asarray(1.0)}
    total = weighted_sum(weights, gradients)
    assert float(View(losses, gradients, weights, total).loss) == 1 * 2 + 100 * 5 + 4 * 7
    # 1·1 + 100·10 + 4·0.5 = 1003; 1·(-2) + 100·20 + 4·0.5 = 2000; 3 - 100 + 8 = -89.
    assert np.asarray(total["w"]).tolist() == [1003.0, 2000.0]
    assert float(total["nu"]) == -89.0
    assert total["fixed"] is None


def test_steps_follow_the_weights():
    """Plain gradient descent: the update is -rate·Σ λₖ∇Lₖ."""
    params = parameters("float32")
    optimizer = Optax(optax.sgd(0.1))
    for weights in ((1.0, 3.0), (0.0, 1.0)):
        after, _, _ = optimizer.step(params, optimizer.init(params), view_of(params, weights))
        nu = 0.5 - 0.1 * (weights[0] * 1e-3 * math.cos(0.5) + weights[1] * 10 * (0.5 - 1))
        assert float(after["nu"]) == pytest.approx(nu, rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"learning_rate": -1e-3}, "learning_rate=-0.001"),
        ({"learning_rate": math.nan}, "learning_rate=nan"),
        ({"decay_rate": math.inf}, "decay_rate=inf"),
        ({"decay_steps": 0}, "decay_steps=0"),
    ],
)
def test_bad_settings_are_refused_by_name(settings, words):
    with pytest.raises(ValueError, match=f"Adam\\({words}\\)"):
        Adam(**settings)
