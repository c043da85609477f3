"""Rules that estimate every weight anew: NTK, GradNorm and EqualLosses, in NumPy and in steps."""

import math
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import poise
from nested import mlp, quick
from poise.losses import Model, Objective
from poise.optimizers import Adam, GaussNewton
from poise.points import Sobol
from poise.training.step import Step
from poise.weighting import NTK, EqualLosses, GradNorm, Signals

KINDS = [NTK, GradNorm, EqualLosses]
TERMS = ("residual", "initial", "boundary")

pytestmark = pytest.mark.usefixtures("x64")


def gradient_of(seed):
    """Layers with biases, and a coefficient: numbers of both signs."""
    random = np.random.default_rng(seed)
    layers = [(random.normal(size=(n, m)), random.normal(size=n)) for m, n in ((2, 5), (5, 1))]
    return {"layers": layers, "nu": random.normal()}


def measures(seed=0):
    """What the rules look at, in NumPy: losses and traces by term, gradients by term."""
    random = np.random.default_rng(seed)
    return {
        "losses": dict(zip(TERMS, random.uniform(0.1, 9, 3), strict=True)),
        "gradients": {n: gradient_of(10 * seed + i) for i, n in enumerate(TERMS)},
        "traces": dict(zip(TERMS, random.uniform(0.1, 900, 3), strict=True)),
    }


def signals_of(rule, measured, dtype="float64"):
    asked = {name: measured[name] for name in rule.needs}
    return Signals(**jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), asked))


def size_of(kind, measured, term):
    """The number that a rule makes equal for all terms, in NumPy."""
    if kind is GradNorm:
        leaves = jax.tree.leaves(measured["gradients"][term])
        return math.sqrt(sum(float(np.sum(np.square(leaf))) for leaf in leaves))
    return measured["traces" if kind is NTK else "losses"][term]


def estimate(kind, measured):
    sizes = {n: size_of(kind, measured, n) for n in measured["losses"]}
    return {n: sum(sizes.values()) / len(sizes) / s for n, s in sizes.items()}


def after(rule, *many, names=TERMS, dtype="float64"):
    """Weights after updates, and the state."""
    weights, state = rule.init(names, dtype)
    for measured in many:
        weights, state, _ = rule.update(state, signals_of(rule, measured, dtype))
    return {n: float(w) for n, w in weights.items()}, state


def assert_weights(found, expected, rel=1e-12):
    assert set(found) == set(expected)
    for name, weight in expected.items():
        assert found[name] == pytest.approx(weight, rel=rel), name


