"""Weights of single residuals: against NumPy, and inside training steps."""

import inspect
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import poise
from poise.optimizers import LBFGS, Adam, GaussNewton, Optax
from poise.points import Adaptive, Sobol, Uniform
from poise.training.checkpoint import Checkpoints
from poise.training.loop import Limits
from poise.training.recipe import Recipe
from poise.training.run import prepare
from poise.weighting import Causal, Fixed, Pointwise, ResidualAttention, SelfAdaptive
from poise.weighting.pointwise import TermRows

pytestmark = pytest.mark.usefixtures("x64")

RULES = [ResidualAttention(), SelfAdaptive(), Causal()]


def test_every_public_rule_of_points_is_tested_here():
    public = {
        kind
        for kind in vars(poise.weighting).values()
        if isinstance(kind, type) and issubclass(kind, Pointwise) and not inspect.isabstract(kind)
    }
    assert public == {type(rule) for rule in RULES}


SIZES = {"residual": 6, "boundary": 3}


def rows_of(seed, renewed=False, unit=1.0):
    random = np.random.default_rng(seed)
    return {
        name: TermRows(
            jnp.asarray(unit * random.normal(size=size)),
            {"t": jnp.linspace(0, 1, size), "x": jnp.zeros(size)},
            jnp.full(size, renewed),
        )
        for name, size in SIZES.items()
    }


def begun(rule):
    return rule.begin(SIZES, ("residual",), jnp.float64)


def test_residual_attention_by_hand():
    rule = ResidualAttention(gamma=0.9, eta=0.1)
    first, second = rows_of(0), rows_of(1)
    emphasis, memory = rule.emphasize(first, begun(rule))
    again, _ = rule.emphasize(second, memory)
    assert set(again) == set(SIZES)
    for name in SIZES:
        sizes, later = (np.abs(rows[name].residuals) for rows in (first, second))
        alpha = 0.1 * sizes / sizes.max()
        np.testing.assert_allclose(emphasis[name], alpha**2, rtol=1e-14)
        alpha = 0.9 * alpha + 0.1 * later / later.max()
        np.testing.assert_allclose(again[name], alpha**2, rtol=1e-14)


@given(unit=st.floats(1e-100, 1e100))
@settings(max_examples=20, deadline=None)
def test_residual_attention_does_not_depend_on_a_unit(unit):
    with jax.enable_x64(True):
        rule = ResidualAttention()
        plain, _ = rule.emphasize(rows_of(0), begun(rule))
        other, _ = rule.emphasize(rows_of(0, unit=unit), begun(rule))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), plain, other)


def test_attention_has_a_bound():
    rule = ResidualAttention(gamma=0.9, eta=0.1)
    memory = begun(rule)
    for _ in range(200):
        emphasis, memory = rule.emphasize(rows_of(0), memory)
    assert np.max(emphasis["residual"]) == pytest.approx(1.0)  # (0.1 / (1 - 0.9))²


def test_self_adaptive_by_hand():
    """Adam's first step is the rate, whatever the slope; the second from its moments."""
    rule = SelfAdaptive(learning_rate=0.1, terms=("residual",))
    first, second = rows_of(0)["residual"], rows_of(1)["residual"]
    emphasis, memory = rule.emphasize({"residual": first}, begun(rule))
    assert set(emphasis) == {"residual"}
    np.testing.assert_allclose(emphasis["residual"], 1.1**2, rtol=1e-6)
    again, _ = rule.emphasize({"residual": second}, memory)
    slopes = [2 * a * np.asarray(r.residuals) ** 2 / 6 for a, r in ((1.0, first), (1.1, second))]
    mean = (0.9 * 0.1 * slopes[0] + 0.1 * slopes[1]) / (1 - 0.9**2)
    square = (0.999 * 0.001 * slopes[0] ** 2 + 0.001 * slopes[1] ** 2) / (1 - 0.999**2)
    alpha = 1.1 + 0.1 * mean / (np.sqrt(square) + 1e-8)
    np.testing.assert_allclose(again["residual"], alpha**2, rtol=1e-6)


