"""Rules that set a direction: against NumPy, the laws they promise, and inside a training step."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

import poise
from poise import weighting
from poise.optimizers import SOAP, Adam, GaussNewton, Optax, SSBroyden
from poise.training.recipe import Recipe
from poise.training.run import prepare
from poise.weighting import ConFIG, PCGrad, Signals

pytestmark = pytest.mark.usefixtures("x64")

RULES = [ConFIG(), PCGrad()]


def test_every_public_direction_is_tested_here():
    public = {
        kind
        for kind in vars(weighting).values()
        if isinstance(kind, type) and issubclass(kind, weighting.Direction)
    }
    assert public - {weighting.Direction} == {type(rule) for rule in RULES}


def combined(rule, rows):
    _, memory = rule.init([f"term {i}" for i in range(len(rows))])
    found, _ = jax.jit(rule.combine)(jnp.asarray(rows), memory)
    return np.asarray(found)


def drawn(seed, terms, parameters):
    random = np.random.default_rng(seed)
    rows = random.normal(size=(terms, parameters))
    return rows * 10.0 ** random.uniform(-4, 4, (terms, 1))


def test_pcgrad_by_hand():
    # g₁ · g₂ = -1: from g₁ goes -½ g₂, from g₂ goes -g₁.
    found = combined(PCGrad(), [[1.0, 0.0], [-1.0, 1.0]])
    np.testing.assert_allclose(found, [0.5 + 0.0, 0.5 + 1.0], atol=1e-15)


def test_pcgrad_leaves_gradients_that_agree():
    rows = np.abs(drawn(0, 3, 5))
    np.testing.assert_allclose(combined(PCGrad(), rows), rows.sum(axis=0), rtol=1e-14)


@given(seed=st.integers(0, 99), terms=st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_pcgrad_is_algorithm_1(seed, terms):
    """In vectors, one projection after the other, in the orders that the rule draws."""
    with jax.enable_x64(True):
        rows = drawn(seed, terms, 6)
        rule = PCGrad(seed)
        _, own = jax.random.split(rule.remember())
        keys = jax.random.split(own, terms)
        expected = np.zeros(6)
        for i in range(terms):
            vector = rows[i].copy()
            for j in np.asarray(jax.random.permutation(keys[i], terms)):
                if j != i and vector @ rows[j] < 0:
                    vector -= vector @ rows[j] / (rows[j] @ rows[j]) * rows[j]
            expected += vector
        scale = np.abs(rows).max()
        np.testing.assert_allclose(combined(rule, rows), expected, atol=1e-12 * scale)


def test_pcgrad_draws_another_order_each_time():
    rows = jnp.asarray(np.random.default_rng(5).normal(size=(5, 3)))  # many conflicts
    rule = PCGrad()
    _, memory = rule.init("abcde")
    found = []
    for _ in range(8):
        direction, memory = rule.combine(rows, memory)
        found.append(tuple(np.round(np.asarray(direction), 9)))
    assert len(set(found)) > 1


def test_config_by_hand():
    # Unit vectors (1, 0) and (0, 1): d = (1, 1)/√2, and g = ((3 + 4)/√2) d.
    np.testing.assert_allclose(combined(ConFIG(), [[3.0, 0.0], [0.0, 4.0]]), [3.5, 3.5], rtol=1e-14)


@given(seed=st.integers(0, 99), terms=st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_config_is_the_pseudoinverse(seed, terms):
    with jax.enable_x64(True):
        rows = drawn(seed, terms, 9)
        units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        direction = np.linalg.pinv(units) @ np.ones(terms)
        direction /= np.linalg.norm(direction)
        found = combined(ConFIG(), rows)
        np.testing.assert_allclose(found, (rows @ direction).sum() * direction, rtol=1e-8)
        # The law: the same angle, below 90 degrees, with every gradient.
        cosines = units @ found / np.linalg.norm(found)
        np.testing.assert_allclose(cosines, cosines[0], rtol=1e-8)
        assert cosines[0] > 0


@given(seed=st.integers(0, 99), factor=st.floats(1e-6, 1e6))
@settings(max_examples=20, deadline=None)
def test_the_angle_of_config_does_not_depend_on_a_terms_scale(seed, factor):
    with jax.enable_x64(True):
        rows = drawn(seed, 3, 9)
        one = combined(ConFIG(), rows)
        rows[1] *= factor
        other = combined(ConFIG(), rows)
        unit, other_unit = (vector / np.linalg.norm(vector) for vector in (one, other))
        np.testing.assert_allclose(unit, other_unit, atol=1e-8)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_awkward_gradients(rule, dtype):
    along = np.array([1.0, 2.0, -1.0], dtype)
    nothing = np.zeros(3, dtype)
    for rows, expected in (
        ([along], along),
        ([along, nothing], along),
        ([nothing, nothing], nothing),
        ([along, -along], nothing),
        ([along, 3 * along], 4 * along),
    ):
        found = combined(rule, np.stack(rows))
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=str(rows))


def test_config_does_not_depend_on_the_order_of_terms():
    rows = drawn(3, 4, 9)
    np.testing.assert_allclose(
        combined(ConFIG(), rows), combined(ConFIG(), rows[[2, 0, 3, 1]]), rtol=1e-9
    )


def test_gradients_that_are_no_numbers_show():
    for rule in RULES:
        assert not np.isfinite(combined(rule, [[1.0, np.nan], [1.0, 1.0]])).all()


# In a step

TINY = Recipe(
    "tiny",
    network=poise.networks.MLP(4, 1),
    points=poise.points.Uniform(8, fresh=False),
    steps=6,
    dtype="float64",
    record_every=2,
)


def loop_with(problem, **changes):
    return prepare(problem, replace(TINY, **changes), 0)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("flat", [True, False])
def test_a_step_is_the_optimizers_along_the_direction(klein_gordon, rule, flat):
    loop = loop_with(klein_gordon, weighting=rule, optimizer=Optax(optax.sgd(0.1), flat))
    before = loop.state
    after, progress = jax.jit(loop.step)(before)
    _, gradients = loop.step.signals(before)
    rows = np.stack([np.asarray(ravel_pytree(g)[0]) for g in gradients.values()])
    expected = np.asarray(before.params) - 0.1 * combined(rule, rows)
    np.testing.assert_allclose(np.asarray(after.params), expected, rtol=1e-10, atol=1e-12)
    assert all(float(weight) == 1 for weight in after.weights.values())
    assert bool(progress.finite)


@pytest.mark.parametrize("rule", RULES)
def test_losses_fall_and_steps_can_be_grouped(klein_gordon, rule):
    loop = loop_with(klein_gordon, weighting=rule, optimizer=Adam(3e-3), steps=60)
    advance = jax.jit(loop.step.advance)
    whole, last = advance(loop.state, jnp.asarray(60, jnp.int32))
    _, first = loop.step(loop.state)
    assert float(last.loss) < float(first.loss)
    if isinstance(rule, ConFIG):  # no term pays for another
        assert all(last.losses[term] < first.losses[term] for term in first.losses)
    parts = loop.state
    for count in (25, 35):
        parts, _ = advance(parts, jnp.asarray(count, jnp.int32))
    jax.tree.map(np.testing.assert_array_equal, whole, parts)
    assert advance._cache_size() == 1


def test_soap_takes_a_direction(klein_gordon):
    loop = loop_with(klein_gordon, weighting=ConFIG(), optimizer=SOAP())
    after, progress = jax.jit(loop.step)(loop.state)
    assert bool(progress.finite) and np.any(after.params != loop.state.params)


@pytest.mark.parametrize("optimizer", [GaussNewton(), SSBroyden()])
@pytest.mark.parametrize("rule", RULES)
def test_optimizers_that_minimize_a_sum_refuse(klein_gordon, rule, optimizer):
    with pytest.raises(ValueError, match="sets the direction of a step, not weights"):
        loop_with(klein_gordon, weighting=rule, optimizer=optimizer)


def test_updates_leave_the_weights():
    rule = ConFIG()
    weights, state = rule.init(["a", "b"])
    gradients = {"a": jnp.ones(2), "b": jnp.zeros(2)}
    again, after, info = rule.update(state, Signals(gradients=gradients))
    assert again == weights and after == state and info == {}
