"""The augmented Lagrangian: its update in NumPy, its gradient, and a constrained minimum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poise.weighting import AugmentedLagrangian, Signals

TERMS = ("residual", "initial", "boundary")
CONSTRAINTS = TERMS[1:]


def follow(rule, many, names=TERMS):
    """Weights and the state's memory after each of a sequence of losses."""
    _, state = rule.init(names, jnp.float64)
    update, found = jax.jit(rule.update), []
    for losses in many:
        signals = Signals(losses={n: jnp.asarray(losses[n]) for n in names})
        weights, state, info = update(state, signals)
        found.append(({n: float(w) for n, w in weights.items()}, state.memory, info))
    return found


def by_hand(many, eta, zeta, omega, epsilon):
    """The method once more, in NumPy float64 and in loops."""
    m, mu, v = (np.array([start] * 2, float) for start in (1, 1, 0))
    former, found = np.inf, []
    for losses in many:
        c = np.array([losses[name] for name in CONSTRAINTS])
        found.append(dict(zip(CONSTRAINTS, m + mu * c, strict=True)))
        value = losses["residual"] + (m * c).sum() + 0.5 * (mu * c * c).sum()
        v = zeta * v + (1 - zeta) * c * c
        if value >= omega * former:
            m = m + mu * c
            mu = np.maximum(eta / np.sqrt(v + epsilon), mu)
        former = value
    return found, m, mu


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("eta", "zeta", "omega"), [(0.01, 0.99, 0.999), (0.5, 0.2, 0.6)])
def test_weights_and_multipliers_against_numpy(eta, zeta, omega):
    random = np.random.default_rng(1)
    sizes = {"residual": 3, "initial": 1e-3, "boundary": 2}
    many = [
        {name: size * random.uniform(0.1, 1) for name, size in sizes.items()} for _ in range(12)
    ]
    rule = AugmentedLagrangian(learning_rate=eta, smoothing=zeta, stagnation=omega)
    found = follow(rule, many)
    expected, m, mu = by_hand(many, eta, zeta, omega, 1e-16)
    for (weights, _, _), numbers in zip(found, expected, strict=True):
        assert weights["residual"] == 1
        for name in CONSTRAINTS:
            np.testing.assert_allclose(weights[name], numbers[name], rtol=1e-13)
    memory = found[-1][1]
    np.testing.assert_allclose([memory.multiplier[n] for n in CONSTRAINTS], m, rtol=1e-13)
    np.testing.assert_allclose([memory.penalty[n] for n in CONSTRAINTS], mu, rtol=1e-13)
    assert m.max() > 2 and mu.max() > 1  # both moved


@pytest.mark.usefixtures("x64")
def test_three_updates_worked_out():
    """η = 1, ζ = 0, ω = 1, no ε worth naming; one constraint beside the objective.

    L = 2: λ = 1 + 1·2 = 3; value 5 + 2 + 2 = 9, below infinity: nothing is raised.
    L = 4: λ = 1 + 4 = 5; value 1 + 4 + 8 = 13 >= 9: m = 1 + 4 = 5, μ = max(1/4, 1) = 1.
    L = ¼: λ = 5 + ¼; value 20 + 5/4 + 1/32 = 21.28 >= 13: m = 5.25, μ = max(4, 1) = 4.
    """
    many = [{"f": 5.0, "g": 2.0}, {"f": 1.0, "g": 4.0}, {"f": 20.0, "g": 0.25}, {"f": 0.0, "g": 1}]
    rule = AugmentedLagrangian(learning_rate=1.0, smoothing=0.0, stagnation=1.0)
    found = follow(rule, many, ("f", "g"))
    np.testing.assert_allclose([w["g"] for w, _, _ in found], [3, 5, 5.25, 9.25], rtol=1e-12)
    np.testing.assert_allclose([i["value"] for _, _, i in found[:3]], [9, 13, 21.28125], rtol=1e-12)
    assert {w["f"] for w, _, _ in found} == {1.0}