def test_points_drawn_anew_get_the_mean():
    for rule in (ResidualAttention(start=1.0), SelfAdaptive()):
        memory = begun(rule)
        for seed in range(4):
            _, memory = rule.emphasize(rows_of(seed), memory)
        alpha = (memory[0] if isinstance(rule, SelfAdaptive) else memory)["residual"]
        renewed = jnp.arange(6) < 2
        still = {
            name: rows._replace(residuals=jnp.zeros_like(rows.residuals))
            for name, rows in rows_of(9).items()
        }
        still["residual"] = still["residual"]._replace(renewed=renewed)
        emphasis, after = rule.emphasize(still, memory)
        if isinstance(rule, ResidualAttention):
            expected = 0.999 * np.where(renewed, np.mean(alpha), alpha)
            np.testing.assert_allclose(np.sqrt(emphasis["residual"]), expected, rtol=1e-12)
        else:  # no slope and no momentum: the new ones stay where they begin
            found = np.sqrt(emphasis["residual"])
            np.testing.assert_allclose(found[:2], np.mean(alpha), rtol=1e-12)
            moments = after[1][0].mu["residual"]
            assert not np.any(moments[:2]) and np.all(moments[2:])


def causal_weights(times, residuals, chunks, epsilon):
    chunk = np.minimum((times * chunks).astype(int), chunks - 1)
    losses = np.array([np.mean(residuals[chunk == i] ** 2) for i in range(chunks)])
    before = np.concatenate([[0], np.cumsum(losses)[:-1]])
    if epsilon is None:
        epsilon = 1 / before[-1]
    return np.exp(-epsilon * before)[chunk], epsilon


def test_causal_by_hand():
    random = np.random.default_rng(0)
    times = random.permutation(np.linspace(0, 1, 40))
    rule = Causal(chunks=4)
    memory = rule.begin({"residual": 40, "initial": 5}, ("residual",), jnp.float64)
    epsilon = None
    for scale in (1.0, 0.7):
        residuals = scale * random.normal(size=40)
        rows = TermRows(jnp.asarray(residuals), {"t": jnp.asarray(times)}, jnp.zeros(40, bool))
        emphasis, memory = rule.emphasize({"residual": rows}, memory)
        expected, epsilon = causal_weights(times, residuals, 4, epsilon)
        np.testing.assert_allclose(emphasis["residual"], expected, rtol=1e-12)
        assert set(emphasis) == {"residual"}
    # What is early is never held back, and what is later always more.
    order = np.argsort(times)
    assert emphasis["residual"][order[0]] == 1
    assert np.all(np.diff(emphasis["residual"][order]) <= 0)


@given(unit=st.floats(1e-60, 1e60))
@settings(max_examples=20, deadline=None)
def test_causal_weights_do_not_depend_on_a_unit(unit):
    with jax.enable_x64(True):
        rule = Causal(chunks=3)
        plain, _ = rule.emphasize(rows_of(0), begun(rule))
        other, _ = rule.emphasize(rows_of(0, unit=unit), begun(rule))
        np.testing.assert_allclose(plain["residual"], other["residual"], rtol=1e-10)


def test_epsilon_rises_as_the_loss_falls():
    rule = Causal(chunks=3, delta=0.9, factor=10.0, largest=100.0)
    memory = begun(rule)
    seen = []
    for power in range(8):
        emphasis, memory = rule.emphasize(rows_of(0, unit=10.0**-power), memory)
        seen.append(float(memory["residual"].epsilon / memory["residual"].first))
        assert np.min(emphasis["residual"]) > 0.3
    assert seen == pytest.approx([1, 10, 100, 100, 100, 100, 100, 100])


def test_chunks_without_points_and_times_without_length():
    rule = Causal(chunks=50)
    emphasis, _ = rule.emphasize(rows_of(0), begun(rule))
    assert np.all(np.isfinite(emphasis["residual"]))
    same = rows_of(0)["residual"]._replace(coordinates={"t": jnp.ones(6)})
    emphasis, _ = rule.emphasize({"residual": same}, begun(rule))
    np.testing.assert_array_equal(emphasis["residual"], 1)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_residuals_that_vanish(rule, dtype):
    memory = rule.begin(SIZES, ("residual",), dtype)
    rows = jax.tree.map(
        lambda leaf: leaf if leaf.dtype == bool else jnp.zeros_like(leaf, dtype), rows_of(0)
    )
    emphasis, after = jax.jit(rule.emphasize)(rows, memory)
    for values in emphasis.values():
        assert values.dtype == dtype
        assert np.all(np.isfinite(values))
    assert jax.tree.structure(after) == jax.tree.structure(memory)
    jax.tree.map(lambda a, b: pytest.fail("dtype") if a.dtype != b.dtype else None, after, memory)


