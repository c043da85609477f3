"""Training from problem to solution: it learns, it repeats, it stops in order, it can go on."""

import json
import math
import os
import signal
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray

import poise
from poise import runs
from poise.optimizers import Adam
from poise.points import Sobol
from poise.precision import working_in
from poise.training.recipe import Recipe, rebuild_recipe
from poise.training.run import prepare, run
from poise.training.selection import Best, criterion
from poise.weighting import Annealing, Fixed

TINY = Recipe("tiny", network=poise.networks.MLP(8, 2), points=16, steps=40, record_every=10)


def poisson(**changes):
    """u'' = -π² sin πx on (-1, 1), u = 0 at the ends: u = sin πx."""
    settings = {
        "coordinates": {"x": (-1, 1)},
        "fields": ["u"],
        "terms": {
            "residual": poise.interior(lambda u, x: u.xx + jnp.pi**2 * jnp.sin(jnp.pi * x)),
            "boundary": poise.boundary(lambda u: u),
        },
        "exact": {"u": lambda x: jnp.sin(jnp.pi * x)},
        "grid": 50,
    }
    return poise.Problem(**{**settings, **changes})


def train(problem=None, recipe=TINY, *, seed=1234, watch=None, **options):
    return run(problem or poisson(), recipe, seed=seed, display=watch, **options)


class Watch:
    """Stands where a display stands; does something when a number of steps has been taken."""

    def __init__(self, at, action):
        self.at, self.action, self.done = at, action, False
        self.first = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def say(self, text):
        pass

    def update(self, taken, row):
        self.first = self.first or taken
        if taken >= self.at and not self.done:
            self.done = True
            self.action()


def ctrl_c(at):
    return Watch(at, lambda: os.kill(os.getpid(), signal.SIGINT))


def parameters(solution):
    return [np.asarray(a) for a in jax.tree.leaves(solution.model) if eqx.is_array(a)]


def assert_same_history(one, other):
    assert list(one) == list(other)
    for name in one:
        if name != "seconds":
            assert one[name].tobytes() == other[name].tobytes(), name


