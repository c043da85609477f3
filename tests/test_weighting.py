"""Loss weights: one contract for every rule, and annealing against numbers worked out by hand."""

import inspect
import math
from typing import NamedTuple

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
from poise.training.recipe import Recipe
from poise.training.run import prepare
from poise.weighting import (
    NTK,
    Annealing,
    AugmentedLagrangian,
    EqualLosses,
    Fixed,
    GradNorm,
    InverseDirichlet,
    ReLoBRaLo,
    Signals,
    SoftAdapt,
    Uncertainty,
    statistics,
)

TERMS = ("residual", "initial", "boundary")
RULES = {
    "fixed": Fixed(),
    "fixed-given": Fixed({"boundary": 100.0, "initial": 0}),
    "annealing": Annealing(),
    "annealing-unweighted": Annealing(weighted=False),
    "annealing-at-once": Annealing(every=1, ema=0),
    "annealing-bounds": Annealing(minimum=0.5, maximum=2.0),
    "annealing-reference": Annealing(reference="boundary"),
    "ntk": NTK(),
    "ntk-probes": NTK(probes=2),
    "grad-norm": GradNorm(),
    "equal-losses": EqualLosses(maximum=1.5),
    "annealing-robust": Annealing(
        numerator=statistics.Quantile(0.9), denominator=statistics.LogMean()
    ),
    "ntk-waits": NTK(warmup=2, freeze=3),
    "soft-adapt": SoftAdapt(),
    "soft-adapt-weighted": SoftAdapt(loss_weighted=True, normalized=False, ema=0.5),
    "relobralo": ReLoBRaLo(ema=0.5, lookback=0.5),
    "inverse-dirichlet": InverseDirichlet(),
    "uncertainty": Uncertainty(learning_rate=0.1),
    "augmented-lagrangian": AugmentedLagrangian(),
    "augmented-objective": AugmentedLagrangian(objective="boundary", every=5),
}


class Layer(NamedTuple):
    weight: object
    bias: object


class Model(NamedTuple):
    """The shape of a gradient: layers, and unknown coefficients, which are no layers."""

    layers: tuple
    coefficients: dict


def gradient_of(seed, dtype, scale):
    """Layers of different sizes, with biases and a coefficient far larger than any weight."""
    random = np.random.default_rng(seed)
    layers = []
    for i, (n_in, n_out) in enumerate([(2, 5), (5, 5), (5, 1)]):
        weight = scale * 3.0**i * random.normal(size=(n_out, n_in))
        bias = scale * 1e4 * random.normal(size=n_out)
        layers.append(Layer(jnp.asarray(weight, dtype), jnp.asarray(bias, dtype)))
    return Model(tuple(layers), {"nu": jnp.asarray(scale * 1e5, dtype)})


def signals_for(rule, names=TERMS, dtype=jnp.float32, zero=False):
    """What a rule asked for, and nothing else."""
    factor = 0.0 if zero else 1.0
    scales = {"residual": 10.0, "initial": 0.3, "boundary": 2.0}
    losses = {n: jnp.asarray(factor * (len(n) + 1.5), dtype) for n in names}
    gradients = {n: gradient_of(ord(n[0]), dtype, factor * scales.get(n, 1.0)) for n in names}
    return Signals(
        losses if "losses" in rule.needs else None,
        gradients if "gradients" in rule.needs else None,
        {n: 7 * loss for n, loss in losses.items()} if "traces" in rule.needs else None,
    )


def shapes(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


@pytest.fixture(params=RULES)
def rule(request):
    return RULES[request.param]


def test_every_public_rule_is_tested_here():
    public = vars(weighting).values()
    kinds = {
        kind
        for kind in public
        if isinstance(kind, type)
        and issubclass(kind, weighting.Weighting)
        and not inspect.isabstract(kind)
        # tests/test_directions.py and tests/test_pointwise.py
        and not issubclass(kind, weighting.Direction | weighting.Pointwise)
    }
    assert kinds == {type(rule) for rule in RULES.values()}


@pytest.mark.parametrize(
    ("dtype", "wide"), [("float32", False), ("float32", True), ("float64", True)]
)
def test_weights_keep_structure_and_dtype(rule, dtype, wide):
    """Also float32 where the process has float64 switched on, as a user's may."""
    with jax.enable_x64(wide):
        weights, state = rule.init(TERMS, dtype)
        signals = signals_for(rule, dtype=dtype)
        assert set(weights) == set(TERMS)
        assert all(w.shape == () and w.dtype == dtype for w in weights.values())
        assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))
        later, state_later, info = jax.jit(rule.update)(state, signals)
        assert shapes(later) == shapes(weights)
        assert shapes(state_later) == shapes(state)
        assert all(np.isfinite(figure).all() for figure in info.values())


