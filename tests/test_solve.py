"""`poise.solve` and `Solution.check`: what is chosen, when it ends, how honest the estimate is."""

import contextlib
import io
import json
import math
import os
import signal
import time
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import poise
from poise import runs
from poise.losses import Model
from poise.networks import MLP, SIREN
from poise.optimizers import Adam, GaussNewton
from poise.points import Adaptive, Sobol
from poise.training import member, recipes, solve
from poise.training.check import Check, apart, doubt, fresh_residuals
from poise.training.interrupt import Interrupt
from poise.training.journal import Journal
from poise.training.loop import BUDGET_SPENT, STALLED, Limits, Outcome
from poise.training.member import Member
from poise.training.recipe import Recipe
from poise.training.run import prepare
from poise.training.selection import criterion
from poise.weighting import NTK, Fixed

SMALL = SIREN(width=8, depth=1, scale=2.0)


def oscillator(**changes):
    """u'' + u = 0 on (0, 1.5), u(0) = 0, u(1.5) = sin 1.5: u = sin x."""
    settings = {
        "coordinates": {"x": (0, 1.5)},
        "fields": ["u"],
        "terms": {
            "residual": poise.interior(lambda u: u.xx + u),
            "start": poise.boundary("x", lambda u: u, at=0.0),
            "end": poise.boundary("x", lambda u: u - np.sin(1.5), at=1.5),
        },
        "exact": {"u": lambda x: jnp.sin(x)},
        "grid": 50,
    }
    return poise.Problem(**{**settings, **changes})


class Watch:
    """Stands where a display stands: remembers the choices, and may act at a step."""

    def __init__(self, action=None):
        self.action, self.lines = action, []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def choice(self, line):
        self.lines.append(line)

    def update(self, taken, row):
        if self.action and row is not None:
            self.action, action = None, self.action
            action()


def silent(taken, row):
    pass


def limited(problem, steps, display=None, out=None, **plan):
    """A solve that ends by its steps, so that no clock decides anything."""
    made = recipes.automatic(problem, SMALL)
    recipe = replace(made.recipes[0], steps=steps, record_every=1, **plan)
    return solve.run_plan(
        problem,
        recipes.Plan((recipe,), made.choices),
        tol=None,
        budget=600.0,
        seed=1234,
        out=out,
        display=display,
    )


# --- Times -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("60s", 60),
        ("60", 60),
        (60, 60),
        (0.5, 0.5),
        ("1.5min", 90),
        ("2m", 120),
        (" 30 sec ", 30),
        ("0.5h", 1800),
        ("1e2s", 100),
    ],
)
def test_times(text, expected):
    assert recipes.seconds(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "s", "soon", "-3s", -3, 0, "0s", "1.2.3s", "1e999", "5 days", "5S", "nan", "inf"),
        *(math.nan, math.inf, True, None, [60]),
    ],
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match=r"budget=.*give a time such as '60s'"):
        recipes.seconds(text)


@given(
    st.floats(1e-3, 1e6, allow_nan=False),
    st.sampled_from([("s", 1), ("sec", 1), ("m", 60), ("min", 60), ("h", 3600), ("", 1)]),
)
def test_a_time_means_the_same_in_every_unit(number, unit):
    name, factor = unit
    written = f"{number:.6f}"
    assert recipes.seconds(f"{written}{name}") == pytest.approx(factor * float(written))
    assert recipes.seconds(factor * number) == factor * number


@given(st.text())
def test_any_text_is_a_time_or_refused(text):
    with contextlib.suppress(ValueError):
        assert 0 < recipes.seconds(text) < math.inf


# --- What is chosen --------------------------------------------------------------------------


def box(dimension, fields=("u",), **changes):
    names = "xyzvw"[:dimension]
    settings = {
        "coordinates": dict.fromkeys(names, (0, 1)),
        "fields": list(fields),
        "terms": {
            "residual": poise.interior(lambda u: u.laplacian),
            "boundary": poise.boundary(lambda u: u),
        },
        "grid": 3,
    }
    return poise.Problem(**{**settings, **changes})