def weighed(rule, seeds, renewed=()):
    """mᵢ of the residual at each of several steps; points of the last are drawn anew."""
    state, found = rule.prepare(SIZES, ("residual",), jnp.float64), []
    for seed in seeds:
        rows = {name: rows_of(seed)[name] for name in rule.chosen(SIZES, ("residual",))}
        if seed == seeds[-1]:
            fresh = jnp.isin(jnp.arange(6), jnp.asarray(renewed, int))
            rows["residual"] = rows["residual"]._replace(renewed=fresh)
        emphasis, state = jax.jit(rule.weigh)(rows, state)
        found.append(np.asarray(emphasis["residual"]))
    return found


@pytest.mark.parametrize("rule", RULES)
def test_a_warmup_has_all_at_one_while_the_rule_looks_on(rule):
    plain = weighed(rule, (0, 1, 2))
    late = weighed(replace(rule, warmup=2), (0, 1, 2))
    np.testing.assert_array_equal(late[:2], np.ones((2, 6)))
    np.testing.assert_allclose(late[2], plain[2], rtol=1e-14)
    assert np.any(plain[1] != 1)


@pytest.mark.parametrize("rule", [ResidualAttention(), SelfAdaptive()])
def test_frozen_points_keep_their_weights_and_new_ones_have_the_mean(rule):
    plain = weighed(rule, (0, 1))
    held = weighed(replace(rule, freeze=2), (0, 1, 2, 3), renewed=(4, 5))
    np.testing.assert_array_equal(held[1], plain[1])
    np.testing.assert_array_equal(held[2], plain[1])
    np.testing.assert_array_equal(held[3][:4], plain[1][:4])
    np.testing.assert_allclose(held[3][4:], plain[1].mean(), rtol=1e-14)
    assert np.all(weighed(replace(rule, freeze=0), (0, 1))[1] == 1)


def test_a_frozen_causal_rule_keeps_epsilon():
    """Its points come and go: mᵢ follow the residuals, at the ε that there was."""
    rule = Causal(chunks=3, delta=0.1, freeze=2)
    state, epsilons = rule.prepare(SIZES, ("residual",), jnp.float64), []
    for power in range(5):
        rows = {"residual": rows_of(0, unit=10.0**-power)["residual"]}
        emphasis, state = rule.weigh(rows, state)
        epsilons.append(float(state.memory["residual"].epsilon / state.memory["residual"].first))
    assert epsilons == pytest.approx([10, 100, 100, 100, 100])
    assert len(np.unique(emphasis["residual"])) > 1
    # Frozen from the start, ε is that of the first step.
    rule = replace(rule, freeze=0)
    state = rule.prepare(SIZES, ("residual",), jnp.float64)
    rows = {"residual": rows_of(0)["residual"]}
    _, first = rule.weigh(rows, state)
    _, second = rule.weigh({"residual": rows_of(1)["residual"]}, first)
    assert float(first.memory["residual"].first) > 0
    jax.tree.map(np.testing.assert_array_equal, second.memory, first.memory)


def test_a_rule_that_forgets_a_term_is_told():
    class Forgetful(ResidualAttention):
        def emphasize(self, rows, memory):
            found, memory = super().emphasize(rows, memory)
            return {"residual": found["residual"]}, memory

    rule = Forgetful()
    state = rule.prepare(SIZES, ("residual",), jnp.float64)
    with pytest.raises(ValueError, match="gave weights for residual; expected residual, boundary"):
        rule.weigh(rows_of(0), state)


@pytest.mark.parametrize("rule", RULES)
def test_bounds_hold_at_every_point(rule):
    plain = weighed(rule, (0, 1, 2))[2]
    low, high = np.quantile(plain, [0.3, 0.6])
    found = weighed(replace(rule, minimum=float(low), maximum=float(high)), (0, 1, 2))[2]
    np.testing.assert_allclose(found, np.clip(plain, low, high), rtol=1e-14)


