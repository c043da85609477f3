"""Seeds in one program: the numbers that each gets alone."""

import shutil
import signal
from dataclasses import replace

import jax
import numpy as np
import pytest

import poise
from poise import devices, runs
from poise.comparison.batch import Batch, run_seeds
from poise.comparison.compare import Comparison
from poise.training.loop import DIVERGED
from poise.training.recipe import named
from poise.training.run import prepare

SEEDS = (3, 4, 5)


def small(name, **changes):
    recipe = named(name)
    points = replace(recipe.points, count=16)
    network = poise.networks.MLP(8, 2)
    return replace(recipe, network=network, points=points, steps=12, record_every=5, **changes)


def trained(problem, recipe, seed):
    loop = prepare(problem, recipe, seed)
    loop.compile()
    loop.run()
    return loop


@pytest.mark.parametrize("name", ["annealing", "ntk", "config", "rba"])
def test_each_seed_gets_the_numbers_that_it_gets_alone(klein_gordon, name):
    """Fresh points, points that stay (constants of the step), random vectors, a direction."""
    recipe = small(name)
    loops = [prepare(klein_gordon, recipe, seed) for seed in SEEDS]
    batch = Batch(loops)
    batch.compile()
    told = []
    outcomes = batch.run([None] * 3, watch=lambda *what: told.append(what))
    for number, (seed, loop, outcome) in enumerate(zip(SEEDS, loops, outcomes, strict=True)):
        alone = trained(klein_gordon, recipe, seed)
        assert outcome == alone.spent()
        assert loop.taken == 12 and loop.history["step"].tolist() == [5, 10, 12]
        np.testing.assert_allclose(loop.state.params, alone.state.params, rtol=1e-3, atol=1e-5)
        for column in ("held_out", "loss", "weight.boundary", "error.u"):
            np.testing.assert_allclose(loop.history[column], alone.history[column], rtol=1e-3)
        structure = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), loop.state)
        assert structure == jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), alone.state)
        rows = [row for at, _, row in told if at == number and row]
        assert [row["step"] for row in rows] == [5, 10, 12]
    assert len({float(loop.history["loss"][-1]) for loop in loops}) == 3
    assert all(loop.clock.training >= loop.clock.stepping > 0 for loop in loops)


def test_weights_are_computed_only_when_they_are_due(klein_gordon):
    """A condition that had an axis of seeds would be computed both ways at every step."""
    recipe = small("annealing")
    batch = Batch([prepare(klein_gordon, recipe, seed) for seed in SEEDS])
    program = str(jax.make_jaxpr(batch.advance)(batch._begin(), 3))
    assert program.count("cond[") == 1


def test_a_seed_that_fails_stays_behind(klein_gordon):
    recipe = small("annealing")
    loops = [prepare(klein_gordon, recipe, seed) for seed in SEEDS]
    broken = loops[1]
    broken.state = broken.state._replace(params=broken.state.params + 1e30)
    kept = broken.state
    batch = Batch(loops)
    batch.compile()
    outcomes = batch.run([None] * 3)
    assert [outcome.status == DIVERGED for outcome in outcomes] == [False, True, False]
    assert "at step 1" in outcomes[1].message
    jax.tree.map(np.testing.assert_array_equal, broken.state, kept)
    alone = trained(klein_gordon, recipe, SEEDS[2])
    np.testing.assert_allclose(loops[2].state.params, alone.state.params, rtol=1e-3, atol=1e-5)


def test_what_cannot_be_batched_is_refused(klein_gordon):
    one, other = (prepare(klein_gordon, small(name), 0) for name in ("annealing", "fixed"))
    with pytest.raises(ValueError, match="different programs"):
        Batch([one, other])
    ahead = prepare(klein_gordon, small("annealing"), 1)
    ahead.state = ahead.state._replace(step=ahead.state.step + 1)
    with pytest.raises(ValueError, match="different steps"):
        Batch([one, ahead])


def test_interrupted_seeds_go_on_to_the_same_numbers(klein_gordon, tmp_path):
    recipe = small("annealing")
    folders = [tmp_path / str(seed) for seed in SEEDS]

    def stop(number, taken, row):
        if row and number == 1:
            signal.raise_signal(signal.SIGINT)

    assert run_seeds(klein_gordon, recipe, SEEDS, folders, watch=stop) == ["interrupted"] * 3
    half = [runs.Run(folder) for folder in folders]
    assert [each.metrics["steps"] for each in half] == [5] * 3
    # One has lost its checkpoint, begins anew, and runs after the others.
    shutil.rmtree(folders[2] / runs.CHECKPOINTS)
    assert run_seeds(klein_gordon, recipe, SEEDS, folders) == ["budget spent"] * 3
    for seed, folder in zip(SEEDS, folders, strict=True):
        alone = trained(klein_gordon, recipe, seed)
        found = runs.Run(folder)
        assert found.finished and found.metrics["seed"] == seed
        assert found.history["step"].tolist() == [5, 10, 12]
        np.testing.assert_allclose(found.history["loss"], alone.history["loss"], rtol=1e-3)


def test_a_comparison_on_what_would_be_an_accelerator(tmp_path):
    recipes = [small("fixed"), small("annealing"), replace(named("newton"), steps=2)]
    comparison = Comparison("klein-gordon", recipes, range(2), tmp_path)
    events = []
    assert comparison.run(lambda job, kind, what: events.append((job.label, kind, what)), True)
    ended = {label: what for label, kind, what in events if kind == "ended"}
    assert ended == {job.label: "budget spent" for job in comparison.jobs}
    assert not [event for event in events if event[1] == "failed"]
    table = comparison.summarize()
    assert [row["completed"] for row in table] == [2, 2, 2]
    for job in comparison.jobs:
        assert runs.Run(job.folder).metrics["seed"] == job.seed


def test_a_group_that_fails_is_run_one_by_one(tmp_path):
    """And says why, of the group and of each run."""
    bad = replace(small("rba"), points=poise.points.Uniform(8))  # points that do not stay
    comparison = Comparison("klein-gordon", [bad], range(2), tmp_path)
    events = []
    comparison.run(lambda job, kind, what: events.append((kind, what)), together=True)
    (noted,) = [what for kind, what in events if kind == "noted"]
    assert noted.startswith("seeds run one by one") and "remembers something" in noted
    failed = [what for kind, what in events if kind == "failed"]
    assert len(failed) == 2 and all("remembers something for each point" in why for why in failed)


def test_what_jax_computes_on(monkeypatch):
    devices.accelerated.cache_clear()
    monkeypatch.setattr(devices, "entry_points", lambda group: [])
    assert devices.accelerated() is False
    devices.accelerated.cache_clear()
    monkeypatch.setattr(devices, "entry_points", lambda group: ["a plugin"])
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert devices.accelerated() is False
    devices.accelerated.cache_clear()
    monkeypatch.setattr(devices, "sys", type("sys", (), {"executable": "echo"}))  # says what it got
    assert devices.accelerated() is True
    devices.accelerated.cache_clear()