def test_update_is_pure(rule):
    weights, state = rule.init(TERMS)
    signals = signals_for(rule)
    before = [np.array(leaf) for leaf in jax.tree.leaves((weights, state, signals))]
    first = rule.update(state, signals)
    second = rule.update(state, signals)
    after = jax.tree.leaves((weights, state, signals))
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(a, b)


def test_jit_scan_and_plain_calls_agree(rule):
    signals = signals_for(rule)
    _, start = rule.init(TERMS)

    def body(state, _):
        weights, state, _ = rule.update(state, signals)
        return state, weights

    _, scanned = jax.jit(lambda state: jax.lax.scan(body, state, length=4))(start)
    state = jitted = start
    update = jax.jit(rule.update)
    for n in range(4):
        weights, state, _ = rule.update(state, signals)
        compiled, jitted, _ = update(jitted, signals)
        for name in TERMS:
            assert float(scanned[name][n]) == pytest.approx(float(weights[name]), rel=1e-5)
            assert float(compiled[name]) == pytest.approx(float(weights[name]), rel=1e-5)


def test_no_second_trace(rule):
    traces = []

    @jax.jit
    def update(state, signals):
        traces.append(1)
        return rule.update(state, signals)

    _, state = rule.init(TERMS, "float32")
    signals = signals_for(rule)
    for _ in range(3):
        _, state, _ = update(state, signals)
    assert len(traces) == 1


def test_zero_gradients_give_finite_weights(rule):
    weights, state = rule.init(TERMS)
    update, signals = jax.jit(rule.update), signals_for(rule, zero=True)
    for _ in range(100):
        weights, state, _ = update(state, signals)
    assert all(np.isfinite(w) and w >= 0 for w in weights.values())


@pytest.mark.parametrize(
    "rule",
    [Fixed(), Annealing(), Annealing(weighted=False, ema=0), AugmentedLagrangian()],
)
@pytest.mark.parametrize("name", ["residual", "only"])
def test_a_single_term_has_weight_one(rule, name):
    _, state = rule.init((name,))
    for zero in (False, True):
        weights, state, _ = rule.update(state, signals_for(rule, (name,), zero=zero))
        assert {n: float(w) for n, w in weights.items()} == {name: 1.0}


def test_weights_belong_to_names_and_not_to_positions(rule):
    def run(names):
        _, state = rule.init(names)
        signals = signals_for(rule, names)
        for _ in range(3):
            weights, state, _ = rule.update(state, signals)
        return weights

    straight, turned = run(TERMS), run(TERMS[::-1])
    for name in TERMS:
        assert float(straight[name]) == float(turned[name])


@pytest.mark.parametrize("names", [("b", "a", "c"), ("c", "b", "a")])
@pytest.mark.parametrize("compiled", [False, True], ids=["plain", "jit"])
def test_without_residual_the_first_term_as_written_is_the_reference(names, compiled):
    """jax.jit sorts the keys of dictionaries: the first of them is another one inside."""
    rule = Annealing(ema=0)
    _, state = rule.init(names)
    update = jax.jit(rule.update) if compiled else rule.update
    weights, _, _ = update(state, signals_for(rule, names))
    assert [name for name in names if float(weights[name]) == 1.0] == [names[0]]


# --- Annealing, by hand ----------------------------------------------------------------------

