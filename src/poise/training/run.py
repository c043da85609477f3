"""`poise.train`: one run from problem to solution."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from poise import runs, threads
from poise.losses import Model, Objective
from poise.networks import Architecture
from poise.optimizers import Optax, Optimizer
from poise.points import Sampler, Sobol, samplers_for
from poise.precision import working_in
from poise.problem import Problem
from poise.solution import Solution
from poise.training import record
from poise.training.check import Check, check
from poise.training.checkpoint import Checkpoints
from poise.training.display import Display
from poise.training.interrupt import Interrupt
from poise.training.loop import Limits, Loop, Outcome
from poise.training.recipe import Recipe
from poise.training.step import Step
from poise.weighting import Weighting

OTHER = 7919
"""What is added to a seed for a second, independent solution."""


def train(
    problem: Problem,
    *,
    network: Architecture | eqx.Module | None = None,
    weighting: Weighting | None = None,
    optimizer: Optimizer | optax.GradientTransformation | None = None,
    points: int | Sampler | Mapping[str, int | Sampler] | None = None,
    steps: int | None = None,
    seed: int = 1234,
    dtype: str | None = None,
    record_every: int | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    checkpoint_seconds: float = 20.0,
    progress: bool = True,
) -> Solution:
    """Train a network on a problem, every choice by hand.

    What is left out is as in the reference experiment of Wang, Teng & Perdikaris (2021): five
    hidden layers of 50 units, 128 fresh uniform points per place and step, adaptive weights,
    Adam, 40,001 steps, float32.

    Parameters
    ----------
    problem
        What must hold.
    network
        An architecture such as ``poise.networks.MLP(width=50, depth=5)``, or any equinox module
        that maps a point (d,) to the fields there (m,).
    weighting
        Rule for the loss weights: ``poise.weighting.Annealing()``, ``Fixed({...})``.
    optimizer
        A poise optimizer or any optax gradient transformation.
    points
        Collocation points per place and step: a number, a sampler such as
        ``poise.points.Sobol(256)``, or a mapping from terms to either.
    steps
        Optimizer steps.
    seed
        Everything random follows from it: the same seed gives the same numbers on the same
        machine and versions.
    dtype
        "float32" or "float64".
    record_every
        Steps between rows of the history; a two-hundredth of the run if left out.
    out
        Run folder to write as training goes on, with checkpoints.
    resume
        Go on from the newest checkpoint in `out`, if there is one.
    checkpoint_seconds
        Least time between checkpoints.
    progress
        Show progress: a bar on a terminal, plain lines elsewhere.

    Returns
    -------
    Solution
        Whatever happened: a run that met numbers that are not finite, or was interrupted by
        Ctrl-C, returns its last finite parameters with a status that says so.

    Raises
    ------
    ValueError
        For settings that do not fit the problem, before any training.
    """
    if isinstance(optimizer, optax.GradientTransformation):
        optimizer = Optax(optimizer)
    if not isinstance(problem, Problem):
        raise ValueError(
            f"train({problem!r}): expected a poise.Problem; poise.zoo.load('name') gives one"
        )
    for name, value, kind, example in (
        ("weighting", weighting, Weighting, "poise.weighting.Annealing()"),
        ("optimizer", optimizer, Optimizer, "poise.optimizers.Adam() or optax.adam(1e-3)"),
    ):
        if value is not None and not isinstance(value, kind):
            raise ValueError(f"train({name}={value!r}): expected one such as {example}")
    given = {
        "network": network,
        "weighting": weighting,
        "optimizer": optimizer,
        "points": points,
        "steps": steps,
        "dtype": dtype,
        "record_every": record_every,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    if optimizer is not None and optimizer.needs:
        # It compares losses: points have to stay, and float32 is too coarse for it.
        chosen = {"points": Sobol(1024, fresh=False), "dtype": "float64", **chosen}
    recipe = Recipe(**{"name": "custom", **chosen})
    if out is not None:
        runs.check_writable(Path(out))
    return run(
        problem,
        recipe,
        seed=seed,
        out=None if out is None else Path(out),
        resume=resume,
        checkpoint_seconds=checkpoint_seconds,
        display=Display(recipe.steps) if progress else None,
    )


def prepare(problem: Problem, recipe: Recipe, seed: int, before: Loop | None = None) -> Loop:
    """Everything a run needs, ready to be compiled. Call it inside `working_in`.

    `before` is a loop that this one goes on from, with another network or other points.
    """
    dtype = jnp.dtype(recipe.dtype)
    network_key, points_key, loop_key = jax.random.split(jax.random.PRNGKey(seed), 3)
    draws = {
        term: any(block.patch is not None for block in blocks)
        for term, blocks in problem.blocks.items()
    }
    samplers = samplers_for(recipe.points, draws)
    objective = Objective(problem, samplers, points_key, dtype)
    network = recipe.network
    if isinstance(network, Architecture):
        network = network.build(problem.domain, len(problem.fields), network_key, dtype)
    else:
        network = _adopt(network, dtype)
    _check_network(network, problem, dtype)
    coefficients = {n: jnp.asarray(v, dtype) for n, v in problem.coefficients.items()}
    step = Step(objective, recipe.weighting, recipe.optimizer, Model(network, coefficients))
    return Loop(step, recipe.steps, recipe.interval, loop_key, before)


def run(
    problem: Problem,
    recipe: Recipe,
    *,
    seed: int,
    out: Path | None = None,
    resume: bool = False,
    origin: Mapping[str, Any] | None = None,
    checkpoint_seconds: float = 20.0,
    display: Display | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Solution:
    """Train by a recipe. `train` with the choices in one object, for the command line.

    Parameters
    ----------
    origin
        Where the problem came from, for config.json.
    extra
        More entries for config.json.
    """
    # Ctrl-C is heard from here to the last file: whenever it comes, the folder ends up whole.
    with Interrupt() as interrupt, working_in(recipe.dtype), threads.one_for_blas():
        begun = begin(
            problem, recipe, seed=seed, out=out, resume=resume, origin=origin, extra=extra
        )
        loop = begun.loop
        with display or nullcontext():
            if display:
                display.say("compiling")
            loop.compile()
            outcome = loop.run(
                begun.checkpoints,
                checkpoint_seconds,
                display.update if display else lambda taken, row: None,
                interrupt,
                Limits(seconds=recipe.seconds or math.inf),
            )
        return finish(begun, outcome)


@dataclass(frozen=True)
class Begun:
    """A run that is ready to be compiled, and where it is written down."""

    problem: Problem
    recipe: Recipe
    seed: int
    loop: Loop
    config: dict[str, Any]
    out: Path | None
    checkpoints: Checkpoints | None


def begin(
    problem: Problem,
    recipe: Recipe,
    *,
    seed: int,
    out: Path | None = None,
    resume: bool = False,
    origin: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Begun:
    """Prepare a run and begin its folder, or go on with what is there. As `run` takes them."""
    loop = prepare(problem, recipe, seed)
    config = {**record.configuration(problem, recipe, seed, origin), **(extra or {})}
    checkpoints = None
    if out is not None:
        if resume and (out / runs.CONFIG).exists():
            record.write_again(out, config)
        else:
            runs.write_start(out, config)
        checkpoints = Checkpoints(out / runs.CHECKPOINTS)
        if resume:
            loop.restore(checkpoints)
        loop.history.write_to(out / runs.HISTORY)
    return Begun(problem, recipe, seed, loop, config, out, checkpoints)


def finish(begun: Begun, outcome: Outcome) -> Solution:
    """Write down how a run ended. Call it inside `working_in`."""
    problem, recipe, seed, loop = begun.problem, begun.recipe, begun.seed, begun.loop
    if begun.checkpoints:
        begun.checkpoints.close()
    metrics = {
        **record.results(loop, problem, recipe, seed),
        "status": outcome.status,
        "message": outcome.message,
    }
    fields = record.solution_dataset(loop, problem)
    gradients = record.gradient_dataset(loop)
    if begun.out is not None:
        runs.write_results(begun.out, metrics, fields, gradients)
    model = loop.step.model(loop.chosen.params)
    predicted = loop.evaluation.on_grid(loop.chosen.params)

    # As many steps as the first took, which may have ended early.
    same = replace(recipe, steps=max(1, loop.taken), record_every=recipe.interval)

    def second() -> dict[str, Any]:
        with working_in(recipe.dtype), threads.one_for_blas():
            other = prepare(problem, same, seed + OTHER)
            other.compile()
            other.run(limits=Limits(seconds=recipe.seconds or math.inf))
            return other.evaluation.on_grid(other.chosen.params)

    def checking(estimate: Mapping[str, float] | None) -> Check:
        exact = metrics["best_relative_l2"]
        criterion = metrics["best_held_out"]
        return check(
            problem, model, recipe.dtype, predicted, exact, seed, estimate, second, criterion
        )

    return Solution(
        problem, model, recipe.dtype, begun.config, metrics, loop.history, fields, gradients,
        begun.out, checking,
    )  # fmt: skip


def _adopt(network: Any, dtype: Any) -> Any:
    """A user's own module, in the precision of the run."""
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf, dtype) if eqx.is_inexact_array(leaf) else leaf, network
    )