@pytest.mark.usefixtures("x64")
def test_the_weighted_gradient_is_that_of_the_augmented_lagrangian():
    def parts(x):
        return {"residual": jnp.sum(x**2), "initial": (x[0] - 1) ** 2, "boundary": (x[1] + 2) ** 4}

    def whole(x, memory):
        losses = parts(x)
        total = losses["residual"]
        for name in CONSTRAINTS:
            m, mu = memory.multiplier[name], memory.penalty[name]
            total += m * losses[name] + mu * losses[name] ** 2 / 2
        return total

    rule = AugmentedLagrangian(learning_rate=3.0, smoothing=0.5, stagnation=0.01)
    _, state = rule.init(TERMS, jnp.float64)
    x = jnp.asarray([0.3, 0.4])
    for _ in range(3):
        memory = state.memory
        weights, state, _ = rule.update(state, Signals(losses=parts(x)))
        jacobian = jax.jacrev(parts)(x)
        got = sum(weights[name] * jacobian[name] for name in TERMS)
        np.testing.assert_allclose(got, jax.grad(whole)(x, memory), rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_constraints_come_to_hold_where_fixed_weights_leave_a_compromise():
    """min |x - (1, 2)|² with x₀ + x₁ = 1, written as a squared residual: (0, 1)."""

    def parts(x):
        return {
            "residual": (x[0] - 1) ** 2 + (x[1] - 2) ** 2,
            "boundary": (x[0] + x[1] - 1) ** 2,
        }

    rule = AugmentedLagrangian(learning_rate=1.0, smoothing=0.9)

    def descend(weighted):
        _, start = rule.init(("residual", "boundary"), jnp.float64)

        def body(carry, _):
            x, state = carry
            weights, state, _ = rule.update(state, Signals(losses=parts(x)))
            if not weighted:
                weights = dict.fromkeys(weights, 1.0)
            jacobian = jax.jacrev(parts)(x)
            slope = sum(weights[name] * jacobian[name] for name in weights)
            return (x - slope / (2 + 4 * weights["boundary"]), state), None

        (x, _), _ = jax.lax.scan(body, (jnp.zeros(2), start), length=3000)
        return np.asarray(x)

    np.testing.assert_allclose(descend(weighted=False), [1 / 3, 4 / 3], atol=1e-6)
    np.testing.assert_allclose(descend(weighted=True), [0, 1], atol=2e-2)


@settings(max_examples=25, deadline=None)
@given(factor=st.floats(1e-2, 1e2), loss=st.floats(1e-3, 1e2))
def test_scaling_law(factor, loss):
    """Before any multiplier has moved λₖ = 1 + Lₖ: a larger violation weighs more."""
    with jax.enable_x64(True):
        losses = {"residual": 1.0, "initial": loss, "boundary": 1.0}
        (one, *_), (other, *_) = (
            follow(AugmentedLagrangian(), [{**losses, "initial": size}])[0]
            for size in (loss, factor * loss)
        )
    assert other["initial"] - 1 == pytest.approx(factor * (one["initial"] - 1), rel=1e-9)
    assert other["boundary"] == one["boundary"]


@pytest.mark.parametrize(
    ("settings_", "words"),
    [
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"epsilon": -1.0}, "epsilon=-1.0"),
        ({"smoothing": 1.0}, "smoothing=1.0"),
        ({"stagnation": 0.0}, "stagnation=0.0"),
        ({"stagnation": 1.5}, "stagnation=1.5"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
    ],
)
def test_settings_outside_their_range_are_refused(settings_, words):
    with pytest.raises(ValueError, match=words):
        AugmentedLagrangian(**settings_)


def test_an_objective_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="no loss term 'bulk'; the terms are residual"):
        AugmentedLagrangian(objective="bulk").init(TERMS)
