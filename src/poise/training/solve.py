"""`poise.solve`: from a problem to a solution of a wanted accuracy, without tuning.

A *member* (`poise.training.member`) is one solve from one random start: it tries the networks of
the plan, keeps the one that gets on, and widens it when it has no more room. Two members from
independent starts make an estimate of the error that needs no exact solution: how far they are
apart on the grid. The first member is followed until it seems good enough by its own account; the
second until it gets as far; then the two are compared, and both go on in turns as long as they
disagree and time is left.

All of it is decided by the clock, the held-out criterion and the estimate. The exact solution
takes no part.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np

from poise import runs, threads
from poise.networks import Architecture
from poise.precision import working_in
from poise.problem import Problem
from poise.solution import Solution
from poise.training import recipes, record
from poise.training.check import Check, apart, check, doubt
from poise.training.display import SolveDisplay
from poise.training.interrupt import Interrupt
from poise.training.journal import Journal
from poise.training.loop import (
    BUDGET_SPENT,
    CONVERGED,
    DIVERGED,
    INTERRUPTED,
    STALLED,
    Outcome,
)
from poise.training.member import Member
from poise.training.recipe import describe
from poise.training.run import OTHER
from poise.weighting import Weighting


def solve(
    problem: Problem,
    *,
    tol: float | None = 1e-6,
    budget: str | float = "60s",
    network: Architecture | eqx.Module | None = None,
    weighting: Weighting | None = None,
    seed: int = 1234,
    memory_gb: float = 2.0,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
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
        An architecture or a module of your own; chosen if left out. A module is begun with as
        it is, by both solves: the estimate then sees what points and time make of it, not what
        another start would, and an architecture is better where an estimate is wanted.
    weighting
        Rule for the loss weights; `poise.weighting.NTK()` if left out.
    seed
        Of everything random. What is decided by the clock may differ from run to run.
    memory_gb
        What an optimizer step may hold.
    out
        Run folder to write as it goes on, with checkpoints.
    resume
        Go on with the solve in `out`, if there is one: with what is left of its time.
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
    if weighting is not None and not isinstance(weighting, Weighting):
        raise ValueError(f"solve(weighting={weighting!r}): expected one such as NTK()")
    seconds = recipes.seconds(budget)
    if out is not None:
        runs.check_writable(Path(out))
    plan = recipes.automatic(problem, network, weighting, memory_gb)
    return run_plan(
        problem,
        plan,
        tol=tol,
        budget=seconds,
        seed=seed,
        out=None if out is None else Path(out),
        resume=resume,
        display=SolveDisplay(seconds, problem.name) if verbose else None,
    )


def run_plan(
    problem: Problem,
    plan: recipes.Plan,
    *,
    tol: float | None,
    budget: float,
    seed: int,
    out: Path | None = None,
    resume: bool = False,
    display: Any = None,
    origin: Any = None,
    extra: Any = None,
) -> Solution:
    """`solve` with the choices in one object, for the command line."""
    start = time.perf_counter()
    journal = None
    if out is not None:
        resume = resume and (out / runs.CONFIG).exists()
        journal = Journal(out / runs.CHECKPOINTS, resume)
        start -= journal.spent
    choices = list(plan.choices) if journal is None else journal.choices
    fresh = [line for line in plan.choices if line not in choices]
    choices += fresh

    def say(line: str) -> None:
        choices.append(line)
        if display:
            display.choice(line)

    watch = display.update if display else lambda taken, row: None
    one_thread = threads.one_for_blas()
    with Interrupt() as interrupt, working_in("float64"), one_thread, display or nullcontext():
        recipe = plan.recipes[0]
        config = {**record.configuration(problem, recipe, seed, origin), **(extra or {})}
        memory_gb = getattr(recipe.optimizer, "memory_gb", None)
        config["solve"] = {"tol": tol, "budget": budget, "memory_gb": memory_gb}
        if out is not None and resume:
            config = record.begun_again(out, config)
        if display:
            display.spent = journal.spent if journal else 0.0
            for line in fresh:
                display.choice(line)
        first = Member(problem, plan, seed, say, journal)
        first.begin()
        if out is not None:
            if not resume:
                runs.write_start(out, {**config, "choices": choices})
            first.loops[-1][1].history.write_to(out / runs.HISTORY)
        outcome, estimate = _follow(first, plan, tol, budget, start, watch, interrupt, say)
        if journal:
            journal.close()
        recipe, loop = first.best
        config.update(recipe=describe(recipe), choices=choices)
        metrics = {
            **record.results(loop, problem, recipe, seed),
            "steps": first.taken,
            "status": outcome.status,
            "message": outcome.message,
            "estimate": estimate,
            "doubt": doubt(first.criterion) if estimate else "",
            "wall_seconds": time.perf_counter() - start,
        }
        fields = record.solution_dataset(loop, problem)
        gradients = record.gradient_dataset(loop)
        if out is not None:
            runs.write_json(out / runs.CONFIG, config)
            runs.write_results(out, metrics, fields, gradients)
        model = loop.step.model(loop.chosen.params)
        predicted = loop.evaluation.on_grid(loop.chosen.params)
        reached, seconds = first.criterion, first.seconds

    def other() -> dict[str, np.ndarray]:
        with Interrupt() as interrupt, working_in("float64"), threads.one_for_blas():
            second = Member(problem, plan, seed + OTHER)
            second.advance(seconds, reached, lambda taken, row: None, interrupt)
            _, loop = second.best
            return loop.evaluation.on_grid(loop.chosen.params)

    def checking(estimate: Mapping[str, float] | None) -> Check:
        exact = metrics["best_relative_l2"]
        return check(problem, model, "float64", predicted, exact, seed, estimate, other, reached)

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

    spent = Outcome(BUDGET_SPENT, f"the time of {budget:.3g} s is spent")
    if tol is None:
        outcome = first.advance(first.seconds + left(), 0.0, watch, interrupt)
        return (spent if outcome.status == BUDGET_SPENT and left() <= 0 else outcome), None
    second = Member(first.problem, plan, first.seed + OTHER, journal=first.journal, name="second")
    # Half of the time may go into each. The criterion C is a sum of squares relative to those of
    # an untrained network; over the zoo the error was between 0.1 and 1.5 times √C.
    goal = (0.3 * tol) ** 2
    outcome = first.advance(first.seconds + left() / 2, goal, watch, interrupt)
    estimate: dict[str, float] | None = None
    silent: Any = lambda taken, row: None  # noqa: E731
    while outcome.status not in (INTERRUPTED, DIVERGED):
        # As far as the first has come; farther if that one has no more to give.
        far = goal if first.done else max(goal, first.criterion)
        other = second.advance(second.seconds + left() * 0.95, far, silent, interrupt)
        if other.status == INTERRUPTED:
            message = f"stopped by the user in the second solve, the first at step {first.taken}"
            return Outcome(INTERRUPTED, message), estimate
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
    return spent, estimate


def difference(first: Member, second: Member) -> dict[str, float]:
    """‖u₁ - u₂‖₂ / ‖u₁‖₂ on the grid, by field."""
    two = second.on_grid()
    return {name: apart(values, two[name]) for name, values in first.on_grid().items()}
