"""Rules that look at how losses fall, and at the spread of gradients, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poise.weighting import (
    NTK,
    Annealing,
    EqualLosses,
    InverseDirichlet,
    ReLoBRaLo,
    Signals,
    SoftAdapt,
    Uncertainty,
)

pytestmark = pytest.mark.usefixtures("x64")

TERMS = ("residual", "initial", "boundary")

FALLING = [
    {"residual": 8.0, "initial": 2.0, "boundary": 1.0},
    {"residual": 4.0, "initial": 1.9, "boundary": 1.5},
    {"residual": 3.0, "initial": 0.5, "boundary": 1.5},
]


def signals_of(losses):
    return Signals(losses={n: jnp.asarray(loss) for n, loss in losses.items()})


def after(rule, *many, names=TERMS):
    """Weights after updates, and the state."""
    weights, state = rule.init(names)
    update = jax.jit(rule.update)
    for losses in many:
        weights, state, _ = update(state, signals_of(losses))
    return {n: float(w) for n, w in weights.items()}, state


def softmax(values):
    powers = np.exp(np.asarray(values) - np.max(values))
    return len(values) * powers / powers.sum()


def by_name(values):
    return pytest.approx(dict(zip(TERMS, map(float, values), strict=True)), rel=1e-12)


# SoftAdapt


def test_soft_adapt_by_hand():
    one = dict.fromkeys(TERMS, 1.0)
    assert after(SoftAdapt(), FALLING[0])[0] == one
    # Changes -4, -0.1, 0.5, their magnitudes 4.6 together.
    changes = np.array([-4.0, -0.1, 0.5])
    assert after(SoftAdapt(), *FALLING[:2])[0] == by_name(softmax(0.1 * changes / 4.6))
    plain = SoftAdapt(normalized=False, beta=0.7)
    assert after(plain, *FALLING[:2])[0] == by_name(softmax(0.7 * changes))
    weighted = softmax(0.1 * changes / 4.6) * np.array([4.0, 1.9, 1.5])
    found = after(SoftAdapt(loss_weighted=True), *FALLING[:2])[0]
    assert found == by_name(3 * weighted / weighted.sum())
    # The third update knows the second only.
    changes = np.array([-1.0, -1.4, 0.0])
    assert after(SoftAdapt(), *FALLING)[0] == by_name(softmax(0.1 * changes / 2.4))


@settings(max_examples=20, deadline=None)
@given(c=st.floats(1e-6, 1e6))
def test_soft_adapt_does_not_depend_on_the_unit_of_the_losses(c):
    with jax.enable_x64(True):
        scaled = [{n: c * loss for n, loss in losses.items()} for losses in FALLING]
        plain = after(SoftAdapt(), *FALLING)[0]
        assert after(SoftAdapt(), *scaled)[0] == pytest.approx(plain, rel=1e-9)


# ReLoBRaLo


def independent_relobralo(many, alpha, temperature, stays):
    losses = [np.array([each[n] for n in TERMS]) for each in many]
    weights = np.ones(3)
    for t, now in enumerate(losses):
        start = softmax(now / losses[0] / temperature)
        before = softmax(now / losses[max(t - 1, 0)] / temperature)
        history = weights if stays else start
        weights = alpha * history + (1 - alpha) * before
    return weights


@pytest.mark.parametrize("stays", [True, False])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.999])
def test_relobralo_against_numpy(alpha, stays):
    rule = ReLoBRaLo(ema=alpha, temperature=0.3, lookback=1.0 if stays else 0.0)
    expected = independent_relobralo(FALLING, alpha, 0.3, stays)
    assert after(rule, *FALLING)[0] == by_name(expected)


def test_relobralo_looks_back_at_random():
    """As often as it is told, by its seed alone. Where it looks back, it forgets its weights."""
    many = 67 * FALLING

    def path(seed):
        rule = ReLoBRaLo(ema=0.5, lookback=0.7, seed=seed)
        _, state = rule.init(TERMS)
        update, found = jax.jit(rule.update), []
        for losses in many:
            weights, state, _ = update(state, signals_of(losses))
            found.append([float(weights[n]) for n in TERMS])
        return np.array(found)

    one, other = path(0), path(1)
    np.testing.assert_array_equal(one, path(0))
    assert np.any(one != other)
    losses = np.array([[each[n] for n in TERMS] for each in many])
    before = np.concatenate([losses[:1], losses[:-1]])
    forgetful = np.array(
        [
            0.5 * softmax(now / losses[0]) + 0.5 * softmax(now / last)
            for now, last in zip(losses, before, strict=True)
        ]
    )
    looked_back = np.all(np.isclose(one, forgetful, rtol=1e-12), axis=1).mean()
    assert 0.2 < looked_back < 0.4  # 0.3, and three standard deviations of 201 tosses


@settings(max_examples=20, deadline=None)
@given(c=st.floats(1e-3, 1e3), term=st.sampled_from(TERMS))
def test_relobralo_does_not_depend_on_the_unit_of_a_term(c, term):
    with jax.enable_x64(True):
        scaled = [{**losses, term: c * losses[term]} for losses in FALLING]
        plain = after(ReLoBRaLo(ema=0.5), *FALLING)[0]
        assert after(ReLoBRaLo(ema=0.5), *scaled)[0] == pytest.approx(plain, rel=1e-9)


def test_relobralo_where_a_loss_is_zero():
    zero = [{**losses, "initial": 0.0} for losses in FALLING]
    found, _ = after(ReLoBRaLo(ema=0.5), *zero)
    assert all(np.isfinite(w) for w in found.values())


# Uncertainty


def test_uncertainty_goes_to_one_over_the_loss():
    losses = {"residual": 4.0, "initial": 0.1, "boundary": 1.0}
    found, _ = after(Uncertainty(learning_rate=0.05), *(400 * [losses]))
    assert found == pytest.approx({n: 1 / loss for n, loss in losses.items()}, rel=1e-2)


def test_the_first_move_of_adam_has_the_length_of_its_rate():
    losses = {"residual": 4.0, "initial": 0.1}
    found, _ = after(Uncertainty(learning_rate=0.01), losses, names=tuple(losses))
    # s goes up where λL > 1, and the weight down.
    assert found["residual"] == pytest.approx(np.exp(-0.01), rel=1e-6)
    assert found["initial"] == pytest.approx(np.exp(0.01), rel=1e-6)


# InverseDirichlet


def test_inverse_dirichlet_by_hand():
    """Deviations over all parameters, biases too: of (1, -1, 3, -3) √5, and so on."""
    gradients = {
        "residual": {"weight": [[1.0, -1.0], [3.0, -3.0]], "bias": [0.0, 0.0]},
        "initial": {"weight": [[0.5, 0.5], [0.5, 0.5]], "bias": [0.1, 0.9]},
        "boundary": {"weight": [[2.0, 2.0], [-2.0, -2.0]], "bias": [5.0, -5.0]},
    }
    signals = Signals(gradients=jax.tree.map(jnp.asarray, gradients, is_leaf=_is_list))
    spread = {
        name: np.std(np.concatenate([np.ravel(part) for part in gradient.values()]))
        for name, gradient in gradients.items()
    }
    rule = InverseDirichlet()
    _, state = rule.init(TERMS)
    weights, state, _ = rule.update(state, signals)
    expected = {name: max(spread.values()) / s for name, s in spread.items()}
    assert {n: float(w) for n, w in weights.items()} == pytest.approx(expected, rel=1e-12)
    # Half of the old weight stays.
    doubled = Signals(
        gradients={
            **signals.gradients,
            "initial": jax.tree.map(lambda g: 2 * g, signals.gradients["initial"]),
        }
    )
    weights, state, _ = rule.update(state, doubled)
    assert float(weights["initial"]) == pytest.approx(0.75 * expected["initial"], rel=1e-12)


def _is_list(part):
    return isinstance(part, list)


# What all of them share


@pytest.mark.parametrize("kind", [EqualLosses, ReLoBRaLo, SoftAdapt, Uncertainty])
def test_weights_wait_for_the_end_of_the_warm_up_and_stay_when_frozen(kind):
    """Updates every 2 steps; the weights move at steps 4, 6, 8."""
    rule = kind(every=2, ema=0.5, warmup=4, freeze=10)
    weights, state = rule.init(TERMS)
    seen = []
    for number in range(8):
        losses = {n: loss * 0.9 ** (number * (i + 1)) for i, (n, loss) in
                  enumerate(FALLING[0].items())}  # fmt: skip
        weights, state, _ = rule.update(state, signals_of(losses))
        seen.append([float(w) for w in weights.values()])
    moved = [a != b for a, b in zip([[1.0, 1.0, 1.0], *seen], seen, strict=False)]
    assert moved[:2] == [False, False] and moved[5:] == [False, False, False]
    assert all(moved[2:5]) or (kind is ReLoBRaLo and any(moved[2:5]))


@pytest.mark.parametrize("bad", [-1, True])
@pytest.mark.parametrize("name", ["warmup", "freeze"])
def test_steps_of_warm_up_and_freezing_are_whole(name, bad):
    for kind in (NTK, Annealing, SoftAdapt):
        with pytest.raises(ValueError, match=rf"{kind.__name__}\({name}="):
            kind(**{name: bad})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SoftAdapt(beta=np.nan), "beta=nan"),
        (lambda: ReLoBRaLo(temperature=0.0), "temperature=0.0"),
        (lambda: ReLoBRaLo(lookback=1.5), "lookback=1.5"),
        (lambda: Uncertainty(learning_rate=-1.0), "learning_rate=-1.0"),
    ],
)
def test_bad_settings_are_refused_by_name(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("rule", [SoftAdapt(), ReLoBRaLo(ema=0.5), EqualLosses(), Uncertainty()])
def test_a_loss_that_is_no_number_is_not_remembered(rule):
    broken = {**FALLING[1], "initial": np.nan}
    assert after(rule, FALLING[0], broken, FALLING[2])[0] == pytest.approx(
        after(rule, FALLING[0], FALLING[2])[0], rel=1e-12
    )