@pytest.mark.parametrize("kind", KINDS)
def test_weights_by_hand(kind):
    """Sizes 1, 2 and 5: their mean 8/3 over each. Norms: √(9+16), √(25+144), √(64+225)."""
    if kind is GradNorm:
        gradients = {
            "residual": {"weight": np.array([[3.0, 0.0]]), "bias": np.array([-4.0])},
            "initial": {"weight": np.array([[-5.0, 0.0]]), "bias": np.array([12.0])},
            "boundary": {"weight": np.array([[0.0, -8.0]]), "bias": np.array([-15.0])},
        }
        mean, sizes = 35 / 3, (5, 13, 17)
        signals = Signals(gradients=jax.tree.map(jnp.asarray, gradients))
    else:
        mean, sizes = 8 / 3, (1, 2, 5)
        numbers = {n: jnp.asarray(float(s)) for n, s in zip(TERMS, sizes, strict=True)}
        signals = Signals(traces=numbers) if kind is NTK else Signals(losses=numbers)
    rule = kind()
    weights, _, _ = rule.update(rule.init(TERMS)[1], signals)
    for name, size in zip(TERMS, sizes, strict=True):
        assert float(weights[name]) == pytest.approx(mean / size, rel=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_estimate_is_taken_whole_and_later_ones_are_averaged(kind):
    first, second = measures(1), measures(2)
    assert_weights(after(kind(), first)[0], estimate(kind, first))
    old, new = estimate(kind, first), estimate(kind, second)
    for ema in (0.0, 0.5, 0.9):
        expected = {n: ema * old[n] + (1 - ema) * new[n] for n in TERMS}
        assert_weights(after(kind(ema=ema), first, second)[0], expected)


@pytest.mark.parametrize("kind", KINDS)
def test_bounds_hold_after_the_average(kind):
    expected = estimate(kind, measures(1))
    least, middle, most = sorted(expected.values())
    low, high = (least + middle) / 2, (middle + most) / 2
    found, _ = after(kind(minimum=low, maximum=high), measures(1))
    assert_weights(found, {n: min(max(w, low), high) for n, w in expected.items()})
    assert {low, high} <= set(found.values())


@pytest.mark.parametrize("kind", KINDS)
def test_weights_go_with_names(kind):
    straight, turned = measures(1), measures(1)
    for part in turned.values():
        part["residual"], part["boundary"] = part["boundary"], part["residual"]
    found, other = after(kind(), straight)[0], after(kind(), turned)[0]
    assert found["residual"] == pytest.approx(other["boundary"], rel=1e-14)
    assert found["boundary"] == pytest.approx(other["residual"], rel=1e-14)
    assert found["initial"] == pytest.approx(other["initial"], rel=1e-14)
    reordered = after(kind(), straight, names=TERMS[::-1])[0]
    assert_weights(reordered, found, rel=1e-14)


@settings(max_examples=20, deadline=None)
@given(c=st.floats(1e-3, 1e3), kind=st.sampled_from(KINDS), seed=st.integers(0, 9))
def test_a_residual_times_c_has_its_weight_over_c_squared(c, kind, seed):
    """Loss, gradient and trace go with c²: the term's part of the weighted loss stays."""
    with jax.enable_x64(True):
        measured = measures(seed)
        before = after(kind(), measured)[0]
        for part in measured.values():
            part["initial"] = jax.tree.map(lambda leaf: c**2 * leaf, part["initial"])
        scaled = after(kind(), measured)[0]
    ratios = {n: before[n] / before["residual"] for n in TERMS}
    ratios["initial"] /= c**2
    assert_weights({n: scaled[n] / scaled["residual"] for n in TERMS}, ratios, rel=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_a_term_without_a_size_gets_a_finite_weight_and_so_do_all_together(kind):
    measured = measures(1)
    for part in measured.values():
        part["initial"] = jax.tree.map(lambda leaf: 0 * leaf, part["initial"])
    found, _ = after(kind(), measured)
    assert all(0 < w < 1e17 for w in found.values())
    assert found["initial"] > 1e10 * found["residual"]
    nothing = jax.tree.map(lambda leaf: 0 * np.asarray(leaf), measured)
    assert_weights(after(kind(), nothing)[0], dict.fromkeys(TERMS, 1.0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("factor", [0.0, 1.0])
def test_a_single_term_has_weight_one(kind, factor):
    measured = {name: {"initial": part["initial"]} for name, part in measures(1).items()}
    measured = jax.tree.map(lambda leaf: factor * np.asarray(leaf), measured)
    found, _ = after(kind(), measured, names=("initial",))
    assert_weights(found, {"initial": 1.0})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_leave_the_weights(kind, bad):
    good, broken = measures(1), measures(2)
    for part in broken.values():
        part["initial"] = jax.tree.map(lambda leaf: bad + 0 * leaf, part["initial"])
    if bad is np.nan:
        assert_weights(after(kind(), good, broken)[0], estimate(kind, good))
        # Nor do they count as the first estimate: the next one is taken whole.
        assert_weights(after(kind(), broken)[0], dict.fromkeys(TERMS, 1.0))
        assert_weights(after(kind(), broken, good)[0], estimate(kind, good))
    assert all(np.isfinite(w) for w in after(kind(), good, broken, good)[0].values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_scan_traces_once_keeps_the_dtype_and_equals_single_updates(kind, dtype):
    rule, traces = kind(ema=0.5), []
    signals = signals_of(rule, measures(1), dtype)
    _weights, state = rule.init(TERMS, dtype)

    @jax.jit
    def run(state, signals):
        traces.append(1)

        def update(state, _):
            weights, state, info = rule.update(state, signals)
            return state, (weights, info)

        return jax.lax.scan(update, state, length=3)

    state, (found, _) = run(state, signals)
    run(state, signals_of(rule, measures(2), dtype))
    assert len(traces) == 1
    assert {w.dtype for w in found.values()} == {np.dtype(dtype)}
    single = after(rule, *3 * [measures(1)], dtype=dtype)[0]
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    assert_weights({n: float(w[-1]) for n, w in found.items()}, single, rel=tolerance)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"every": 0}, "every=0"),
        ({"every": True}, "every=True"),
        ({"ema": 1.0}, "ema=1.0"),
        ({"ema": -0.1}, "ema=-0.1"),
        ({"ema": math.nan}, "ema=nan"),
        ({"minimum": -1.0}, "minimum=-1.0"),
        ({"minimum": 3.0, "maximum": 2.0}, "minimum=3.0, maximum=2.0"),
        ({"maximum": math.nan}, "minimum=0.0, maximum=nan"),
    ],
)
def test_bad_settings_are_refused_by_name(kind, options, words):
    with pytest.raises(ValueError, match="must") as caught:
        kind(**options)
    assert f"{kind.__name__}({words}" in str(caught.value)


def test_a_rule_says_how_often_it_looks():
    assert [kind(every=7).interval for kind in KINDS] == [7, 7, 7]


# In a training step


@cache
def first_step(kind, newton):
    """A step's weights at the start, and the Jacobian of the rows by JAX."""
    problem = poise.Problem(
        {"t": (0, 1), "x": (0, 1)},
        ["u"],
        {
            "residual": poise.interior(lambda u: u.t - 0.1 * u.xx),
            "initial": poise.initial(lambda u, x: u - jnp.sin(3 * x)),
            "boundary": poise.boundary(lambda u: 5 * u),
        },
    )
    samplers = {n: Sobol(8 - i, fresh=False) for i, n in enumerate(TERMS)}
    objective = Objective(problem, samplers, jax.random.key(0), np.float64)
    optimizer = GaussNewton() if newton else Adam(1e-3)
    step = Step(objective, kind(every=3), optimizer, Model(mlp(jnp.tanh, 1, outputs=1), {}))
    state = step.init(jax.random.key(1))
    found, progress = quick(step)(state)
    points = step.points(state)
    jacobian = quick(jax.jacrev(step.rows))(state.params, points)
    rows = quick(step.rows)(state.params, points)
    weights = {n: float(w) for n, w in found.weights.items()}
    return weights, np.asarray(jacobian), np.asarray(rows), step.rows.terms, progress, step


@pytest.mark.parametrize(
    ("kind", "newton"), [(NTK, False), (NTK, True), (GradNorm, True), (EqualLosses, True)]
)
def test_weights_of_a_step_are_those_of_the_whole_jacobian(kind, newton):
    weights, jacobian, rows, terms, progress, _ = first_step(kind, newton)
    sizes = {}
    for index, name in enumerate(TERMS):
        own, values = jacobian[terms == index], rows[terms == index]
        sizes[name] = {
            NTK: np.sum(own**2),
            GradNorm: np.linalg.norm(2 * own.T @ values),
            EqualLosses: np.sum(values**2),
        }[kind]
    expected = {n: np.mean(list(sizes.values())) / s for n, s in sizes.items()}
    assert_weights(weights, expected, rel=1e-10)
    total = sum(weights[n] * np.sum(rows[terms == i] ** 2) for i, n in enumerate(TERMS))
    assert float(progress.loss) == pytest.approx(total, rel=1e-10)


def test_a_tangent_kernel_from_random_vectors():
    """With Adam the traces are estimated; where the Jacobian is at hand they stay exact."""
    exact = first_step(NTK, False)[0]
    rough = first_step(partial(NTK, probes=2000), False)[0]
    assert rough != exact
    assert_weights(rough, exact, rel=0.1)
    assert_weights(first_step(partial(NTK, probes=1), True)[0], exact, rel=1e-12)
    for bad in (0, -3, True):
        with pytest.raises(ValueError, match="probes="):
            NTK(probes=bad)


def test_the_tangent_kernel_is_that_of_the_parameters_whatever_the_optimizer():
    adam, newton = first_step(NTK, False), first_step(NTK, True)
    assert not adam[-1]._whole and newton[-1]._whole  # by traces alone, and by the Jacobian
    assert_weights(adam[0], newton[0], rel=1e-12)