HAND = {
    # Over the weight matrices: max |g| = 10 (at -10; without abs it would be 8).
    "residual": Model(
        (
            Layer([[0.5, -10.0, 1.0], [2.0, -1.0, 8.0]], [100.0, -200.0]),
            Layer([[3.0, -1.0], [0.0, 2.0]], [1000.0, 500.0]),
            Layer([[-4.0, 5.0]], [9000.0]),
        ),
        {"nu": 5e4},
    ),
    # mean|g| by layer: (1+1+2+2+3+3)/6 = 2, (1+1+1+1)/4 = 1, (9+3)/2 = 6; mean of these: 3.
    # Signed means: 0, 0, 3. Over all 12 entries at once: 28/12 = 2.333. Largest layer: 6.
    "boundary": Model(
        (
            Layer([[1.0, -1.0, 2.0], [-2.0, 3.0, -3.0]], [50.0, -60.0]),
            Layer([[1.0, -1.0], [-1.0, 1.0]], [70.0, 80.0]),
            Layer([[9.0, -3.0]], [-90.0]),
        ),
        {"nu": -3e4},
    ),
    # mean|g| by layer: 1.2/6 = 0.2, 0.4/4 = 0.1, 1.2/2 = 0.6; mean of these: 0.3.
    "initial": Model(
        (
            Layer([[0.1, -0.3, 0.2], [-0.2, 0.4, 0.0]], [5.0, -6.0]),
            Layer([[0.1, -0.1], [-0.1, 0.1]], [7.0, -8.0]),
            Layer([[-0.9, 0.3]], [9.0]),
        ),
        {"nu": 2e4},
    ),
}


def hand_signals():
    def arrays(model):
        layers = tuple(Layer(jnp.asarray(w), jnp.asarray(b)) for w, b in model.layers)
        return Model(layers, {"nu": jnp.asarray(model.coefficients["nu"])})

    return Signals(gradients={name: arrays(model) for name, model in HAND.items()})


def weights_after(rule, updates, signals=None):
    signals = hand_signals() if signals is None else signals
    weights, state = rule.init(tuple(signals.gradients))
    update = jax.jit(rule.update) if updates > 1 else rule.update
    for _ in range(updates):
        weights, state, _ = update(state, signals)
    return {name: float(weight) for name, weight in weights.items()}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("rule", "updates", "boundary", "initial"),
    [
        # λ̂ = 10/3 and 10/0.3.
        (Annealing(ema=0), 1, 3.3333333332222224, 33.33333332222222),
        # 0.9·1 + 0.1·10/3 = 1.2333, 0.9·1 + 0.1·10/0.3 = 4.2333; on the new value it would be
        # 0.1 + 0.9·10/3 = 3.1.
        (Annealing(), 1, 1.2333333333222222, 4.233333332222222),
        # Weighted denominator: 0.9·1.2333 + 0.1·10/(1.2333·3) = 1.11 + 0.27027 = 1.38027;
        # 0.9·4.2333 + 0.1·10/(4.2333·0.3) = 3.81 + 0.78740 = 4.59740.
        (Annealing(), 2, 1.380270270260, 4.597401574803),
        # Plain denominator: 0.9·1.2333 + 0.1·10/3 = 1.44333; 3.81 + 3.33333 = 7.14333.
        (Annealing(weighted=False), 2, 1.443333333333, 7.143333333333),
        # ema 0.5: 0.5 + 0.5·10/3 = 2.16667; 0.5 + 0.5·10/0.3 = 17.16667.
        (Annealing(ema=0.5), 1, 2.166666666667, 17.166666666667),
        # ε = 1 in the denominator: 10/(3 + 1) = 2.5, 10/(0.3 + 1) = 7.6923.
        (Annealing(ema=0, epsilon=1.0), 1, 2.5, 7.692307692308),
        (Annealing(ema=0, maximum=3.0), 1, 3.0, 3.0),
        (Annealing(ema=0, minimum=5.0), 1, 5.0, 33.333333333333),
    ],
)
def test_numbers_by_hand(rule, updates, boundary, initial):
    found = weights_after(rule, updates)
    assert found["residual"] == 1.0
    assert found["boundary"] == pytest.approx(boundary, rel=1e-9)
    assert found["initial"] == pytest.approx(initial, rel=1e-9)