@pytest.mark.parametrize("dimension", [1, 2, 3, 4, 5])
def test_the_plan_by_dimension(dimension):
    plan = recipes.automatic(box(dimension))
    networks = [recipe.network for recipe in plan.recipes]
    scale = 3.0 if dimension <= 3 else 1.0
    assert networks[0] == SIREN(width=36, depth=2, scale=scale)
    assert networks[1:] == ([MLP(width=20, depth=3)] if dimension <= 3 else [])
    for recipe in plan.recipes:
        assert recipe.optimizer == GaussNewton(memory_gb=2.0)
        assert recipe.weighting == NTK()
        assert recipe.dtype == "float64"
        inside, side = recipe.points["residual"], recipe.points["boundary"]
        edges = recipes.EDGES if isinstance(recipe.network, poise.networks.SIREN) else 0.0
        assert inside == Adaptive(inside.count, every=recipes.REDRAW, edges=edges)
        # (d + 1) 36 + 37·36 + 37 parameters of the first network, half as many points, in 64s.
        if recipe is plan.recipes[0]:
            count = 36 * (dimension + 1) + 37 * 36 + 37
            assert abs(inside.count - count / 2) <= 32
        assert side == Sobol(inside.count // 8, fresh=False, edges=edges)


def test_how_many_parameters_a_network_has():
    for network in (SIREN(width=9, depth=2), MLP(width=7, depth=3), SIREN(width=5, depth=1)):
        built = network.build(box(2).domain, 3, jax.random.PRNGKey(0), jnp.dtype("float32"))
        leaves = jax.tree.leaves(eqx.filter(built, eqx.is_inexact_array))
        assert recipes.parameters(network, 2, 3) == sum(leaf.size for leaf in leaves)


def test_a_system_gets_a_wider_network_and_its_equations_share_points():
    terms = {
        "flow": poise.interior(lambda u, v, p: (u.x + v.y, u.laplacian - p.x, v.laplacian - p.y)),
        "walls": poise.boundary(lambda u, v: (u, v)),
    }
    (first, _) = recipes.automatic(box(2, ("u", "v", "p"), terms=terms)).recipes
    assert first.network.width == 44
    count = 3 * 44 + 45 * 44 + 45 * 3
    assert abs(first.points["flow"].count - count / 2 / 3) <= 32


def test_terms_of_data_get_no_points(x64):
    x = np.linspace(0, 1, 5)
    data = poise.data({"x": x, "y": x, "u": x})
    terms = {"residual": poise.interior(lambda u: u.laplacian), "data": data}
    (first, _) = recipes.automatic(box(2, terms=terms)).recipes
    assert set(first.points) == {"residual"}
    only = recipes.automatic(box(2, terms={"data": data}))
    assert only.recipes[0].points == {}
    prepare(box(2, terms={"data": data}), replace(only.recipes[0], optimizer=Adam()), 0)


def test_a_periodic_problem(x64):
    periodic = {"x": poise.periodic(0, 1), "y": (0, 1)}
    terms = {
        "residual": poise.interior(lambda u: u.laplacian),
        "lid": poise.boundary("y", lambda u: u),
    }
    problem = box(2, coordinates=periodic, terms=terms)
    (first, second) = recipes.automatic(problem).recipes
    assert set(first.points) == {"residual", "lid"}
    for recipe in (first, second):
        loop = prepare(problem, replace(recipe, optimizer=Adam()), 0)
        network = loop.step.model(loop.state.params).network
        left, right = network(jnp.array([0.0, 0.3])), network(jnp.array([1.0, 0.3]))
        np.testing.assert_allclose(left, right, rtol=1e-12, atol=1e-12)


def test_what_the_user_gives_is_kept():
    plan = recipes.automatic(box(2), MLP(7, 2), Fixed(), 0.5)
    (recipe,) = plan.recipes
    assert (recipe.network, recipe.weighting) == (MLP(7, 2), Fixed())
    assert recipe.optimizer == GaussNewton(memory_gb=0.5)
    assert any("tanh perceptron, 2 hidden layers of 7" in line for line in plan.choices)
    assert any("Fixed" in line for line in plan.choices)


def test_wider():
    problem = box(2)
    (recipe, _) = recipes.automatic(problem).recipes
    widths = [recipe.network.width]
    while (larger := recipes.wider(problem, recipe)) is not None:
        assert larger.network == replace(recipe.network, width=larger.network.width)
        assert larger.points == recipes.points_for(problem, larger.network, many=True)
        assert larger.points["residual"].count > recipe.points["residual"].count
        assert recipes.finer(problem, larger) is None
        recipe = larger
        widths.append(recipe.network.width)
    assert widths == [36, 44]  # 53 units would be 3,075 parameters
    assert recipes.wider(problem, replace(recipe, network=eqx.nn.Identity())) is None


def test_finer():
    problem = box(2)
    sine, tanh = recipes.automatic(problem).recipes
    more = recipes.finer(problem, sine)
    assert more.points["residual"].count > 1.9 * sine.points["residual"].count
    assert replace(more, points=sine.points) == sine
    assert recipes.finer(problem, more) is None
    assert recipes.finer(problem, tanh) is None  # it has them from the beginning


# --- Mistakes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tol": 0}, r"tol=0\)"),
        ({"tol": 1.0}, r"tol=1.0\)"),
        ({"tol": -1e-3}, "tol=-0.001"),
        ({"tol": math.nan}, "tol=nan"),
        ({"tol": "1e-3"}, "tol='1e-3'"),
        ({"budget": "soon"}, "budget='soon'"),
        ({"budget": 0}, "budget=0"),
        ({"weighting": "ntk"}, "weighting='ntk'"),
        ({"memory_gb": 0}, "memory_gb=0"),
        ({"network": eqx.nn.Linear(2, 1, key=jax.random.PRNGKey(0))}, r"shape \(1,\)"),
        ({"network": 7}, "network"),
    ],
)
def test_mistakes_are_refused_before_any_work(settings, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        poise.solve(oscillator(), **settings, out=tmp_path / "run", verbose=False)
    assert not (tmp_path / "run").exists()


def test_only_problems_are_solved():
    with pytest.raises(ValueError, match=r"solve\('heat'\): expected a poise.Problem"):
        poise.solve("heat")


def test_a_used_folder_is_refused(tmp_path):
    runs.write_json(tmp_path / runs.CONFIG, {})
    with pytest.raises(ValueError, match="already holds a run"):
        poise.solve(oscillator(), network=SMALL, out=tmp_path, verbose=False)


# --- A solve ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def solved(tmp_path_factory):
    """Solution, what was printed, and the two members."""
    members, err = [], io.StringIO()

    class Kept(Member):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            members.append(self)

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(err):
        patch.setattr(solve, "Member", Kept)
        folder = tmp_path_factory.mktemp("solve") / "run"
        solution = poise.solve(oscillator(), tol=1e-4, budget="5min", network=SMALL, out=folder)
    return solution, err.getvalue(), members


def test_it_converges(solved):
    solution, _, _ = solved
    assert solution.status == "converged"
    assert solution.estimate["u"] <= 1e-4
    assert solution.message == (
        f"the estimated relative error, {solution.estimate['u']:.1e}, is below 1.0e-04"
    )
    x = np.linspace(0, 1.5, 50)
    error = np.linalg.norm(solution(x=x).u - np.sin(x)) / np.linalg.norm(np.sin(x))
    assert error < 10 * solution.estimate["u"]
    assert solution.best_relative_l2["u"] == pytest.approx(error, rel=1e-6)


def test_the_estimate_is_the_distance_of_two_independent_members(solved):
    solution, _, members = solved
    first, second = members
    assert first.seed != second.seed
    with jax.enable_x64(True):
        x = jnp.asarray(np.linspace(0, 1.5, 50))[:, None]
        fields = []
        for each in members:
            _, loop = each.best
            network = loop.step.model(loop.chosen.params).network
            fields.append(np.asarray(jax.vmap(network)(x))[:, 0])
    one, two = fields
    expected = np.linalg.norm(one - two) / np.linalg.norm(one)
    assert solution.estimate["u"] == pytest.approx(expected, rel=1e-6)
    assert expected > 0
    # Neither knows more than its own error: the triangle inequality on the grid.
    exact = np.sin(np.linspace(0, 1.5, 50))
    errors = [np.linalg.norm(u - exact) / np.linalg.norm(one) for u in fields]
    assert abs(errors[0] - errors[1]) <= expected * (1 + 1e-6) <= sum(errors) * (1 + 1e-5)


def test_choices_are_printed_and_kept(solved):
    solution, err, _ = solved
    choices = solution.config["choices"]
    # Beside them, on a slow machine, there are lines of progress.
    assert [line[2:] for line in err.splitlines() if line.startswith("  ")] == choices
    for start in ("network: SIREN, 1 hidden layers of 8", "points per place", "loss weights: NTK"):
        assert any(line.startswith(start) for line in choices)
    assert choices[-1].startswith("estimated relative error, from the difference to a second solve")
    assert solution.config["solve"] == {"tol": 1e-4, "budget": 300.0, "memory_gb": 2.0}


def test_the_folder(solved):
    solution, _, _ = solved
    run = runs.Run(solution.folder)
    assert run.config["choices"] == solution.config["choices"]
    assert run.finished
    for name in ("status", "message", "estimate", "steps", "best_step", "best_relative_l2"):
        assert run.metrics[name] == solution.metrics[name]
    assert (run.history["held_out"] == solution.history["held_out"]).all()
    assert (np.diff(run.history["step"]) > 0).all()
    assert run.history["held_out"].min() == run.metrics["best_held_out"]
    np.testing.assert_array_equal(run.solution["u"], solution.fields["u"])


def test_check_after_a_solve_uses_its_estimate(solved):
    solution, _, _ = solved
    before = solution.estimate
    found = solution.check()
    assert found.estimate == before
    assert found.exact == solution.best_relative_l2
    assert list(found.residuals) == ["residual", "start", "end"]
    # The sides are points: the residuals there by hand.
    u = solution(x=np.array([0.0, 1.5])).u.value
    assert found.residuals["start"] == pytest.approx(abs(u[0]), rel=1e-6)
    assert found.residuals["end"] == pytest.approx(abs(u[1] - np.sin(1.5)), rel=1e-6)
    kept = json.loads((solution.folder / runs.METRICS).read_text())
    assert kept["residuals"] == solution.metrics["residuals"] == found.residuals
    assert kept["estimate"] == before


# --- How it ends -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def six_steps():
    watch = Watch()
    return limited(oscillator(), 6, watch), watch.lines


def test_without_a_tolerance_there_is_no_estimate(six_steps):
    solution, lines = six_steps
    assert solution.estimate is None
    assert not any("estimated" in line for line in lines)
    assert solution.status == "budget spent"
    assert solution.message == "all 6 steps were taken"
    assert solution.metrics["steps"] == 6


@pytest.mark.parametrize("exact", [None, {"u": lambda x: 5 + x**3}], ids=["absent", "wrong"])
def test_the_exact_solution_plays_no_role(six_steps, exact):
    solution, _ = six_steps
    other = limited(oscillator(exact=exact), 6)
    assert (other.status, other.message) == (solution.status, solution.message)
    for name in ("held_out", "loss", "weight.residual"):
        assert other.history[name].tobytes() == solution.history[name].tobytes()
    assert other.metrics["best_step"] == solution.metrics["best_step"]
    one, two = (
        [np.asarray(leaf) for leaf in jax.tree.leaves(each.model) if eqx.is_array(leaf)]
        for each in (solution, other)
    )
    assert all(a.tobytes() == b.tobytes() for a, b in zip(one, two, strict=True))
    if exact is None:
        assert other.relative_l2 == other.best_relative_l2 == {}
        assert other.check().exact == {}
    else:
        assert other.best_relative_l2["u"] > 0.5


def test_ctrl_c_returns_what_there_is_and_writes_the_folder(tmp_path):
    watch = Watch(lambda: os.kill(os.getpid(), signal.SIGINT))
    solution = limited(oscillator(), 6, watch, tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert solution.status == "interrupted"
    assert solution.metrics["steps"] < 6
    run = runs.Run(tmp_path / "run")
    assert run.metrics["status"] == "interrupted"
    assert not run.finished
    assert len(run.history["step"]) >= 1
    np.testing.assert_array_equal(run.solution["u"], solution.fields["u"])


def test_the_budget_is_kept():
    start = time.perf_counter()
    # So short that a step spends it: half a second is enough to stall on a fast machine.
    solution = poise.solve(oscillator(), tol=None, budget=1e-3, network=SMALL, verbose=False)
    taken = time.perf_counter() - start
    assert solution.status == "budget spent"
    assert solution.message == "the time of 0.001 s is spent"
    # Compiling cannot be cut short; beside it there is a step and the last figures.
    assert taken < solution.metrics["compile_seconds"] + 10
    assert solution.metrics["steps"] >= 1


class Scripted:
    """Stands where a member stands: ends as it is told, and is worth what it is told."""

    def __init__(self, *outcomes, value=0.0):
        self.outcomes, self.value = list(outcomes), value
        self.problem, self.seed, self.seconds, self.done = None, 0, 0.0, None
        self.taken = 7
        self.criterion, self.goals = 1e-9, []
        self.journal = None

    def advance(self, until, goal, watch, interrupt):
        self.goals.append(goal)
        status = self.outcomes.pop(0) if self.outcomes else self.done.status
        outcome = Outcome(status, f"{status} it is")
        if status in ("stalled", "diverged"):
            self.done = outcome
        return outcome

    def on_grid(self):
        return {"u": np.array([1.0, 1.0 + self.value])}


def follow(monkeypatch, first, second, tol=1e-3, budget=100.0):
    monkeypatch.setattr(solve, "Member", lambda *_, **__: second)
    lines = []
    plan = recipes.Plan((), ())
    start = time.perf_counter()
    found = solve._follow(first, plan, tol, budget, start, silent, Interrupt(), lines.append)
    assert len(lines) < 10
    return found


def test_the_two_go_on_in_turns_until_they_agree(monkeypatch):
    first = Scripted(*["converged"] * 3)
    second = Scripted(*["converged"] * 3, value=1.0)
    second.on_grid = lambda: {"u": np.array([1.0, 1.0 + 0.1 ** len(second.goals)])}
    outcome, estimate = follow(monkeypatch, first, second, tol=0.1**2.9)
    assert outcome.status == "converged"
    assert estimate["u"] == pytest.approx(1e-3 / math.sqrt(2))
    # C is a sum of squares: ten times less error is a hundred times less of it.
    np.testing.assert_allclose(np.divide(first.goals[:-1], first.goals[1:]), 100)


@pytest.mark.parametrize(
    ("one", "two", "status", "estimated"),
    [
        (["stalled"], ["stalled"], "stalled", True),
        # A second member that can no more does not keep the first from its end.
        (["converged", "stalled"], ["diverged"], "stalled", True),
        # The first has no more to give: the second goes on by itself, to its own end.
        (["stalled"], ["converged", "stalled"], "stalled", True),
        (["interrupted"], [], "interrupted", False),
        (["converged"], ["interrupted"], "interrupted", False),
        (["diverged"], [], "diverged", False),
    ],
)
def test_how_a_solve_of_two_ends(monkeypatch, one, two, status, estimated):
    outcome, estimate = follow(monkeypatch, Scripted(*one), Scripted(*two, value=1.0))
    assert outcome.status == status
    assert (estimate is not None) is estimated


def test_time_that_is_spent_between_the_two(monkeypatch):
    first, second = Scripted("budget spent"), Scripted("budget spent", value=1.0)
    outcome, estimate = follow(monkeypatch, first, second, budget=1e-9)
    assert (outcome.status, outcome.message) == ("budget spent", "the time of 1e-09 s is spent")
    assert estimate["u"] == pytest.approx(1 / math.sqrt(2))


# --- A member --------------------------------------------------------------------------------


def test_a_network_without_room_is_widened_and_keeps_its_function(monkeypatch):
    """Two units stall at once, three are allowed, four are not."""
    monkeypatch.setattr(member, "PATIENCE", 1)
    monkeypatch.setattr(recipes, "LARGEST", recipes.parameters(SIREN(width=3, depth=1), 1, 1))
    begun, begin_from = [], member.Loop.begin_from

    def noted(self, params, before):
        begin_from(self, params, before)
        begun.append((self, params, before))

    monkeypatch.setattr(member.Loop, "begin_from", noted)
    problem, lines = oscillator(), []
    plan = recipes.automatic(problem, SIREN(width=2, depth=1, scale=2.0))
    with jax.enable_x64(True), Interrupt() as interrupt:
        one = Member(problem, plan, 0, lines.append)
        outcome = one.advance(1e4, 0.0, silent, interrupt)
        ((wide, params, narrow),) = begun
        held_out, _ = wide.evaluation(params)
        assert criterion(held_out, wide.untrained) == pytest.approx(narrow.chosen.value, rel=1e-8)
    assert outcome.status == STALLED
    assert one.done is outcome
    assert [recipe.network.width for recipe, _ in one.loops] == [2, 3]
    assert lines[0].endswith("widened from 2 to 3 units, 256 points")
    assert wide.chosen.value <= narrow.chosen.value
    assert wide.history is narrow.history and wide.clock is narrow.clock
    assert (np.diff(wide.history["step"]) > 0).all()
    assert wide.taken > narrow.taken
    # Asked again, it does no more.
    taken = wide.taken
    assert one.advance(1e5, 0.0, silent, Interrupt()) is outcome
    assert wide.taken == taken


TINY = Recipe(
    "tiny", MLP(4, 1), points=8, optimizer=Adam(), weighting=Fixed(), steps=6, record_every=1
)


def test_the_better_of_two_networks_goes_on(monkeypatch):
    """With steps that only go up, and not taken for stalled because of the other's rows."""
    monkeypatch.setattr(member, "PATIENCE", 4)
    monkeypatch.setattr(member, "TRY", 1e-9)
    monkeypatch.setattr(member, "PREFERRED", 1)
    monkeypatch.setattr(recipes, "LARGEST", 0)
    good = replace(TINY, steps=14)
    for order in ([good, replace(good, optimizer=Adam(1e-12))], [replace(good), good]):
        lines = []
        one = Member(oscillator(), recipes.Plan(tuple(order), ()), 0, lines.append)
        with Interrupt() as interrupt:
            outcome = one.advance(1e6, 0.0, silent, interrupt)
        assert outcome.status in (BUDGET_SPENT, STALLED)
        assert lines[0].startswith("network kept: tanh perceptron, 1 hidden layers of 4")
        assert (np.diff(one.loops[0][1].history["step"]) > 0).all()
        kept, left = one.loops[1][1], one.loops[0][1]
        assert kept.chosen.value <= left.chosen.value


def test_patience_counts_a_loops_own_rows():
    first = prepare(oscillator(), TINY, 0)
    first.compile()
    first.run()
    second = prepare(oscillator(), replace(TINY, steps=20), 0, first)
    second.compile()
    second.run()
    assert second.history is first.history
    assert second.history["step"].tolist() == list(range(1, 21))
    first.count_on(second)
    first.steps = 22
    outcome = first.run(limits=Limits(patience=10))
    assert outcome.status == BUDGET_SPENT, "8 rows of its own are too few to stall"
    first.steps = 40
    outcome = first.run(limits=Limits(patience=10, fall=1e-9))
    assert outcome.status == STALLED
    assert first.taken == 25  # 11 rows of its own: 6 and 5 after the 20th step


# --- Solution.check --------------------------------------------------------------------------


class Square(eqx.Module):
    """u(x) = a x²."""

    a: jax.Array

    def __call__(self, point):
        return self.a * point * point


def test_residuals_of_a_known_function():
    """u = x²: u'' + u = 2 + x², whose mean square over (0, 1.5) is 4 + 4·0.75 + 1.0125."""
    with jax.enable_x64(True):
        model = Model(Square(jnp.ones(())), {})
        found = fresh_residuals(oscillator(), model, "float64", 0)
        other = fresh_residuals(oscillator(), model, "float64", 1)
    assert found["residual"] == pytest.approx(math.sqrt(8.0125), rel=0.02)
    assert found["residual"] != other["residual"], "the points are drawn from the seed"
    assert found["start"] == 0.0
    assert found["end"] == pytest.approx(2.25 - math.sin(1.5), rel=1e-12)


def test_how_far_two_fields_are_apart():
    assert apart(np.array([3.0, 4.0]), np.array([3.0, 3.0])) == pytest.approx(0.2)
    assert apart(np.zeros(2), np.array([3.0, 4.0])) == 5.0
    assert apart(np.ones(3), np.ones(3)) == 0.0


def test_a_check_in_words():
    words = str(Check({"u": 1.23e-4, "v": 2e-5}, {"residual": 3e-6}, {"u": 4.5e-5}))
    lines = words.splitlines()
    assert lines[1].split() == ["u", "1.23e-04", "4.50e-05"]
    assert lines[2].split() == ["v", "2.00e-05", "unknown"]
    assert lines[-1].split() == ["residual", "3.00e-06"]


def test_check_after_training(tmp_path):
    """The second solution is trained as long as the first, from another start."""
    problem = oscillator()
    settings = {"network": MLP(4, 1), "points": 8, "steps": 20, "progress": False}
    solution = poise.train(problem, **settings, seed=3, out=tmp_path / "run")
    assert solution.estimate is None
    found = solution.check()
    x = np.linspace(0, 1.5, 50)
    other = poise.train(problem, **settings, seed=3 + 7919)
    one, two = np.float64(solution(x=x).u.value), np.float64(other(x=x).u.value)
    expected = np.linalg.norm(one - two) / np.linalg.norm(one)
    assert found.estimate["u"] == pytest.approx(expected, rel=1e-4)
    assert found.exact == solution.best_relative_l2
    assert solution.estimate == found.estimate
    metrics = runs.Run(tmp_path / "run").metrics
    assert metrics["estimate"] == found.estimate
    assert metrics["residuals"] == found.residuals
    again = solution.check()
    assert again == found, "no third solution is made"
    # The residuals by another way: central differences on many even points.
    x, h = np.linspace(0, 1.5, 4001)[1:-1], 1e-2
    with jax.enable_x64(True):
        wide = jax.tree.map(
            lambda leaf: jnp.asarray(leaf, jnp.float64) if eqx.is_inexact_array(leaf) else leaf,
            solution.model.network,
        )
        left, at, right = (
            np.asarray(jax.vmap(wide)(jnp.asarray(x + d)[:, None]))[:, 0] for d in (-h, 0, h)
        )
    residual = (right - 2 * at + left) / h**2 + at
    assert found.residuals["residual"] == pytest.approx(np.sqrt(np.mean(residual**2)), rel=0.03)


def test_a_solution_that_cannot_be_checked(six_steps):
    solution, _ = six_steps
    loose = poise.Solution.__new__(poise.Solution)
    loose.__dict__.update(solution.__dict__, _checking=None)
    with pytest.raises(ValueError, match="does not know how it was made"):
        loose.check()


# --- Going on --------------------------------------------------------------------------------


def interrupted_in(tmp_path, monkeypatch, problem, **settings):
    """A solve in whose second row Ctrl-C comes, with its checkpoints."""
    watch = Watch(lambda: signal.raise_signal(signal.SIGINT))
    monkeypatch.setattr(solve, "SolveDisplay", lambda *_: watch)
    solution = poise.solve(problem, network=SMALL, out=tmp_path / "run", **settings)
    assert solution.status == "interrupted"
    return solution


def test_an_interrupted_solve_goes_on(tmp_path, monkeypatch):
    first = interrupted_in(tmp_path, monkeypatch, oscillator(), tol=1e-6, budget=100)
    watch = Watch()
    monkeypatch.setattr(solve, "SolveDisplay", lambda *_: watch)
    second = poise.solve(
        oscillator(), network=SMALL, out=tmp_path / "run", tol=1e-6, budget=100, resume=True
    )
    assert second.status == "converged"
    taken = first.metrics["steps"]
    assert any(f"the first solve goes on from step {taken}" in line for line in watch.lines)
    assert watch.spent > 0
    steps = second.history["step"]
    assert (np.diff(steps) > 0).all() and steps[0] == first.history["step"][0]
    assert max(steps) > taken
    run = runs.Run(tmp_path / "run")
    assert run.finished and run.config["choices"].count(watch.lines[-1]) == 1
    journal = json.loads((run.path / runs.CHECKPOINTS / "solve.json").read_text())
    assert set(journal["members"]) == {"first", "second"}


def test_a_solve_goes_on_in_the_stage_to_which_it_had_come(tmp_path, x64):
    """In a wider network; the two know of each other by the journal alone."""
    problem = oscillator()
    plan = recipes.automatic(problem, SMALL)
    (recipe,) = plan.recipes
    with Interrupt() as interrupt:
        one = Member(problem, plan, 0, journal=Journal(tmp_path))
        one.begin()
        one._compile()
        one.tried = True
        one._run(5.0, 1e-3, silent, interrupt)
        wide = recipes.wider(problem, recipe)
        one._enlarge(wide, Outcome(STALLED, "no room"))
        one._run(one.seconds + 1.0, 0.0, silent, interrupt)
        two = Member(problem, plan, 0, journal=Journal(tmp_path, resume=True))
        two.begin()
    assert two.tried and two.loops[-1][0] == wide
    (_, there), (_, here) = one.loops[-1], two.loops[-1]
    np.testing.assert_array_equal(here.state.params, there.state.params)
    np.testing.assert_array_equal(here.chosen.params, there.chosen.params)
    assert here.chosen.value == there.chosen.value == two.criterion
    assert here.history["step"].tolist() == there.history["step"].tolist()
    assert here.untrained == there.untrained
    assert two.seconds > one.seconds
    assert Journal(tmp_path).former("first") is None  # not asked to go on


def test_another_solve_is_not_gone_on_with(tmp_path, monkeypatch):
    interrupted_in(tmp_path, monkeypatch, oscillator(), tol=None, budget=100)
    for change, words in (
        ({"seed": 7}, "its seed is 1234, not 7"),
        ({"problem": oscillator(grid=51)}, "its grid is"),
    ):
        settings = {"problem": oscillator(), **change}
        with pytest.raises(ValueError, match=words):
            poise.solve(**settings, network=SMALL, out=tmp_path / "run", resume=True)


@pytest.mark.parametrize(("criterion", "said"), [(1e-3, ""), (3e-2, "3.0e-02"), (np.inf, "inf")])
def test_an_estimate_is_doubted_while_residuals_are_large(criterion, said):
    words = doubt(criterion)
    assert bool(words) is bool(said) and said in words
    shown = str(Check({"u": 0.1}, {"residual": 2.0}, {"u": 0.5}, words))
    assert ("much larger" in shown) is bool(said)