def assert_same_parameters(one, other):
    for a, b in zip(parameters(one), parameters(other), strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.fixture(scope="module")
def solved():
    """A run that has learned its problem, float64."""
    recipe = replace(
        TINY,
        points=Sobol(16),
        optimizer=Adam(1e-2, 0.5, 300),
        network=poise.networks.MLP(8, 2, jnp.sin),
        steps=600,
        dtype="float64",
    )
    return train(recipe=recipe, seed=0)


@pytest.fixture(scope="module")
def tiny():
    return train()


# --- Learning --------------------------------------------------------------------------------


def test_the_error_falls(solved):
    assert solved.status == "budget spent"
    assert solved.message == "all 600 steps were taken"
    assert solved.best_relative_l2["u"] < 0.02
    assert solved.history["error.u"][0] > 20 * solved.best_relative_l2["u"]
    assert solved.history["loss"][-1] < 1e-2 * solved.history["loss"][0]


def test_relative_error_is_that_of_the_chosen_parameters_on_the_stated_grid(solved):
    x = np.linspace(-1, 1, 50)
    exact = np.sin(np.pi * x)
    error = np.linalg.norm(solved(x=x).u - exact) / np.linalg.norm(exact)
    assert solved.best_relative_l2["u"] == pytest.approx(error, rel=1e-10)
    row = solved.history["step"].tolist().index(solved.metrics["best_step"])
    assert solved.history["error.u"][row] == pytest.approx(error, rel=1e-10)
    assert solved.history["error.u"][-1] == solved.relative_l2["u"]
    assert solved.metrics["lowest_relative_l2"]["u"] == solved.history["error.u"].min()
    np.testing.assert_allclose(solved.fields["u"], solved(x=x).u, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(solved.fields["u_exact"], exact, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(
        solved.fields["u_error"], np.abs(solved(x=x).u - exact), rtol=1e-9, atol=1e-13
    )


def test_history_has_a_row_every_interval_and_at_the_end():
    steps = train(recipe=replace(TINY, steps=25)).history["step"]
    assert steps.tolist() == [10, 20, 25]


def test_the_interval_defaults_to_a_two_hundredth():
    assert Recipe(steps=40_001).interval == 200
    assert Recipe(steps=50).interval == 1
    assert Recipe(steps=1000, record_every=7).interval == 7


def measured():
    """u'' = -k sin x with u = 2 sin x measured: k = 2."""
    x = np.linspace(0, np.pi, 20)
    problem = poise.Problem(
        {"x": (0, np.pi)},
        ["u"],
        {
            "residual": poise.interior(lambda u, x, k: u.xx + k * jnp.sin(x)),
            "data": poise.data({"x": x, "u": 2 * np.sin(x)}),
        },
        coefficients={"k": 1.0},
        grid=20,
    )
    recipe = replace(
        TINY, weighting=Fixed({"data": 10.0}), optimizer=Adam(1e-2, 0.5, 300), dtype="float64"
    )
    return problem, recipe


def test_an_unknown_coefficient_is_recovered():
    problem, recipe = measured()
    solution = train(problem, replace(recipe, steps=1200), seed=0)
    assert solution.coefficients["k"] == pytest.approx(2.0, abs=0.1)
    assert solution.relative_l2 == solution.best_relative_l2 == {}
    assert set(solution.fields) == {"u"}
    assert solution.metrics["parameters"] == 8 + 8 + 64 + 8 + 8 + 1 + 1


def test_the_data_term_is_the_mean_square_of_the_misfit():
    problem, recipe = measured()
    row = train(problem, replace(recipe, steps=1, record_every=1), seed=0).history
    x = np.linspace(0, np.pi, 20)
    with jax.enable_x64(True):
        loop = prepare(problem, recipe, 0)
        network = loop.step.model(loop.state.params).network
        misfit = np.asarray(jax.vmap(network)(jnp.asarray(x)[:, None]))[:, 0] - 2 * np.sin(x)
    assert row["loss.data"][0] == pytest.approx(np.mean(misfit**2), rel=1e-12)
    assert row["loss"][0] == pytest.approx(row["loss.residual"][0] + 10 * row["loss.data"][0])


def test_loss_is_the_weighted_sum_of_its_terms(solved):
    rows = solved.history
    total = sum(rows[f"weight.{t}"] * rows[f"loss.{t}"] for t in ("residual", "boundary"))
    np.testing.assert_allclose(rows["loss"], total, rtol=1e-12)
    assert solved.weights == {t: rows[f"weight.{t}"][-1] for t in ("residual", "boundary")}
    assert rows["weight.boundary"][-1] != 1.0


# --- Seeds, precision, grouping --------------------------------------------------------------


def test_another_seed_gives_other_numbers(tiny):
    other = train(seed=1235)
    assert not np.array_equal(other.history["loss"], tiny.history["loss"])


def test_fixed_points_stay_and_fresh_points_change():
    for sampler in (poise.points.Uniform, Sobol):
        for fresh in (True, False):
            recipe = replace(TINY, points=sampler(16, fresh))
            objective = prepare(poisson(), recipe, 0).step.objective
            one, other = (objective.sample(jax.random.PRNGKey(k)) for k in (1, 2))
            same = np.array_equal(one["residual"][0], other["residual"][0])
            assert same is not fresh


def test_a_float32_run_is_float32_whatever_the_process_uses(tiny):
    with jax.enable_x64(True):
        solution = train()
        prediction = solution(x=np.float64(0.3))
        assert jnp.zeros(()).dtype == "float64", "the run must not change the process"
    for each in (solution, tiny):
        assert {a.dtype.name for a in parameters(each)} == {"float32"}
    assert prediction.u.value.dtype == prediction.u.xx.dtype == np.float32
    assert_same_history(solution.history, tiny.history)


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_precision_belongs_to_the_run(outside, dtype):
    """A stray float64 of NumPy in a residual does not turn a float32 run into another."""
    with jax.enable_x64(outside):
        with working_in(dtype):
            assert (np.float64(2) * jnp.ones(3, dtype)).dtype == dtype
            assert jnp.zeros(()).dtype == dtype
        assert jnp.zeros(()).dtype == ("float64" if outside else "float32")


def test_float64_derivatives_are_good_to_more_than_seven_digits(solved):
    """Central differences with h = 1e-4: exact to h² = 1e-8, which float32 cannot show."""
    assert {a.dtype.name for a in parameters(solved)} == {"float64"}
    x, h = np.linspace(-0.9, 0.9, 7), 1e-4
    at, left, right = solved(x=x), solved(x=x - h), solved(x=x + h)
    scale = np.abs(at.u.xx).max()
    np.testing.assert_allclose(at.u.x, (right.u - left.u) / (2 * h), rtol=0, atol=2e-8 * scale)
    np.testing.assert_allclose(at.u.xx, (right.u.x - left.u.x) / (2 * h), rtol=0, atol=5e-8 * scale)
    np.testing.assert_allclose(at.u.laplacian, at.u.xx, rtol=0, atol=0)
    with jax.enable_x64(True):
        network = solved.model.network
        second = jax.vmap(jax.hessian(lambda p: network(p)[0]))(jnp.asarray(x)[:, None])
    np.testing.assert_allclose(at.u.xx, np.asarray(second)[:, 0, 0], rtol=1e-11, atol=1e-11)


def test_how_steps_are_grouped_does_not_matter():
    loop = prepare(poisson(), TINY, 7)
    advance = jax.jit(loop.step.advance)

    def after(*groups):
        state = loop.state
        for count in groups:
            state, progress = advance(state, jnp.int32(count))
        return jax.tree.leaves((state, progress))

    once = after(23)
    for groups in ([1] * 23, [10, 1, 12], [23, 0][:1]):
        for a, b in zip(once, after(*groups), strict=True):
            assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


# --- Numbers that are not finite -------------------------------------------------------------


def test_a_residual_that_is_nan_somewhere_is_named_with_its_point(tmp_path):
    wall = 0.98
    problem = poisson(
        terms={
            "residual": poise.interior(lambda u, x: u.xx + jnp.where(x > wall, jnp.nan, 0.0)),
            "boundary": poise.boundary(lambda u: u),
        }
    )
    loop = prepare(problem, TINY, 3)
    for first in range(1, 41):
        key = jax.random.fold_in(loop.state.key, first - 1)
        x = np.asarray(loop.step.objective.sample(key)["residual"][0][0])
        if (x > wall).any():
            break
    assert 3 < first < 40, "the seed must not fail at once"
    solution = train(problem, seed=3, out=tmp_path / "run", checkpoint_seconds=0)
    assert solution.status == "diverged"
    point, count = f"x = {x[x > wall][0]:.6g}", (x > wall).sum()
    assert solution.message == (
        f"the loss of term 'residual' became nan at step {first}, at {count} of 16 points, "
        f"first at {point}; "
        f"the parameters of step {first - 1}, all finite, are kept"
    )
    assert solution.metrics["steps"] == first - 1
    assert all(np.isfinite(a).all() for a in parameters(solution))
    # The state kept is the one that a run of as many steps ends with.
    advance = jax.jit(loop.step.advance)
    kept, failed = advance(loop.state, jnp.int32(40))
    expected, fine = advance(loop.state, jnp.int32(first - 1))
    assert not failed.finite and fine.finite
    for a, b in zip(jax.tree.leaves(kept), jax.tree.leaves(expected), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    # Everything is saved, and the message is on disk.
    saved = runs.read(tmp_path / "run")
    assert saved.metrics["message"] == solution.message
    assert saved.finished


def test_a_learning_rate_far_too_large(tmp_path):
    """Before any row of the history, and with checkpoints."""
    recipe = replace(TINY, optimizer=Adam(1e30))
    solution = train(recipe=recipe, out=tmp_path / "run")
    assert solution.status == "diverged"
    assert "at step 2 " in solution.message
    assert "'residual'" in solution.message or "'boundary'" in solution.message
    assert "squares overflow" in solution.message
    assert all(np.isfinite(a).all() for a in parameters(solution))
    assert solution.metrics["best_step"] == 1
    metrics = json.loads((tmp_path / "run" / runs.METRICS).read_text())
    assert metrics["status"] == "diverged"
    assert metrics["best_held_out"] is None
    assert "diverged" in repr(solution)


def test_a_gradient_that_is_not_finite():
    """The value is fine, its derivative is not: the branch that is not taken leaks NaN."""
    problem = poisson(
        terms={
            "residual": poise.interior(lambda u: u.xx + 1),
            "odd": poise.boundary(lambda u: jnp.where(u < 99, u, jnp.sqrt(-1 - u**2))),
        }
    )
    solution = train(problem)
    assert solution.status == "diverged"
    assert "the gradient of term 'odd' is not finite at step 1" in solution.message


def test_an_update_that_is_not_finite():
    recipe = replace(
        TINY, optimizer=poise.optimizers.Optax(optax.sgd(lambda n: jnp.where(n < 12, 0.0, jnp.inf)))
    )
    solution = train(recipe=recipe)
    assert solution.status == "diverged"
    assert "the update of step 13 was not finite" in solution.message
    assert solution.metrics["steps"] == 12


# --- Interruption ----------------------------------------------------------------------------


@pytest.mark.parametrize("at", [1, 20])
def test_ctrl_c_saves_everything_and_resume_ends_at_the_same_numbers(tmp_path, tiny, at):
    """Before the first row of the history, and at a row."""
    folder = tmp_path / "run"
    stopped = train(watch=ctrl_c(at), out=folder)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert stopped.status == "interrupted"
    assert at <= stopped.metrics["steps"] < 40
    assert stopped.message == f"stopped by the user at step {stopped.metrics['steps']}"
    found = runs.read(folder)
    assert found.metrics["status"] == "interrupted"
    assert not found.finished
    assert len(found.history["step"]) == stopped.metrics["steps"] // 10
    assert xarray.testing.assert_identical(found.solution, stopped.fields) is None

    watch = Watch(0, lambda: None)
    resumed = train(out=folder, resume=True, watch=watch)
    assert resumed.status == "budget spent"
    assert watch.first > stopped.metrics["steps"], "nothing is computed twice"
    assert_same_history(resumed.history, tiny.history)
    assert_same_history(runs.read(folder).history, tiny.history)
    assert_same_parameters(resumed, tiny)
    for name in ("relative_l2", "best_relative_l2", "best_step", "best_held_out", "weights"):
        assert resumed.metrics[name] == tiny.metrics[name]
    assert resumed.metrics["train_seconds"] > stopped.metrics["train_seconds"]
    assert runs.read(folder).finished


def test_resuming_a_finished_run(tmp_path, tiny):
    """It changes nothing; with more steps it goes on; with other settings it is refused."""
    folder = tmp_path / "run"
    train(out=folder)
    again = train(out=folder, resume=True)
    assert again.status == "budget spent"
    assert_same_history(again.history, tiny.history)
    assert_same_history(runs.read(folder).history, tiny.history)
    assert_same_parameters(again, tiny)

    more = replace(TINY, steps=60)
    assert_same_history(
        train(recipe=more, out=folder, resume=True).history, train(recipe=more).history
    )
    assert runs.read(folder).config["recipe"]["steps"] == 60

    for changes, seed, words in (
        ({}, 1, "seed is 1234, not 1"),
        ({"network": poise.networks.MLP(9, 2)}, 1234, "network"),
        ({"weighting": Fixed()}, 1234, "weighting"),
        ({"dtype": "float64"}, 1234, "dtype is float32, not float64"),
    ):
        with pytest.raises(ValueError, match=f"holds another run: its .*{words}"):
            train(recipe=replace(TINY, **changes), seed=seed, out=folder, resume=True)


def test_a_used_folder_is_refused(tmp_path, tiny):
    tiny.save(tmp_path / "run")
    before = (tmp_path / "run" / runs.METRICS).read_bytes()
    for again in (lambda: train(out=tmp_path / "run"), lambda: tiny.save(tmp_path / "run")):
        with pytest.raises(ValueError, match=r"already holds a run.*poise resume"):
            again()
    assert (tmp_path / "run" / runs.METRICS).read_bytes() == before


# --- Which parameters are chosen -------------------------------------------------------------


def test_criterion_by_hand():
    untrained = {"residual": 8.0, "initial": 0.5, "boundary": 2.0}
    held_out = {"residual": 2.0, "initial": 0.05, "boundary": 3.0}
    assert criterion(held_out, untrained) == pytest.approx(2 / 8 + 0.05 / 0.5 + 3 / 2)
    assert criterion(untrained, untrained) == 3.0
    # The units of a term do not matter.
    scaled = [{**d, "residual": 1e9 * d["residual"]} for d in (held_out, untrained)]
    assert criterion(*scaled) == pytest.approx(criterion(held_out, untrained))


def test_criterion_covers_every_term():
    untrained = {"residual": 1.0, "initial": 1.0, "boundary": 1.0}
    solves_the_equation_only = {"residual": 1e-12, "initial": 1e-12, "boundary": 0.9}
    balanced = {"residual": 0.1, "initial": 0.1, "boundary": 0.1}
    assert criterion(balanced, untrained) < criterion(solves_the_equation_only, untrained)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_model_that_is_not_finite_somewhere_is_never_chosen(bad):
    assert criterion({"a": bad, "b": 0.0}, {"a": 1.0, "b": 1.0}) == math.inf
    best = Best("untrained")
    assert not best.consider("bad", 10, math.inf)
    assert not best.consider("bad", 10, math.nan)
    assert (best.params, best.step) == ("untrained", 0)


@pytest.mark.parametrize("start", [0.0, math.nan, math.inf])
def test_a_term_that_starts_at_zero_or_nowhere_does_not_block_the_choice(start):
    """An untrained network may fulfil a condition exactly, as u = 0 at the middle of (-1, 1)."""
    untrained = {"a": 1.0, "pin": start}
    good, bad = {"a": 0.1, "pin": 1e-3}, {"a": 0.2, "pin": 1.0}
    assert criterion(good, untrained) < criterion(bad, untrained) < math.inf


def test_best_keeps_the_earliest_of_equals():
    best = Best("start")
    assert best.consider("first", 10, 0.5)
    assert not best.consider("second", 20, 0.5)
    assert best.consider("third", 30, 0.25)
    assert not best.consider("fourth", 40, 0.3)
    assert (best.params, best.step, best.value) == ("third", 30, 0.25)


def test_the_criterion_of_a_run_covers_all_terms_and_not_the_weights(solved):
    rows = solved.history
    ratios = [rows[f"held_out.{t}"] for t in ("residual", "boundary")]
    # Two unknown scales, many rows: the column is Σ held_out.k / scale.k with constant scales.
    scales, *_ = np.linalg.lstsq(np.stack(ratios, 1), rows["held_out"], rcond=None)
    np.testing.assert_allclose(np.stack(ratios, 1) @ scales, rows["held_out"], rtol=1e-8)
    with jax.enable_x64(True):
        loop = prepare(poisson(), rebuild_recipe(solved.config["recipe"]), 0)
        losses, _ = loop.evaluation(loop.state.params)
    for scale, term in zip(scales, ("residual", "boundary"), strict=True):
        assert 1 / scale == pytest.approx(losses[term], rel=1e-5)
    best = int(np.argmin(rows["held_out"]))
    assert solved.metrics["best_step"] == rows["step"][best]
    assert solved.metrics["best_held_out"] == rows["held_out"][best]


def test_the_criterion_does_not_change_with_the_weights():
    """Without learning, the same parameters under weights 1 and 1000 are judged alike."""
    still = poise.optimizers.Optax(optax.sgd(0.0))
    light, heavy = (
        train(recipe=replace(TINY, weighting=Fixed({"boundary": w}), optimizer=still))
        for w in (1.0, 1000.0)
    )
    assert light.history["held_out"].tolist() == heavy.history["held_out"].tolist() == [2.0] * 4
    assert (light.history["loss"] != heavy.history["loss"]).all()
    assert light.metrics["best_step"] == heavy.metrics["best_step"] == 10


def test_the_exact_solution_takes_no_part(tiny):
    blind = train(poisson(exact=None))
    assert_same_parameters(blind, tiny)
    assert blind.metrics["best_step"] == tiny.metrics["best_step"]
    misled = train(poisson(exact={"u": lambda x: 100 + x}))
    assert_same_parameters(misled, tiny)
    assert misled.metrics["best_step"] == tiny.metrics["best_step"]
    for name in tiny.history:
        if name not in ("seconds", "error.u"):
            assert blind.history[name].tobytes() == tiny.history[name].tobytes(), name
            assert misled.history[name].tobytes() == tiny.history[name].tobytes(), name


def test_an_exact_solution_that_is_zero(tmp_path):
    """A relative error does not exist then; the run is not disturbed."""
    zero = train(poisson(exact={"u": lambda x: 0 * x}))
    assert zero.status == "budget spent"
    assert math.isnan(zero.relative_l2["u"])
    zero.save(tmp_path / "run")
    assert runs.read(tmp_path / "run").metrics["relative_l2"] == {"u": None}


# --- Networks of one's own -------------------------------------------------------------------


class Gaussians(eqx.Module):
    """A user's module, with arrays, a number that is not trained and a function."""

    heights: jax.Array
    centers: jax.Array
    width: float
    activation: object = eqx.field(static=True)

    def __call__(self, x):
        return self.heights @ self.activation(-(((x - self.centers) / self.width) ** 2))


def gaussians():
    return Gaussians(jnp.ones((1, 6)), jnp.linspace(-1, 1, 6), 0.5, jnp.exp)


def test_any_equinox_module_may_be_the_network():
    """In the precision of the run, whatever its own."""
    network = gaussians()
    before = np.array(network.heights)
    recipe = replace(TINY, network=network, optimizer=Adam(1e-2), dtype="float64", steps=200)
    solution = train(recipe=recipe)
    assert solution.best_relative_l2["u"] < 0.7 * solution.history["error.u"][0]
    assert {a.dtype.name for a in parameters(solution)} == {"float64"}
    assert solution.model.network.width == 0.5
    assert solution.metrics["parameters"] == 12
    assert np.array_equal(network.heights, before), "the user's own module must not change"


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ((2, 1), r"cannot be called on a point of shape \(1,\)"),
        ((1, 2), r"to shape \(2,\); it must give \(1,\), one number for each of the fields u"),
        ((1, "scalar"), r"to shape \(\); it must give \(1,\)"),
    ],
)
def test_networks_of_a_wrong_shape_are_refused(sizes, words):
    network = eqx.nn.MLP(*sizes, 8, 2, key=jax.random.PRNGKey(0))
    with pytest.raises(ValueError, match=words):
        poise.train(poisson(), network=network, steps=2, progress=False)


@pytest.mark.parametrize("weighting", [Annealing(), Fixed()])
def test_a_network_without_weight_matrices(weighting):
    """Annealing has nothing to measure there and must say so; fixed weights need nothing."""

    class Power(eqx.Module):
        exponents: jax.Array

        def __call__(self, x):
            return jnp.sum(self.exponents * x)[None]

    recipe = replace(TINY, network=Power(jnp.ones(3)), weighting=weighting)
    if isinstance(weighting, Fixed):
        assert train(recipe=recipe).status == "budget spent"
        return
    with pytest.raises(ValueError, match="no weight matrices"):
        train(recipe=recipe)


# --- poise.train -----------------------------------------------------------------------------


def test_train_takes_every_choice_by_hand_and_repeats_itself(capsys, tiny):
    by_hand = poise.train(
        poisson(),
        network=poise.networks.MLP(8, 2),
        weighting=Annealing(),
        optimizer=Adam(),
        points=16,
        steps=40,
        record_every=10,
        dtype="float32",
        progress=False,
    )
    assert_same_history(by_hand.history, tiny.history)
    assert_same_parameters(by_hand, tiny)
    assert by_hand.config["recipe"]["name"] == "custom"
    assert by_hand.config["seed"] == 1234
    assert capsys.readouterr() == ("", "")


def test_train_takes_a_plain_optax_rule_and_shows_progress(capsys):
    solution = poise.train(
        poisson(),
        network=poise.networks.MLP(8, 2),
        optimizer=optax.sgd(1e-4),
        points={"residual": 16, "boundary": poise.points.Uniform(16)},
        steps=20,
    )
    assert solution.status == "budget spent"
    told = capsys.readouterr().err
    assert "training: compiling" in told
    assert "step 20/20" in told


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": 0}, "steps=0"),
        ({"record_every": -1}, "record_every=-1"),
        ({"dtype": "float16"}, "dtype='float16'"),
        ({"points": 0}, "0 is not a positive number"),
        ({"points": {"residual": 8}}, "nothing is said about the term boundary"),
        ({"points": {"residual": 8, "bulk": 8}}, "'bulk'"),
        ({"weighting": Fixed({"bulk": 2.0})}, "no loss term 'bulk'"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_training(tmp_path, settings, words):
    with pytest.raises(ValueError, match=words):
        poise.train(poisson(), progress=False, out=tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


# --- The solution ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wave():
    """Two coordinates, two fields, not trained: only what a solution answers matters here."""
    problem = poise.Problem(
        {"t": (0, 2), "x": (-1, 3)},
        ["u", "v"],
        {
            "residual": poise.interior(lambda u, v: (u.t - v.x, v.t - u.x)),
            "initial": poise.initial(lambda u, v, x: (u - jnp.sin(x), v)),
        },
        grid=5,
    )
    with working_in("float64"):
        loop = prepare(problem, replace(TINY, dtype="float64"), 0)
        model = loop.step.model(loop.state.params)
    return poise.Solution(problem, model, "float64", {}, {}, loop.history, *(None, None))


def test_solution_takes_numbers_and_arrays_and_broadcasts(wave):
    one = wave(t=1, x=0.5)
    assert float(one.u) == float(one.u.value)
    assert np.shape(one.u) == ()
    t, x = np.linspace(0, 2, 3)[:, None], np.linspace(-1, 3, 4)
    table = wave(t=t, x=x)
    assert table.u.shape == table.v.tx.shape == (3, 4)
    for i, j in ((0, 3), (2, 1)):
        single = wave(x=x[j], t=t[i, 0])
        for mine, other in (
            (single.u, table.u),
            (single.v.x, table.v.x),
            (single.u.tx, table.u.tx),
        ):
            assert float(mine) == pytest.approx(float(other[i, j]), rel=1e-10, abs=1e-13)
    assert np.asarray(2 * table.u + 1).shape == (3, 4)
    assert wave(t=[0, 1], x=0.5).u.shape == (2,)
    assert wave(t=np.zeros(0), x=0.5).u.shape == (0,)


def test_solution_derivatives_against_differences(wave):
    h, t, x = 1e-4, 0.7, 0.9

    def u(dt=0.0, dx=0.0):
        return float(wave(t=t + dt, x=x + dx).u)

    at = wave(t=t, x=x).u
    assert float(at.t) == pytest.approx((u(h) - u(-h)) / (2 * h), abs=1e-7)
    assert float(at.x) == pytest.approx((u(dx=h) - u(dx=-h)) / (2 * h), abs=1e-7)
    mixed = (u(h, h) - u(h, -h) - u(-h, h) + u(-h, -h)) / (4 * h * h)
    assert float(at.tx) == pytest.approx(mixed, abs=1e-6)
    second = (u(dx=h) - 2 * u() + u(dx=-h)) / h**2
    assert float(at.xx) == pytest.approx(second, abs=1e-6)
    assert float(at.laplacian) == float(at.xx), "time is not a direction of space"
    assert np.array_equal(at.gradient, [at.x])
    assert float(at.d("x", "t")) == float(at.tx)


@pytest.mark.parametrize(
    ("point", "words"),
    [
        ({"x": 0.5}, r"give every coordinate by name, \(t=..., x=...\)"),
        ({"t": 1, "x": 0.5, "y": 0}, r"give every coordinate by name, \(t=..., x=...\)"),
        ({}, r"give every coordinate by name, \(t=..., x=...\)"),
        ({"t": 2.5, "x": 0.5}, r"solution\(t=2.5\): outside the domain, t in \(0, 2\)"),
        ({"t": 1, "x": [0, 1, -1.5]}, r"solution\(x=-1.5\): outside the domain"),
        ({"t": math.nan, "x": 0.5}, r"solution\(t=nan\): outside"),
    ],
)
def test_solution_refuses_what_it_cannot_answer(wave, point, words):
    with pytest.raises(ValueError, match=words):
        wave(**point)


def test_solution_says_which_fields_and_derivatives_exist(wave):
    with pytest.raises(AttributeError, match="no field 'w'; the fields are u, v"):
        _ = wave(t=1, x=0.5).w
    with pytest.raises(AttributeError, match=r"u\.y is not a derivative; the coordinates are t, x"):
        _ = wave(t=1, x=0.5).u.y


def test_ends_of_the_domain_are_inside(wave):
    edge = wave(t=[0, 2 + 1e-9], x=[-1, 3])
    assert np.isfinite(np.asarray(edge.u)).all()


def test_save_and_report(tmp_path, solved):
    with pytest.raises(ValueError, match=r"no folder yet: call solution.save"):
        solved.report()
    folder = solved.save(tmp_path / "run")
    found = runs.read(folder)
    assert_same_history(found.history, solved.history)
    assert found.metrics["best_relative_l2"] == solved.best_relative_l2
    assert found.config["problem"]["source"] == "python"
    xarray.testing.assert_identical(found.solution, solved.fields)
    page = solved.report()
    assert page == tmp_path / "run" / runs.REPORT
    assert page.stat().st_size > 10_000
    assert "relative L2" in page.read_text()


def test_repr_says_how_it_went(solved):
    assert repr(solved).startswith("<Solution of problem: budget spent, relative L2 u: ")


def test_a_run_that_ends_before_its_first_row_gives_its_last_parameters():
    """Not the untrained ones."""
    problem = poise.zoo.load("klein-gordon")
    recipe = Recipe(network=poise.networks.MLP(6, 1), points=8, steps=40, record_every=40)
    with working_in("float32"):
        loop = prepare(problem, recipe, 0)
        untrained = loop.state.params
        loop.compile()
        loop.run(watch=ctrl_c(1).update)
    assert 0 < loop.taken < 40
    assert loop.chosen.step == loop.taken
    assert (loop.chosen.params != untrained).any()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"problem": "klein-gordon"}, "'klein-gordon'.*expected a poise.Problem"),
        ({"weighting": "annealing"}, "weighting='annealing'.*poise.weighting.Annealing"),
        ({"optimizer": "adam"}, "optimizer='adam'.*optax.adam"),
    ],
)
def test_strings_are_not_choices(klein_gordon, arguments, words):
    with pytest.raises(ValueError, match=words):
        poise.train(arguments.pop("problem", klein_gordon), **arguments)