@pytest.mark.usefixtures("x64")
def test_epsilon_is_added_to_the_denominator():
    """A term without gradient gets max/ε: 10/1e-10."""
    signals = hand_signals()
    nothing = jax.tree.map(jnp.zeros_like, signals.gradients["initial"])
    signals = Signals(gradients={**signals.gradients, "initial": nothing})
    assert weights_after(Annealing(ema=0), 1, signals)["initial"] == pytest.approx(1e11, rel=1e-12)
    # To the sixteenth digit: 10/(3 + 1e-10), not 10/3.
    first = weights_after(Annealing(ema=0), 1)["boundary"]
    assert first == pytest.approx(10 / 3 - 10 / 9 * 1e-10, rel=1e-14)


@pytest.mark.usefixtures("x64")
def test_reference_term_measures_the_others():
    # max|g| of the boundary term is 9.
    # mean|g| of the residual by layer: 22.5/6 = 3.75, 6/4 = 1.5, 9/2 = 4.5; mean 3.25.
    found = weights_after(Annealing(ema=0, reference="boundary"), 1)
    assert found["boundary"] == 1.0
    assert found["residual"] == pytest.approx(9 / 3.25, rel=1e-9)
    assert found["initial"] == pytest.approx(9 / 0.3, rel=1e-9)


def independent(gradients, steps, ema, weighted):
    """The rule once more, in NumPy float64 and in loops."""
    weights = dict.fromkeys(gradients, 1.0)
    matrices = {
        name: [np.asarray(layer.weight, np.float64) for layer in gradient.layers]
        for name, gradient in gradients.items()
    }
    for _ in range(steps):
        top = 0.0
        for matrix in matrices["residual"]:
            for entry in matrix.ravel():
                top = max(top, abs(entry))
        for name in weights:
            if name == "residual":
                continue
            means = []
            for matrix in matrices[name]:
                scale = weights[name] if weighted else 1.0
                means.append(sum(abs(scale * entry) for entry in matrix.ravel()) / matrix.size)
            target = top / (sum(means) / len(means) + 1e-10)
            weights[name] = ema * weights[name] + (1 - ema) * target
    return weights


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_random_gradients_against_numpy(weighted, ema):
    rule = Annealing(weighted=weighted, ema=ema)
    signals = signals_for(rule, dtype="float64")
    found = weights_after(rule, 7, signals)
    expected = independent(signals.gradients, 7, ema, weighted)
    for name in TERMS:
        assert found[name] == pytest.approx(expected[name], rel=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("weighted", "boundary", "initial"),
    [
        (True, math.sqrt(10 / 3), math.sqrt(10 / 0.3)),  # λ = max/(λ·mean)
        (False, 10 / 3, 10 / 0.3),
    ],
)
def test_fixed_point(weighted, boundary, initial):
    found = weights_after(Annealing(weighted=weighted), 300)
    assert found["boundary"] == pytest.approx(boundary, rel=1e-8)
    assert found["initial"] == pytest.approx(initial, rel=1e-8)


@settings(max_examples=30, deadline=None)
@given(c=st.floats(1e-3, 1e3), weighted=st.booleans())
def test_scaling_law(c, weighted):
    """λ̂ₖ ∝ 1/‖∇Lₖ‖ and ∝ ‖∇L_r‖: a term that pushes harder is held back."""
    with jax.enable_x64(True):
        rule = Annealing(ema=0, weighted=weighted)
        signals = hand_signals()
        before = weights_after(rule, 1, signals)

        def scaled(name):
            bigger = jax.tree.map(lambda leaf: c * leaf, signals.gradients[name])
            return weights_after(rule, 1, Signals(gradients={**signals.gradients, name: bigger}))

        own, others = scaled("boundary"), scaled("residual")
    assert own["boundary"] == pytest.approx(before["boundary"] / c, rel=1e-6)
    assert own["initial"] == before["initial"]
    assert others["boundary"] == pytest.approx(before["boundary"] * c, rel=1e-6)
    assert others["initial"] == pytest.approx(before["initial"] * c, rel=1e-6)


@pytest.mark.parametrize("bias", [0.0, 1e6])
def test_biases_and_coefficients_take_no_part(bias):
    def with_bias(model):
        layers = tuple(Layer(layer.weight, layer.bias * 0 + bias) for layer in model.layers)
        return Model(layers, {"nu": model.coefficients["nu"] * 0 + bias})

    signals = hand_signals()
    changed = Signals(gradients={n: with_bias(g) for n, g in signals.gradients.items()})
    assert weights_after(Annealing(), 3, changed) == weights_after(Annealing(), 3, signals)


