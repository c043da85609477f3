"""`poise.solve`: from a problem to a solution of a wanted accuracy, without tuning.

A *member* is one solve from one random start: it tries the networks of the plan, keeps the one
that gets on, and widens it when it has no more room. Two members from independent starts make an
estimate of the error that needs no exact solution: how far they are apart on the grid. The first
member is followed until it seems good enough by its own account; the second until it gets as far;
then the two are compared, and both go on in turns as long as they disagree and time is left.

All of it is decided by the clock, the held-out criterion and the estimate. The exact solution
takes no part.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np
from jax.flatten_util import ravel_pytree

from poise import runs
from poise.networks import Architecture, grow
from poise.precision import working_in
from poise.problem import Problem
from poise.solution import Solution
from poise.training import recipes, record
from poise.training.check import Check, apart, check
from poise.training.display import SolveDisplay
from poise.training.interrupt import Interrupt
from poise.training.loop import (
    BUDGET_SPENT,
    CONVERGED,
    DIVERGED,
    INTERRUPTED,
    STALLED,
    Limits,
    Loop,
    Outcome,
)
from poise.training.recipe import Recipe, describe
from poise.training.run import OTHER, prepare

SETTLED = 1e-4
"""Held-out criterion below which a network is seen to get on, and no other is tried."""

TRY = 0.15
"""Share of the time for which one network is tried before another."""

PATIENCE = 15
"""Rows of the history (two steps each) in which the criterion has to fall by a fifth."""


@dataclass
class Member:
    """One solve from one random start.

    Parameters
    ----------
    problem, plan, seed
        What to solve, how to begin, and from which start.
    say
        Told each choice, in a line.
    """

    problem: Problem
    plan: recipes.Plan
    seed: int
    say: Callable[[str], None] = lambda line: None
    loops: list[tuple[Recipe, Loop]] = field(default_factory=list)
    tried: bool = False
    done: Outcome | None = None

    @property
    def seconds(self) -> float:
        """Of compiling and training, so far."""
        if not self.loops:
            return 0.0
        clock = self.loops[0][1].clock
        return clock.compiling + clock.training

    @property
    def best(self) -> tuple[Recipe, Loop]:
        """The loop with the smallest criterion, and its recipe."""
        return min(self.loops, key=lambda pair: pair[1].chosen.value)

    @property
    def criterion(self) -> float:
        """The smallest held-out criterion yet."""
        return self.best[1].chosen.value if self.loops else math.inf

    def on_grid(self) -> dict[str, np.ndarray]:
        """The best prediction on the evaluation grid, by field."""
        _, loop = self.best
        return loop.evaluation.on_grid(loop.chosen.params)

    def advance(self, until: float, goal: float, watch: Any, interrupt: Interrupt) -> Outcome:
        """Go on until the member's clock shows `until`, the criterion is below `goal`, or no
        more is to be had from it."""
        if self.done is not None:
            return self.done
        if not self.tried:
            outcome = self._try_networks(until, goal, watch, interrupt)
            if outcome is not None:
                return outcome
        while True:
            recipe, loop = self.loops[-1]
            outcome = self._run(loop, until, goal, watch, interrupt)
            if outcome.status != STALLED:
                return outcome
            larger = recipes.wider(self.problem, recipe)
            if larger is None or self.seconds > 0.9 * until:
                self.done = outcome
                return outcome
            self._widen(larger, outcome)

    def _try_networks(
        self, until: float, goal: float, watch: Any, interrupt: Interrupt
    ) -> Outcome | None:
        """Give each network of the plan its share of time; the better one stays."""
        share = TRY * until
        for number, recipe in enumerate(self.plan.recipes):
            if number >= len(self.loops):
                before = self.loops[-1][1] if self.loops else None
                loop = self._prepared(recipe, before)
                loop.compile()
                self.loops.append((recipe, loop))
            last = number + 1 == len(self.plan.recipes)
            if last and number == 0:
                break
            at = min(until, self.seconds + share)
            outcome = self._run(self.loops[number][1], at, min(goal, 1.0), watch, interrupt)
            if outcome.status in (INTERRUPTED, DIVERGED, CONVERGED):
                self.tried = outcome.status != INTERRUPTED
                return outcome
            if self.loops[number][1].chosen.value < SETTLED:
                break
        self.tried = True
        recipe, loop = self.best
        if len(self.loops) > 1:
            self.say(
                f"network kept: {recipes.words(recipe.network)} (held-out criterion "
                f"{', '.join(f'{each.chosen.value:.1e}' for _, each in self.loops)})"
            )
        self.loops.remove((recipe, loop))
        self.loops.append((recipe, loop))
        return None

    def _prepared(self, recipe: Recipe, before: Loop | None) -> Loop:
        start = time.perf_counter()
        loop = prepare(self.problem, recipe, self.seed, before)
        loop.clock.compiling += time.perf_counter() - start
        return loop

    def _run(
        self, loop: Loop, until: float, goal: float, watch: Any, interrupt: Interrupt
    ) -> Outcome:
        limits = Limits(seconds=until, patience=PATIENCE, goal=goal)
        return loop.run(watch=watch, interrupt=interrupt, limits=limits)

    def _widen(self, larger: Recipe, outcome: Outcome) -> None:
        """Go on in a wider network from the best parameters."""
        recipe, loop = self.best
        fresh = self._prepared(larger, loop)
        model = loop.step.model(loop.chosen.params)
        wide = fresh.step.model(fresh.state.params)
        wide = wide._replace(
            network=grow(model.network, wide.network), coefficients=model.coefficients
        )
        params, _ = ravel_pytree(eqx.filter(wide, eqx.is_inexact_array))
        fresh.begin_from(params, loop)
        fresh.compile()
        self.loops.append((larger, fresh))
        self.say(
            f"step {loop.taken}, {self.seconds:.0f} s: {outcome.message}; widened from "
            f"{recipe.network.width} to {larger.network.width} units"
        )


def solve(
    problem: Problem,
    *,
    tol: float | None = 1e-6,
    budget: str | float = "60s",
    network: Architecture | eqx.Module | None = None,
    weighting: Any = None,
    seed: int = 1234,
    memory_gb: float = 2.0,
    out: str | os.PathLike[str] | None = None,
    verbose: bool = True,
) -> Solution:
    """Solve a problem to a relative error, in a time.

    Parameters
    ----------
    problem
        What must hold.
    tol
        Wanted relative L2 error, by the estimate of `Solution.check`: the difference to a second,
        independent solve. None: no estimate is made, and all the time goes into one solve.
    budget
        Time for everything but imports: "60s", "5min", or seconds.
    network
        An architecture or a module of your own; chosen if left out.
    weighting
        Rule for the loss weights; `poise.weighting.NTK()` if left out.
    seed
        Of everything random. What is decided by the clock may differ from run to run.
    memory_gb
        What an optimizer step may hold.
    out
        Run folder to write.
    verbose
        Print choices and progress.

    Returns
    -------
    Solution
        Its status is "converged" (the estimate is below `tol`), "budget spent", "stalled" (no
        more is to be had from networks of a size that fits), "diverged" or "interrupted". The
        estimate, where there is one, is in ``solution.estimate``.

    Raises
    ------
    ValueError
        For settings that make no sense, before any work.
    """
    if not isinstance(problem, Problem):
        raise ValueError(
            f"solve({problem!r}): expected a poise.Problem; poise.zoo.load('name') gives one"
        )
    if tol is not None and not (isinstance(tol, int | float) and 0 < tol < 1):
        raise ValueError(f"solve(tol={tol!r}): must lie between 0 and 1, or be None")
    plan = recipes.automatic(problem, network, weighting, memory_gb)
    return run_plan(
        problem,
        plan,
        tol=tol,
        budget=recipes.seconds(budget),
        seed=seed,
        out=None if out is None else Path(out),
        display=SolveDisplay(recipes.seconds(budget), problem.name) if verbose else None,
    )


def run_plan(
    problem: Problem,
    plan: recipes.Plan,
    *,
    tol: float | None,
    budget: float,
    seed: int,
    out: Path | None = None,
    display: Any = None,
    origin: Any = None,
    extra: Any = None,
) -> Solution:
    """`solve` with the choices in one object, for the command line."""
    start = time.perf_counter()
    choices = list(plan.choices)

    def say(line: str) -> None:
        choices.append(line)
        if display:
            display.choice(line)

    watch = display.update if display else lambda taken, row: None
    with Interrupt() as interrupt, working_in("float64"), display or nullcontext():
        recipe = plan.recipes[0]
        config = {**record.configuration(problem, recipe, seed, origin), **(extra or {})}
        config["solve"] = {"tol": tol, "budget": budget}
        if out is not None:
            runs.write_start(out, {**config, "choices": choices})
        if display:
            for line in plan.choices:
                display.choice(line)
        first = Member(problem, plan, seed, say)
        outcome, estimate = _follow(first, plan, tol, budget, start, watch, interrupt, say)
        recipe, loop = first.best
        config.update(recipe=describe(recipe), choices=choices)
        metrics = {
            **record.results(loop, problem, recipe, seed),
            "steps": first.loops[-1][1].taken,
            "status": outcome.status,
            "message": outcome.message,
            "estimate": estimate,
        }
        fields = record.solution_dataset(loop, problem)
        gradients = record.gradient_dataset(loop)
        if out is not None:
            runs.write_json(out / runs.CONFIG, config)
            loop.history.write_to(out / runs.HISTORY)
            runs.write_results(out, metrics, fields, gradients)
        model = loop.step.model(loop.chosen.params)
        predicted = loop.evaluation.on_grid(loop.chosen.params)
        reached, seconds = first.criterion, first.seconds

    def other() -> dict[str, np.ndarray]:
        with Interrupt() as interrupt, working_in("float64"):
            second = Member(problem, plan, seed + OTHER)
            second.advance(seconds, reached, lambda taken, row: None, interrupt)
            _, loop = second.best
            return loop.evaluation.on_grid(loop.chosen.params)

    def checking(estimate: Mapping[str, float] | None) -> Check:
        exact = metrics["best_relative_l2"]
        return check(problem, model, "float64", predicted, exact, seed, estimate, other)

    return Solution(
        problem, model, "float64", config, metrics, loop.history, fields, gradients, out, checking
    )


def _follow(
    first: Member,
    plan: recipes.Plan,
    tol: float | None,
    budget: float,
    start: float,
    watch: Any,
    interrupt: Interrupt,
    say: Callable[[str], None],
) -> tuple[Outcome, dict[str, float] | None]:
    """Advance one member, or two, until the estimate is good enough or nothing is left."""

    def left() -> float:
        return budget - (time.perf_counter() - start)

    if tol is None:
        return first.advance(first.seconds + left(), 0.0, watch, interrupt), None
    second = Member(first.problem, plan, first.seed + OTHER)
    # Half of the time may go into each. The criterion C is a sum of squares relative to those of
    # an untrained network; over the zoo the error was between 0.1 and 1.5 times √C.
    goal = (0.3 * tol) ** 2
    outcome = first.advance(first.seconds + left() / 2, goal, watch, interrupt)
    estimate: dict[str, float] | None = None
    silent: Any = lambda taken, row: None  # noqa: E731
    while outcome.status not in (INTERRUPTED, DIVERGED):
        other = second.advance(
            second.seconds + left() * 0.95, max(goal, first.criterion), silent, interrupt
        )
        if other.status == INTERRUPTED:
            return other, estimate
        estimate = difference(first, second)
        worst = max(estimate.values())
        shown = ", ".join(f"{name} {value:.1e}" for name, value in estimate.items())
        say(f"estimated relative error, from the difference to a second solve: {shown}")
        if worst <= tol:
            message = f"the estimated relative error, {worst:.1e}, is below {tol:.1e}"
            return Outcome(CONVERGED, message), estimate
        if left() < 0.05 * budget:
            break
        if first.done and second.done:
            return Outcome(STALLED, first.done.message), estimate
        goal = goal / 100
        outcome = first.advance(first.seconds + left() / 2, goal, watch, interrupt)
    if outcome.status in (INTERRUPTED, DIVERGED):
        return outcome, estimate
    return Outcome(BUDGET_SPENT, f"the time of {budget:.3g} s is spent"), estimate


def difference(first: Member, second: Member) -> dict[str, float]:
    """‖u₁ - u₂‖₂ / ‖u₁‖₂ on the grid, by field."""
    two = second.on_grid()
    return {name: apart(values, two[name]) for name, values in first.on_grid().items()}