def test_a_coefficient_that_no_term_uses_is_refused():
    with pytest.raises(ValueError, match=r"coefficients\['nu'\]: no term uses it"):
        poise.Problem(
            coordinates={"x": (0, 1)},
            fields=["u"],
            terms={"residual": poise.interior(lambda u: u.xx)},
            coefficients={"nu": 0.1},
        )


def test_coefficients_are_recorded_as_they_change():
    problem = poise.Problem(
        coordinates={"x": (0, 1)},
        fields=["u"],
        terms={"residual": poise.interior(lambda u, k, x: u.xx - k * x)},
        coefficients={"k": 0.5},
    )
    solution = train(problem, replace(TINY, steps=6, record_every=2))
    column = solution.history["coefficient.k"]
    assert len(set(column)) == 3
    chosen = int(np.flatnonzero(solution.history["step"] == solution.metrics["best_step"])[0])
    assert solution.coefficients["k"] == column[chosen]


def test_a_prediction_can_be_formatted_and_shapes_that_do_not_fit_are_named(wave):
    assert f"{wave(t=1, x=0.5).u:.2f}" == f"{float(wave(t=1, x=0.5).u):.2f}"
    with pytest.raises(ValueError, match=r"t \(3,\), x \(2,\) do not broadcast.*t\[:, None\]"):
        wave(t=np.ones(3), x=np.ones(2))
    with pytest.raises(ValueError, match="by name"):
        wave(0.5, 0.5)
