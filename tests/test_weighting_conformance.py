"""What every rule for loss weights has to do, whatever its formula."""

import inspect
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import poise
from poise import cli
from poise.comparison import compare
from poise.points import Uniform
from poise.training.checkpoint import Checkpoints
from poise.training.loop import DIVERGED, Limits
from poise.training.recipe import EXPERIMENTS, RECIPES, RULES
from poise.training.run import prepare
from poise.weighting import Annealing, AugmentedLagrangian, Averaged, Fixed, Signals

NAMES = list(RULES)
AVERAGED = [name for name, rule in RULES.items() if isinstance(rule, Averaged)]


def tiny(name, **changes):
    """The rule's recipe, small, with weights that change at every second step."""
    recipe = RECIPES[name]
    rule = recipe.weighting
    if isinstance(rule, Averaged):
        rule = replace(rule, every=2)
    points = replace(recipe.points, count=8)
    small = {"network": poise.networks.MLP(4, 1), "steps": 6, "record_every": 2}
    return replace(recipe, weighting=rule, points=points, **small, **changes)


@pytest.mark.parametrize("name", NAMES)
def test_it_trains_resumes_and_is_traced_once(klein_gordon, name, tmp_path):
    whole = prepare(klein_gordon, tiny(name), 0)
    advance = jax.jit(whole.step.advance)
    state = whole.state
    for count in (2, 2, 2):
        after, progress = advance(state, jnp.asarray(count, jnp.int32))
        assert bool(progress.finite)
        assert jax.tree.structure(after) == jax.tree.structure(state)
        for new, old in zip(jax.tree.leaves(after), jax.tree.leaves(state), strict=True):
            assert new.dtype == old.dtype and new.shape == old.shape
        state = after
    assert advance._cache_size() == 1
    assert set(state.weights) == set(klein_gordon.terms)
    assert all(np.isfinite(w) and w >= 0 for w in state.weights.values())
    assert state.params.dtype == np.float32
    # In two parts, with a checkpoint between.
    first = prepare(klein_gordon, tiny(name), 0)
    first.compile()
    first.run(limits=Limits(last=3))
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    first.save(checkpoints)
    again = prepare(klein_gordon, tiny(name), 0)
    again.compile()
    assert again.restore(checkpoints)
    again.run()
    checkpoints.close()
    jax.tree.map(np.testing.assert_array_equal, state, again.state)


@pytest.mark.parametrize("name", NAMES)
def test_one_term_alone(name):
    problem = poise.Problem(
        coordinates={"t": (0, 1)},
        fields=["u"],
        terms={"residual": poise.interior(lambda u, t: u.t + u)},
    )
    recipe = tiny(name)
    if isinstance(recipe.weighting, Annealing):
        recipe = replace(recipe, weighting=replace(recipe.weighting, reference="residual"))
    loop = prepare(problem, recipe, 0)
    state, progress = jax.jit(loop.step.advance)(loop.state, jnp.asarray(4, jnp.int32))
    assert bool(progress.finite)
    assert np.isfinite(state.weights["residual"])


@pytest.mark.parametrize("name", NAMES)
def test_numbers_that_are_not_finite_end_the_run(name):
    problem = poise.Problem(
        coordinates={"t": (0, 1)},
        fields=["u"],
        terms={
            "residual": poise.interior(lambda u, t: u.t + jnp.log(t - 2)),
            "initial": poise.initial(lambda u: u),
        },
    )
    loop = prepare(problem, tiny(name), 0)
    before = loop.state
    loop.compile()
    outcome = loop.run()
    assert outcome.status == DIVERGED
    assert "'residual'" in outcome.message
    np.testing.assert_array_equal(loop.state.params, before.params)


def signals_of(names, seed, zero=False):
    """Losses, traces and gradients that belong to names, not to places."""
    random = {name: np.random.default_rng([seed, ord(name[0])]) for name in sorted(names)}
    size = 0.0 if zero else 1.0
    return Signals(
        losses={n: jnp.float32(size * random[n].uniform(0.1, 9)) for n in names},
        gradients={
            n: {"w": jnp.asarray(size * random[n].normal(size=(3, 2)), jnp.float32)} for n in names
        },
        traces={n: jnp.float32(size * random[n].uniform(0.1, 9)) for n in names},
    )


def weights_of(rule, names, *many):
    _, state = rule.init(names, jnp.float32)
    weights = {}
    for signals in many:
        weights, state, _ = jax.jit(rule.update)(state, signals)
    return weights


def by_reference(rule):
    """With a term of its own named, where the first one written would be."""
    if isinstance(rule, AugmentedLagrangian):
        return replace(rule, objective="a")
    return replace(rule, reference="a") if isinstance(rule, Annealing) else rule


@pytest.mark.parametrize("name", AVERAGED)
def test_permuted_terms_have_permuted_weights(name):
    rule = by_reference(RULES[name])
    one, other = ("a", "b", "c", "d"), ("c", "a", "d", "b")
    found, again = (
        weights_of(rule, names, *(signals_of(names, seed) for seed in range(3)))
        for names in (one, other)
    )
    for term in one:
        np.testing.assert_allclose(found[term], again[term], rtol=1e-5)


@pytest.mark.parametrize("name", AVERAGED)
def test_signals_that_vanish_or_are_no_numbers(name):
    rule = by_reference(RULES[name])
    names = ("a", "b")
    nothing = signals_of(names, 0, zero=True)
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, signals_of(names, 0))
    for many in ([nothing], [nothing, nothing], [broken], [signals_of(names, 1), broken]):
        weights = weights_of(rule, names, *many)
        assert all(np.isfinite(weight) for weight in weights.values()), many


def test_all_rules_have_a_recipe_and_survive_being_written_down():
    from poise import weighting
    from poise.training.recipe import describe, rebuild_recipe

    kinds = {type(rule) for rule in RULES.values()}
    for item in vars(weighting).values():
        if isinstance(item, type) and issubclass(item, weighting.Weighting):
            assert (item in kinds) is not inspect.isabstract(item), item
    for name in NAMES:
        assert rebuild_recipe(describe(RECIPES[name])) == RECIPES[name]
        assert RECIPES[name].name == name
    assert RECIPES["fixed"].points == Uniform(128)
    assert isinstance(RULES["fixed"], Fixed)


@pytest.fixture
def asked(monkeypatch):
    """The recipes that a comparison is asked for on the command line; it is not run."""
    names = []

    def comparison(problem, recipes, seeds, folder):
        names.extend(recipe.name for recipe in recipes)
        raise Enough("enough")

    monkeypatch.setattr(compare, "Comparison", comparison)
    return names


class Enough(ValueError):
    pass


def test_all_stands_for_every_rule(asked):
    """On the command line."""
    with pytest.raises(Enough):
        cli.cli.main(["compare", "klein-gordon", "--recipes", "all,newton"], standalone_mode=False)
    assert asked == [*EXPERIMENTS, "newton"]


def test_all_leaves_out_what_the_problem_has_no_use_for(asked, capsys):
    with pytest.raises(Enough):
        cli.cli.main(["compare", "helmholtz", "--recipes", "all"], standalone_mode=False)
    assert asked == [name for name in EXPERIMENTS if name != "causal"]
    said = capsys.readouterr().out
    assert "causal is left out" in said and "the coordinates are x, y" in said


def test_a_rule_asked_for_by_name_is_not_left_out(asked, capsys):
    with pytest.raises(Enough):
        cli.cli.main(["compare", "helmholtz", "--recipes", "causal"], standalone_mode=False)
    assert asked == ["causal"]
    assert "left out" not in capsys.readouterr().out