def _check_network(network: Any, problem: Problem, dtype: Any) -> None:
    inputs, outputs = len(problem.coordinates), len(problem.fields)
    point = jax.ShapeDtypeStruct((inputs,), dtype)
    try:
        shape = eqx.filter_eval_shape(network, point).shape
    except Exception as error:
        raise ValueError(
            f"the network cannot be called on a point of shape ({inputs},): "
            f"{type(error).__name__}: {error}"
        ) from error
    if shape != (outputs,):
        raise ValueError(
            f"the network maps a point of shape ({inputs},) to shape {shape}; it must give "
            f"({outputs},), one number for each of the fields {', '.join(problem.fields)}"
        )
    for name in problem.domain.periodic:
        _check_period(network, problem, name, dtype)


def _check_period(network: Any, problem: Problem, name: str, dtype: Any) -> None:
    """Whether a network, with its slope, is the same at both ends of a periodic coordinate."""
    domain, axis = problem.domain, problem.coordinates.index(name)
    ends = np.array([domain.lower, domain.upper])
    unit = np.random.default_rng(0).random((4, domain.dimension))
    below = ends[0] + (ends[1] - ends[0]) * unit
    below[:, axis], above = ends[0, axis], below.copy()
    above[:, axis] = ends[1, axis]
    with jax.enable_x64(True):  # in float32 the rounding of a period could pass for a gap
        wide = _adopt(network, jnp.float64)
        along = jnp.eye(domain.dimension)[axis]
        both = jax.vmap(lambda x: jax.jvp(wide, (x,), (along,)))
        sides = [[np.asarray(part) for part in both(jnp.asarray(x))] for x in (below, above)]
    for what, *found in zip(("value", "slope"), *sides, strict=True):
        gap = np.abs(found[0] - found[1]).max()
        if gap > np.sqrt(np.finfo(dtype).eps) * np.abs(found).max():
            low, high = domain.ends(name)
            raise ValueError(
                f"{name} is periodic, but the network's {what} differs by {gap:.3g} between "
                f"{name}={low:g} and {name}={high:g}: let it work on the features "
                "poise.networks.Embedding.of(problem.domain)(x) in place of the point x, or "
                f"give {name!r} an interval and a poise.periodic_sides({name!r}) term"
            )