def test_step_updates_at_multiples_of_the_interval():
    """And the weights of an update serve the very step that computed them."""
    problem = poise.Problem(
        {"x": (0, 1)},
        ["u"],
        {"residual": poise.interior(lambda u: u.xx + 1), "boundary": poise.boundary(lambda u: u)},
    )
    rule = Annealing(every=3)
    recipe = Recipe(
        network=poise.networks.MLP(4, 2),
        points=8,
        weighting=rule,
        optimizer=poise.optimizers.Optax(optax.sgd(0.01)),
        steps=10,
    )
    step = (loop := prepare(problem, recipe, 0)).step

    @jax.jit
    def both(state):
        losses, gradients = step.signals(state)
        expected, _, _ = rule.update(state.weighting, Signals(gradients=gradients))
        flat = {name: ravel_pytree(gradient)[0] for name, gradient in gradients.items()}
        return *step(state), losses, flat, expected

    state, changed = loop.state, []
    for n in range(8):
        after, progress, losses, gradients, expected = both(state)
        if float(after.weights["boundary"]) != float(state.weights["boundary"]):
            changed.append(n)
            assert float(after.weights["boundary"]) == pytest.approx(
                float(expected["boundary"]), rel=1e-5
            )
        total = sum(float(after.weights[k]) * float(losses[k]) for k in losses)
        assert float(progress.loss) == pytest.approx(total, rel=1e-5)
        gradient = sum(after.weights[k] * gradients[k] for k in gradients)
        np.testing.assert_allclose(
            after.params - state.params, -0.01 * gradient, rtol=1e-3, atol=1e-7
        )
        assert float(after.weights["residual"]) == 1.0
        state = after
    assert changed == [0, 3, 6]


def test_fixed_weights_never_change():
    weights, state = Fixed({"boundary": 100, "initial": 0}).init(TERMS)
    assert {n: float(w) for n, w in weights.items()} == {
        "residual": 1.0,
        "initial": 0.0,
        "boundary": 100.0,
    }
    later, _, _ = Fixed({"boundary": 100}).update(state, Signals())
    assert float(later["boundary"]) == 100.0
    assert Fixed().interval == 0
    assert Annealing(every=7).interval == 7


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Annealing(every=0), "every=0"),
        (lambda: Annealing(every=-10), "every=-10"),
        (lambda: Annealing(every=True), "every=True"),
        (lambda: Annealing(ema=1.0), "ema=1.0"),
        (lambda: Annealing(ema=-0.1), "ema=-0.1"),
        (lambda: Annealing(ema=math.nan), "ema=nan"),
        (lambda: Annealing(epsilon=0.0), "epsilon=0.0"),
        (lambda: Annealing(epsilon=math.inf), "epsilon=inf"),
        (lambda: Annealing(minimum=-1.0), "minimum=-1.0"),
        (lambda: Annealing(minimum=3.0, maximum=2.0), "minimum=3.0, maximum=2.0"),
        (lambda: Annealing(maximum=math.nan), "maximum=nan"),
        (lambda: Annealing(reference="bulk").init(TERMS), "no loss term 'bulk'"),
        (lambda: Fixed({"bulk": 1.0}).init(TERMS), "no loss term 'bulk'"),
        (lambda: Fixed({"initial": -1.0}), "'initial' = -1.0"),
        (lambda: Fixed({"initial": math.nan}), "'initial' = nan"),
        (lambda: Fixed({"initial": math.inf}), "'initial' = inf"),
    ],
)
def test_bad_settings_are_refused_by_name(make, words):
    with pytest.raises(ValueError, match="(?s)" + words.replace("(", r"\(")):
        make()


@pytest.mark.parametrize("rule", [Annealing(reference="bulk"), Fixed({"bulk": 1.0})])
def test_an_unknown_term_is_answered_with_those_that_exist(rule):
    with pytest.raises(ValueError, match="the terms are residual, initial, boundary"):
        rule.init(TERMS)