# In a step

TINY = Recipe(
    "tiny",
    network=poise.networks.MLP(4, 1),
    points=Adaptive(12, every=3),
    steps=6,
    dtype="float64",
    record_every=2,
)


def loop_with(problem, **changes):
    return prepare(problem, replace(TINY, **changes), 0)


def expected_emphasis(loop):
    """The rule on residuals that are computed apart, in plain order."""
    step, state = loop.step, loop.state
    points = step.points(state)
    parts = step.objective.residuals(step.model(state.params), points)
    rows = {}
    for term, blocks in parts.items():
        places = [np.tile(p, (1, len(part))) for p, part in zip(points[term], blocks, strict=True)]
        where = np.concatenate(places, axis=1)
        values = np.concatenate([np.asarray(part).ravel() for part in blocks])
        names = step.objective.problem.coordinates
        coordinates = {n: jnp.asarray(x) for n, x in zip(names, where, strict=True)}
        rows[term] = TermRows(jnp.asarray(values), coordinates, jnp.zeros(values.size, bool))
    chosen = step.weighting.chosen(step.rows.sizes, ("residual",))
    emphasis, _ = step.weighting.weigh({name: rows[name] for name in chosen}, state.weighting)
    return emphasis, parts


@pytest.mark.parametrize("rule", RULES)
def test_a_first_order_step_goes_down_the_emphasized_loss(klein_gordon, rule):
    loop = loop_with(klein_gordon, weighting=rule, optimizer=Optax(optax.sgd(0.01)))
    emphasis, _ = expected_emphasis(loop)
    points = loop.step.points(loop.state)

    def loss(params):
        parts = loop.step.objective.residuals(loop.step.model(params), points)
        total = 0.0
        for term, blocks in parts.items():
            start = 0
            for part in blocks:
                own = emphasis.get(term, jnp.ones(10**4))[start : start + part.size]
                total += jnp.sum(own.reshape(part.shape) * part**2) / part.shape[1]
                start += part.size
        return total

    after, progress = jax.jit(loop.step)(loop.state)
    expected = loop.state.params - 0.01 * jax.grad(loss)(loop.state.params)
    np.testing.assert_allclose(after.params, expected, rtol=1e-9, atol=1e-12)
    assert float(progress.loss) == pytest.approx(float(loss(loop.state.params)))
    # What is shown is without emphasis.
    losses, _ = loop.step.signals(loop.state)
    for term, value in losses.items():
        assert float(progress.losses[term]) == pytest.approx(float(value))


