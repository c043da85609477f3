"""How every rule answers when the loss of a term is c times as large: a known law for each."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poise.training.recipe import RULES
from poise.weighting import Averaged, Signals
from poise.weighting.pointwise import Pointwise, TermRows

TERMS = ("residual", "initial", "boundary")
EACH = dict.fromkeys(TERMS, 1.0)


def signals(seed, factors):
    """Losses, gradients and traces of terms whose losses are times `factors`."""
    random = np.random.default_rng(seed)
    losses, gradients, traces = {}, {}, {}
    for name in TERMS:
        c = factors[name]
        losses[name] = jnp.asarray(c * random.uniform(0.1, 9))
        gradients[name] = [
            {"weight": jnp.asarray(c * random.normal(size=shape)), "bias": jnp.asarray(c * shift)}
            for shape, shift in (((4, 2), random.normal(size=4)), ((1, 4), random.normal(size=1)))
        ]
        traces[name] = jnp.asarray(c * random.uniform(0.1, 9))
    return Signals(losses, gradients, traces)


def weights_after(rule, factors, updates=3):
    _, state = rule.init(TERMS, jnp.float64)
    weights = {}
    for seed in range(updates):
        weights, state, _ = rule.update(state, signals(seed, factors))
    return {name: float(weight) for name, weight in weights.items()}


def unchanged(rule, term, c):
    """The weights do not see the unit of a term."""
    plain, scaled = weights_after(rule, EACH), weights_after(rule, {**EACH, term: c})
    assert scaled == pytest.approx(plain, rel=1e-9)


def inverse(rule, term, c):
    """λₖ goes as 1/c beside the others: λₖ Lₖ is then what it was."""
    rule = replace(rule, ema=0.0)
    plain, scaled = (weights_after(rule, f, 1) for f in (EACH, {**EACH, term: c}))
    for other in TERMS:
        expected = plain[other] / plain[term] * (c if other != term else 1)
        assert scaled[other] / scaled[term] == pytest.approx(expected, rel=1e-6)  # ε = 1e-10


def of_all(rule, term, c):
    """Only relative changes of the losses to each other count: one unit for all."""
    plain, scaled = (weights_after(rule, dict.fromkeys(TERMS, f)) for f in (1.0, c))
    assert scaled == pytest.approx(plain, rel=1e-9)


def shifted_logarithm(rule, term, c):
    """s and log c take the same part in exp(-s) L: from s + log c, λ is 1/c times what it was."""

    def follow(c):
        _, state = rule.init(TERMS, jnp.float64)
        logs, adam = state.memory
        state = state._replace(memory=({**logs, term: logs[term] + np.log(c)}, adam))
        for seed in range(5):
            weights, state, _ = rule.update(state, signals(seed, {**EACH, term: c}))
        return weights

    plain, scaled = follow(1.0), follow(c)
    for name in TERMS:
        factor = c if name == term else 1
        assert factor * float(scaled[name]) == pytest.approx(float(plain[name]), rel=1e-9)


def larger_violation(rule, term, c):
    """Before a multiplier has moved, λₖ - 1 = Lₖ of a constraint goes as c."""
    plain, scaled = (weights_after(rule, f, 1) for f in (EACH, {**EACH, term: c}))
    for name in TERMS:
        factor = c if name == term and name != "residual" else 1
        assert scaled[name] - 1 == pytest.approx(factor * (plain[name] - 1), rel=1e-9)


def gradients_of(factors):
    random = np.random.default_rng(7)
    return jnp.asarray(np.array([factors[name] for name in TERMS])[:, None]) * jnp.asarray(
        random.normal(size=(len(TERMS), 6))
    )


def same_angle(rule, term, c):
    """The direction does not turn when one gradient grows; its length may."""
    plain, _ = rule.combine(gradients_of(EACH), rule.remember())
    scaled, _ = rule.combine(gradients_of({**EACH, term: c}), rule.remember())
    cosine = plain @ scaled / (jnp.linalg.norm(plain) * jnp.linalg.norm(scaled))
    assert float(cosine) == pytest.approx(1, abs=1e-9)


def homogeneous(rule, term, c):
    """All gradients c times as long: so is the direction."""
    plain, _ = rule.combine(gradients_of(EACH), rule.remember())
    scaled, _ = rule.combine(c * gradients_of(EACH), rule.remember())
    np.testing.assert_allclose(scaled, c * plain, rtol=1e-9, atol=1e-12 * c)


def emphasis(rule, c):
    random = np.random.default_rng(3)
    memory = rule.begin(dict.fromkeys(TERMS, 5), ("residual",), jnp.float64)
    found = {}
    for _ in range(3):
        rows = {
            name: TermRows(
                jnp.asarray(np.sqrt(c) * (0.5 + random.uniform(size=5))),
                {"t": jnp.linspace(0, 1, 5), "x": jnp.linspace(-1, 1, 5)},
                jnp.zeros(5, bool),
            )
            for name in TERMS
        }
        found, memory = rule.emphasize(rows, memory)
    return found


def of_points(rule, term, c):
    """The weights of points do not see the unit of the residuals."""
    # Adam adds 1e-8 to the slopes that it divides by: no exact law for SelfAdaptive.
    for name, plain in emphasis(rule, 1.0).items():
        np.testing.assert_allclose(emphasis(rule, c)[name], plain, rtol=1e-5)


OF_POINTS = {of_points}
"""Laws of rules that weight points; one that sees the unit of a residual has another."""

LAWS = {
    "fixed": unchanged,
    "annealing": inverse,
    "gradnorm": inverse,
    "inverse-dirichlet": inverse,
    "ntk": inverse,
    "equal-losses": inverse,
    "softadapt": of_all,
    "relobralo": unchanged,
    "uncertainty": shifted_logarithm,
    "augmented-lagrangian": larger_violation,
    "pcgrad": homogeneous,
    "config": same_angle,
    "causal": of_points,
    "rba": of_points,
    "self-adaptive": of_points,
}


def test_every_rule_has_a_law():
    assert LAWS.keys() == RULES.keys()
    for name, rule in RULES.items():
        assert isinstance(rule, Pointwise) == (LAWS[name] in OF_POINTS)


@pytest.mark.parametrize("name", LAWS)
@settings(max_examples=15, deadline=None)
@given(term=st.sampled_from(TERMS), c=st.floats(1e-2, 1e2))
def test_a_loss_times_c(name, term, c):
    with jax.enable_x64(True):
        rule = RULES[name]
        if isinstance(rule, Averaged):
            rule = replace(rule, every=1)
        LAWS[name](rule, term, c)
