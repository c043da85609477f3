"""The automatic recipe: which network, points, weights and optimizer `poise.solve` begins with.

What is here are the numbers that measurements have put there (`benchmarks/RESULTS.md`), each with
its reason in one line that the user gets to read.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp

from poise.networks import MLP, SIREN, Architecture
from poise.optimizers import GaussNewton
from poise.points import Adaptive, Sampler, Sobol
from poise.problem import Problem
from poise.training.recipe import Recipe
from poise.weighting import NTK, Weighting

WIDTH = 36
"""Units of a hidden layer of the sine network, for one field. With 30 the equation of Klein and
Gordon stops at 1e-8, in however many points, and a network that is widened from there gets no
farther; with 44 a step takes two to three times as long."""

LARGEST = 2700
"""Parameters beyond which a network is not widened: a QR of it takes seconds on one core."""

WIDER = 1.2
"""Factor by which a network is widened."""

FEW, MANY = 0.5, 1.0
"""Residual points per parameter of a sine network, at first and once it stalls. Redrawn points
carry a smooth solution most of the way with fewer residuals than parameters, which cost little;
the last digits are lost between the points, and want more of them."""

FRONTS = 2.2
"""Residual points per parameter of a network for fronts: with one the residual vanishes at the
points and not between them (Burgers: 2e-3 where twice the points give 1e-4, in equal time)."""

HARMONICS = 4
"""Waves around a periodic coordinate that a network for fronts is given (Korteweg-de Vries: the
solitons are found in half of the steps that it takes with one)."""

FAST, SLOW = 12.0, 1.0
"""Scales of a start in which one coordinate is much faster than the others."""

EDGES = 0.25
"""How much the points of a sine network gather at the edges. A network that has settled runs wild
between its points, and there most: on the equation of Klein and Gordon the held-out criterion
falls some ten times lower with 0.8 or 0.9, with 0.25 two to three times. From 0.5 on too few are
left inside for a solution that oscillates (Helmholtz ends ten times higher)."""

REDRAW = 8
"""Steps between drawings of points where the residual is large."""


@dataclass(frozen=True)
class Plan:
    """What `solve` tries.

    Attributes
    ----------
    recipes
        One or two, in the order in which they are tried; each with a network of its own.
    choices
        What was chosen, one line each.
    """

    recipes: tuple[Recipe, ...]
    choices: tuple[str, ...]


def automatic(
    problem: Problem,
    network: Any = None,
    weighting: Weighting | None = None,
    memory_gb: float = 2.0,
) -> Plan:
    """Choose for a problem.

    Parameters
    ----------
    network
        An architecture or a module that the user wants; None to choose.
    weighting
        A rule that the user wants; None for `NTK`, which over the zoo is nearest the best of
        five (`benchmarks/rules.py`).
    memory_gb
        What a Gauss-Newton step may hold.
    """
    rule = weighting or NTK()
    networks = [network] if network is not None else _networks(problem)
    recipes = tuple(
        Recipe(
            name="solve",
            network=each,
            points=points_for(problem, each),
            weighting=rule,
            optimizer=GaussNewton(memory_gb=memory_gb),
            steps=1_000_000,
            dtype="float64",
            record_every=2,
        )
        for each in networks
    )
    first = recipes[0]
    choices = [
        f"network: {words(first.network)}"
        + ("" if network is not None else ", goes deepest on smooth solutions")
    ]
    if len(recipes) > 1:
        choices.append(f"network to try if that creeps: {words(recipes[1].network)}, for fronts")
    counts = {term: sampler.count for term, sampler in first.points.items()}  # type: ignore[union-attr]
    choices += [
        "points per place: " + ", ".join(f"{term} {count}" for term, count in counts.items()),
        f"points: Sobol, in the interior half of them redrawn every {REDRAW} steps where the "
        "residual is large (RAD)"
        + (", denser at the edges" if isinstance(first.network, SIREN) else ""),
        f"loss weights: {type(rule).__name__}, every step",
        "optimizer: Gauss-Newton, normal equations first, then QR; float64",
    ]
    return Plan(recipes, tuple(choices))


def _networks(problem: Problem) -> list[Architecture]:
    dimension = len(problem.coordinates)
    width = WIDTH + 4 * max(0, len(problem.fields) - 1)
    usual = 3.0 if dimension <= 3 else 1.0
    scale: Any = usual
    if problem.domain.periodic:  # low wave numbers, the first of which make all the others
        scale = {n: 1.0 if n in problem.domain.periodic else usual for n in problem.coordinates}
    sine = SIREN(width=width, depth=2, scale=scale)
    if dimension > 3:
        return [sine]
    harmonics = HARMONICS if problem.domain.periodic else 1
    return [sine, MLP(width=20, depth=3, activation=jnp.tanh, harmonics=harmonics)]


def other_starts(problem: Problem, network: Any) -> tuple[Architecture, ...]:
    """Starts to try where the first one does not get on: one coordinate much faster than others.

    With the right scales a wave that travels fast is found in ten steps, with equal ones in a
    hundred.
    """
    names = problem.coordinates
    if not isinstance(network, SIREN) or not 2 <= len(names) <= 3:
        return ()
    # Wave numbers around a periodic coordinate are part of the compiled program: they stay.
    return tuple(
        replace(network, scale={name: FAST if name == fast else SLOW for name in names})
        for fast in names
        if fast not in problem.domain.periodic
    )


def parameters(network: Architecture, inputs: int, outputs: int) -> int:
    """About how many parameters a perceptron of this architecture has."""
    width, depth = getattr(network, "width", 30), getattr(network, "depth", 3)
    return (inputs + 1) * width + (depth - 1) * (width + 1) * width + (width + 1) * outputs


def points_for(problem: Problem, network: Any, many: bool = False) -> dict[str, Sampler]:
    """Points for a network: by its parameters inside, an eighth of that on each side.

    At least 256 inside, a multiple of 64; fewer where several equations share a point. `many`
    as a sine network gets when it stalls.
    """
    count = 1000.0
    if isinstance(network, Architecture):
        share = (MANY if many else FEW) if isinstance(network, SIREN) else FRONTS
        count = share * parameters(network, len(problem.coordinates), len(problem.fields))
    # Several equations share a point.
    equations = max(
        (
            block.equations
            for blocks in problem.blocks.values()
            for block in blocks
            if block.patch is not None and block.patch.normal is None
        ),
        default=1,
    )
    inside = 64 * round(max(256.0, count / equations) / 64)
    found: dict[str, Sampler] = {}
    edges = EDGES if isinstance(network, SIREN) else 0.0
    for term, blocks in problem.blocks.items():
        drawn = [block for block in blocks if block.patch is not None]
        if not drawn:
            continue
        interior = any(block.patch and not block.patch.normal for block in drawn)
        if interior:
            found[term] = Adaptive(inside, every=REDRAW, edges=edges)
        else:
            found[term] = Sobol(max(32, inside // 8), fresh=False, edges=edges)
    return found


def finer(problem: Problem, recipe: Recipe) -> Recipe | None:
    """The recipe with many points; None where it has them."""
    points = points_for(problem, recipe.network, many=True)
    return None if points == recipe.points else replace(recipe, points=points)


def wider(problem: Problem, recipe: Recipe) -> Recipe | None:
    """The recipe with a wider network and many points; None where that is too large."""
    network = recipe.network
    if not isinstance(network, SIREN | MLP):
        return None
    larger = replace(network, width=math.ceil(WIDER * network.width))
    if parameters(larger, len(problem.coordinates), len(problem.fields)) > LARGEST:
        return None
    return replace(recipe, network=larger, points=points_for(problem, larger, many=True))


def words(network: Any) -> str:
    """A network in a few words."""
    if isinstance(network, SIREN):
        scale = network.scale
        shown = f"{scale:g}" if isinstance(scale, float | int) else dict(scale)
        return f"SIREN, {network.depth} hidden layers of {network.width}, scale {shown}"
    if isinstance(network, MLP):
        kind = getattr(network.activation, "__name__", "?")
        return f"{kind} perceptron, {network.depth} hidden layers of {network.width}"
    return type(network).__name__


def seconds(budget: str | float) -> float:
    """A time such as 60, "60s", "5min" or "1.5h" in seconds.

    Raises
    ------
    ValueError
        For anything else.
    """
    if isinstance(budget, int | float) and not isinstance(budget, bool):
        found = float(budget)
    else:
        match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*(s|sec|min|m|h)?\s*", str(budget))
        units = {None: 1, "s": 1, "sec": 1, "min": 60, "m": 60, "h": 3600}
        try:
            found = float(match[1]) * units[match[2]] if match else math.nan
        except ValueError:
            found = math.nan
    if not (math.isfinite(found) and found > 0):
        raise ValueError(f"budget={budget!r}: give a time such as '60s', '5min' or 90 (seconds)")
    return found