@pytest.mark.parametrize("rule", RULES)
def test_rows_are_those_of_the_emphasized_loss(klein_gordon, rule):
    """What Gauss-Newton sees: a step is the same as with rows that are weighted by hand."""
    seen = {}

    class Noting(GaussNewton):
        def step(self, params, state, view):
            seen["rows"], seen["residual"] = view.rows(params), view.residual
            seen["jacobian"], seen["changed"] = view.jacobian, view.changed
            slope = jax.jacfwd(view.rows)(params)
            np.testing.assert_allclose(view.jacobian, slope, rtol=1e-9, atol=1e-11)
            return params, state, {}

    loop = loop_with(klein_gordon, weighting=rule, optimizer=Noting())
    emphasis, parts = expected_emphasis(loop)
    _, progress = loop.step(loop.state)
    expected = []
    for term, blocks in parts.items():
        values = np.concatenate([np.asarray(p / np.sqrt(p.shape[1])).ravel() for p in blocks])
        expected.append(values * np.sqrt(emphasis.get(term, np.ones(values.size))))
    np.testing.assert_allclose(seen["rows"], np.concatenate(expected), rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(seen["residual"], seen["rows"], rtol=1e-12)
    assert bool(seen["changed"])
    assert float(progress.loss) == pytest.approx(float(jnp.sum(seen["rows"] ** 2)))


@pytest.mark.parametrize("optimizer", [Adam(), GaussNewton(), LBFGS()])
@pytest.mark.parametrize("rule", RULES)
def test_steps_can_be_grouped_and_resumed(klein_gordon, rule, optimizer, tmp_path):
    def fresh():
        loop = loop_with(klein_gordon, weighting=rule, optimizer=optimizer)
        loop.compile()
        return loop

    whole = fresh()
    whole.run()
    part = fresh()
    part.run(limits=Limits(last=4))  # a redrawing lies behind it
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    part.save(checkpoints)
    again = fresh()
    assert again.restore(checkpoints)
    again.run()
    checkpoints.close()
    jax.tree.map(np.testing.assert_array_equal, whole.state, again.state)
    assert np.all(np.isfinite(whole.state.params))


def test_redrawn_points_are_noticed(klein_gordon):
    noticed = []

    class Noting(Causal):
        def emphasize(self, rows, memory):
            jax.debug.callback(lambda n: noticed.append(int(n)), jnp.sum(rows["residual"].renewed))
            return super().emphasize(rows, memory)

    loop = loop_with(klein_gordon, weighting=Noting(), optimizer=Adam())
    loop.compile()
    loop.run()
    jax.effects_barrier()
    assert noticed == [0, 0, 0, 6, 0, 0], "half of 12 points, at step 3"


def test_more_points_are_begun_with_afresh(klein_gordon):
    """As `solve` does where a network stalls."""
    for rule in RULES:
        few = loop_with(klein_gordon, weighting=rule, optimizer=GaussNewton())
        few.compile()
        few.run(limits=Limits(last=2))
        recipe = replace(TINY, weighting=rule, optimizer=GaussNewton(), points=Adaptive(20))
        many = prepare(klein_gordon, recipe, 0, few)
        many.begin_from(few.state.params, few)
        many.compile()
        many.run(limits=Limits(last=4))
        assert many.taken == 4
        assert np.all(np.isfinite(many.state.params))


# Before training


@pytest.mark.parametrize("rule", [ResidualAttention(), SelfAdaptive()])
def test_points_that_do_not_stay_are_refused(klein_gordon, rule):
    with pytest.raises(ValueError, match="remembers something for each point, and those of the"):
        loop_with(klein_gordon, weighting=rule, points=Uniform(8))
    mixed = {name: Sobol(8, fresh=name != "residual") for name in klein_gordon.terms}
    loop_with(klein_gordon, weighting=replace(rule, terms=("residual",)), points=mixed)
    loop_with(klein_gordon, weighting=Causal(), points=Uniform(8))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ResidualAttention(gamma=1.0), r"gamma=1\.0"),
        (lambda: ResidualAttention(eta=0.0), r"eta=0\.0"),
        (lambda: ResidualAttention(start=-1.0), r"start=-1\.0"),
        (lambda: SelfAdaptive(learning_rate=0.0), r"learning_rate=0\.0"),
        (lambda: Causal(chunks=1), "chunks=1"),
        (lambda: Causal(delta=1.0), r"delta=1\.0"),
        (lambda: Causal(factor=1.0), r"factor=1\.0"),
        (lambda: Causal(largest=0.5), r"largest=0\.5"),
        (lambda: Causal(freeze=-1), "freeze=-1"),
        (lambda: SelfAdaptive(warmup=True), "warmup=True"),
        (lambda: ResidualAttention(minimum=2.0, maximum=1.0), r"minimum=2\.0, maximum=1\.0"),
        (lambda: Causal(terms="residual"), r"give several, as \('residual',\)"),
    ],
)
def test_settings_out_of_range(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_names_that_do_not_exist(klein_gordon):
    with pytest.raises(ValueError, match="no loss term 'bulk'"):
        loop_with(klein_gordon, weighting=Causal(terms=("bulk",)))
    with pytest.raises(ValueError, match="no such coordinate; the coordinates are t, x"):
        loop_with(klein_gordon, weighting=Causal(coordinate="y"))


def test_a_jacobian_that_does_not_fit(klein_gordon):
    small = GaussNewton(memory_gb=0.3)
    large = {"network": poise.networks.MLP(30, 2), "points": Adaptive(3000), "optimizer": small}
    loop = loop_with(klein_gordon, weighting=Causal(), **large)
    with pytest.raises(ValueError, match="too small to hold their Jacobian"):
        loop.compile()
    loop_with(klein_gordon, weighting=Fixed(), **large)
