"""Options that commands share, and the recipes they make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from poise import networks, optimizers, points
from poise.precision import DTYPES
from poise.problem import Problem
from poise.training import recipes
from poise.training.recipe import ACTIVATIONS, EXPERIMENTS, Recipe, named
from poise.weighting import Averaged, Pointwise

SAMPLERS = {"uniform": points.Uniform, "sobol": points.Sobol}


def _seconds(context: Any, option: Any, text: str | None) -> float | None:
    return None if text is None else recipes.seconds(text)


def recipe_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that `train` and `compare` share."""
    whole = click.IntRange(min=1)
    options = [
        click.option("--steps", type=whole, help="Optimizer steps.  [default: 40001; newton 200]"),
        click.option(
            "--budget",
            "seconds",
            callback=_seconds,
            help="Time after which to stop, as 60s or 5min.",
        ),
        click.option(
            "--points",
            "count",
            type=whole,
            help="Collocation points per place and step; 512 in recipes that keep them.  "
            "[default: 128]",
        ),
        click.option(
            "--sampler",
            type=click.Choice(list(SAMPLERS)),
            help="How points are drawn.  [default: uniform]",
        ),
        click.option(
            "--fixed-points", is_flag=True, help="Keep the first points instead of drawing anew."
        ),
        click.option("--width", type=whole, help="Units of a hidden layer.  [default: 50]"),
        click.option("--depth", type=whole, help="Hidden layers.  [default: 5]"),
        click.option(
            "--activation",
            type=click.Choice(list(ACTIVATIONS)),
            help="Of the hidden layers.  [default: tanh]",
        ),
        click.option("--lr", type=float, help="Learning rate at the start.  [default: 0.001]"),
        click.option("--dtype", type=click.Choice(DTYPES), help="Precision.  [default: float32]"),
        click.option(
            "--weighting-every",
            type=whole,
            help="Steps between updates of adaptive weights; recipes differ.  [default: 10]",
        ),
        click.option(
            "--ema",
            type=click.FloatRange(0, 1, max_open=True),
            help="Share of the old weight kept at an update; recipes differ.  [default: 0.9]",
        ),
        click.option(
            "--record-every",
            type=whole,
            help="Steps between rows of the history.  [default: a 200th of the run]",
        ),
    ]
    return _all(options, command)


def running(threads: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The options of commands that run one training; `threads` says what is the default."""
    options = [
        click.option(
            "--threads",
            "thread_count",
            type=click.IntRange(min=1),
            help=f"CPU threads.  [default: {threads}]",
        ),
        click.option(
            "--report/--no-report", default=True, help="Draw figures and report.html at the end."
        ),
    ]
    return lambda command: _all(options, command)


checkpointing = click.option(
    "--checkpoint-seconds",
    type=click.FloatRange(min=0),
    default=20.0,
    show_default=True,
    help="Least time between checkpoints.",
)

run_folder = click.option(
    "--out",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Run folder.  [default: in runs/]",
)

seed = click.option("--seed", type=int, default=1234, show_default=True, help="Of all randomness.")


def _all(options: list[Any], command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(options):
        command = option(command)
    return command


def every_rule(problem: Problem) -> tuple[list[str], dict[str, str]]:
    """The recipes of all rules that a problem has a use for, and why it has none for the others."""
    suited, unsuited = [], {}
    for name, recipe in EXPERIMENTS.items():
        try:
            if isinstance(recipe.weighting, Pointwise):
                recipe.weighting.check_coordinates(problem.coordinates)
        except ValueError as why:
            unsuited[name] = str(why)
        else:
            suited.append(name)
    return suited, unsuited


def build_recipes(names: Sequence[str], chosen: dict[str, Any]) -> tuple[list[Recipe], list[str]]:
    """Recipes that are to be compared, and what of the options is not used, a line each."""
    if any(isinstance(named(name).optimizer, optimizers.Adam) for name in names):
        built = [build_recipe(name, chosen, strict=False) for name in names]
    else:  # a length is then meant for them
        own = [name for name in names if named(name).network is not None]
        built = [build_recipe(name, chosen, strict=name in own) for name in names]
    steps = chosen.get("steps")
    other = [
        f"{recipe.name} keeps its own {recipe.steps} steps: --steps is for first-order recipes"
        for recipe in built
        if steps is not None and recipe.network is not None and recipe.steps != steps
    ]
    return built, other


def build_recipe(name: str, chosen: dict[str, Any], strict: bool = True) -> Recipe:
    """A named recipe with the options a user gave.

    With `strict`, options that the recipe has no use for are an error. Otherwise a length and a
    precision are taken as meant for first-order recipes, which stand beside this one.
    """
    recipe = named(name)
    given = {o: value for o, value in chosen.items() if value is not None and value is not False}
    if strict and recipe.network is None:
        raise ValueError(f"the recipe {name!r} makes its own choices: use `poise solve`")
    parts: dict[str, Any] = {
        part: given[part] for part in ("steps", "dtype", "record_every", "seconds") if part in given
    }
    if recipe.network is None:
        return replace(recipe, **{n: v for n, v in parts.items() if n == "seconds"})

    def refuse(option: str, why: str) -> None:
        if option in given and strict:
            raise ValueError(f"--{option.replace('_', '-')}: the recipe {name!r} has no {why}")

    network, optimizer, weighting = recipe.network, recipe.optimizer, recipe.weighting
    for option in ("width", "depth"):
        if option in given:
            network = replace(network, **{option: given[option]})
    if isinstance(network, networks.MLP):
        if "activation" in given:
            network = replace(network, activation=ACTIVATIONS[given["activation"]])
    else:
        refuse("activation", "choice of activation, it is the sine")
    if isinstance(optimizer, optimizers.Adam):
        if "lr" in given:
            optimizer = replace(optimizer, learning_rate=given["lr"])
    else:
        refuse("lr", "learning rate")
        if not strict:
            parts = {n: v for n, v in parts.items() if n not in ("steps", "dtype", "record_every")}
    for option, part in (("weighting_every", "every"), ("ema", "ema")):
        if option in given and isinstance(weighting, Averaged):
            weighting = replace(weighting, **{part: given[option]})
        else:
            refuse(option, "weights of terms that are averaged over steps")
    return replace(
        recipe,
        network=network,
        optimizer=optimizer,
        weighting=weighting,
        points=_sampler(recipe.points, optimizer, given),
        **parts,
    )


def _sampler(default: Any, optimizer: optimizers.Optimizer, given: dict[str, Any]) -> Any:
    """How points are drawn: as the recipe says, with what the user said instead."""
    assert isinstance(default, points.Sampler)
    count = given.get("count", default.count)
    fixed = "fixed_points" in given or bool(optimizer.needs) or not default.fresh
    if "sampler" in given:
        return SAMPLERS[given["sampler"]](count, not fixed)
    if isinstance(default, points.Adaptive):
        if "fixed_points" in given:
            return points.Sobol(count, fresh=False)
        return replace(default, count=count)
    return replace(default, count=count, fresh=not fixed)
