"""The training loop: compiled steps in groups, and between them history, choice, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from poise.training.checkpoint import ANY_LENGTH, Checkpoints
from poise.training.evaluate import Evaluation
from poise.training.history import History
from poise.training.interrupt import Interrupt
from poise.training.selection import Best, criterion
from poise.training.step import Step, TrainState

BUDGET_SPENT, DIVERGED, INTERRUPTED = "budget spent", "diverged", "interrupted"
CONVERGED, STALLED = "converged", "stalled"

GROUP_SECONDS = 0.5
"""Aimed-at length of one compiled call: how long Ctrl-C and the progress bar may wait."""

IDLE_STEPS = 8
"""Steps without any change of the parameters after which a run has stalled."""

Watcher = Callable[[int, dict[str, float] | None], None]
"""Told the number of steps taken and, when there is one, the newest row of the history."""


@dataclass
class Clock:
    """Where a run's time went, in seconds, over all its parts if it was resumed."""

    compiling: float = 0.0
    stepping: float = 0.0
    training: float = 0.0


@dataclass(frozen=True)
class Limits:
    """When to end before all steps are taken.

    Attributes
    ----------
    goal
        Held-out criterion that is good enough.
    seconds
        Of compiling and training, over all parts of the run.
    patience
        Rows of the history, of the loop's own, over which the held-out criterion has to fall.
    fall
        By what factor; below it the run has stalled.
    settled
        While the criterion is above this, patience is four times as long: fronts and waves have
        plateaus before they are found.
    last
        Number of a step, counted from the first of the run, after which to stop.
    """

    goal: float = 0.0
    seconds: float = math.inf
    patience: int | None = None
    fall: float = 0.8
    settled: float = math.inf
    last: int | None = None


@dataclass
class Outcome:
    """How a loop ended."""

    status: str
    message: str


class Loop:
    """A run in progress.

    Parameters
    ----------
    step, steps, interval
        The training step, how many to take, and how many between rows of the history.
    key
        Random key of the run.
    before
        A loop of the same problem that this one goes on from: history and clock are shared, and
        steps are counted on. Parameters are those of `step`.
    """

    def __init__(
        self,
        step: Step,
        steps: int,
        interval: int,
        key: PRNGKeyArray,
        before: Loop | None = None,
    ) -> None:
        train_key, held_out_key = jax.random.split(key)
        self.step = step
        self.steps = steps
        self.interval = interval
        self.clock = Clock()
        self.state = step.init(train_key)
        self.evaluation = Evaluation(step, held_out_key)
        self.best = Best(self.state.params)
        self.untrained: dict[str, float] = {}
        objective = step.objective
        self.history = History(
            [
                *("step", "seconds", "loss", "held_out"),
                *(f"loss.{term}" for term in objective.terms),
                *(f"held_out.{term}" for term in objective.terms),
                *(f"weight.{term}" for term in objective.terms),
                *(f"coefficient.{name}" for name in objective.problem.coefficients),
                *(f"error.{field}" for field in objective.problem.exact),
            ]
        )
        self._judged: list[float] = []  # the criterion in the rows that this loop wrote
        if before is not None:
            self.history, self.clock = before.history, before.clock
            self.untrained = before.untrained
            self.count_on(before)

    @property
    def taken(self) -> int:
        """Steps taken so far."""
        return int(self.state.step)

    @property
    def chosen(self) -> Best:
        """The best model; the present one where none has been judged yet."""
        if self.best.step:
            return self.best
        return Best(self.state.params, self.taken)

    def compile(self) -> None:
        """Compile everything the loop calls."""
        start = time.perf_counter()
        count = jnp.zeros((), jnp.int32)
        lowered = jax.jit(self.step.advance).lower(self.state, count)
        self._advance = _compile(lowered, quickly=bool(self.step.optimizer.needs))
        self.evaluation.compile(self.state.params)
        if not self.untrained:
            self.untrained, _ = self.evaluation(self.state.params)
        self.clock.compiling += time.perf_counter() - start

    def run(
        self,
        checkpoints: Checkpoints | None = None,
        checkpoint_seconds: float = 20.0,
        watch: Watcher = lambda taken, row: None,
        interrupt: Interrupt | None = None,
        limits: Limits | None = None,
    ) -> Outcome:
        """Train until all steps are taken or `limits` say so, or no step changes anything, a
        number is not finite, or somebody interrupts.

        What is computed does not depend on how steps are grouped into calls nor on when
        checkpoints are written: an interrupted run goes on to the same numbers. Ctrl-C is heard
        through `interrupt`, or if there is none for as long as the loop runs.
        """
        if interrupt is None:
            with Interrupt() as interrupt:
                return self.run(checkpoints, checkpoint_seconds, watch, interrupt, limits)
        limits = limits or Limits()
        idle = 0
        before = self.clock.training
        start = saved = time.perf_counter()
        group = 1
        outcome = self.spent() if self.taken >= self.steps else None
        while outcome is None:
            taken = self.taken
            due = min(self.steps, (taken // self.interval + 1) * self.interval)
            count = min(group, due - taken)
            began = time.perf_counter()
            state, progress = self._advance(self.state, jnp.asarray(count, jnp.int32))
            finite = bool(progress.finite)  # waits for the result
            elapsed = time.perf_counter() - began
            self.clock.stepping += elapsed
            self.clock.training = before + time.perf_counter() - start
            self.state = state
            group = max(1, min(4 * group, int(count * GROUP_SECONDS / max(elapsed, 1e-9))))
            row = None
            if not finite:
                outcome = Outcome(DIVERGED, explain(self.step, state))
            elif self.taken == due:
                row = self.record(progress)
            idle = idle + int(progress.idle) if int(progress.idle) >= count else int(progress.idle)
            if outcome is None:
                outcome = self._ended(limits, idle)
            if outcome is None and interrupt.requested:
                outcome = Outcome(INTERRUPTED, f"stopped by the user at step {self.taken}")
            watch(self.taken, row)
            now = time.perf_counter()
            self.clock.training = before + now - start
            if checkpoints and (outcome or now - saved >= checkpoint_seconds):
                self.save(checkpoints)
                saved = time.perf_counter()
        return outcome

    def _ended(self, limits: Limits, idle: int) -> Outcome | None:
        """Whether there is a reason to stop that is no failure."""
        if self.taken >= self.steps:
            return self.spent()
        if self.best.value <= limits.goal and math.isfinite(self.best.value):
            return Outcome(CONVERGED, f"the held-out criterion is below {limits.goal:.1e}")
        if limits.last is not None and self.taken >= limits.last:
            return Outcome(BUDGET_SPENT, f"step {limits.last} was the last one wanted")
        if self.clock.compiling + self.clock.training >= limits.seconds:
            return Outcome(BUDGET_SPENT, f"the time of {limits.seconds:.3g} s is spent")
        if self.step.optimizer.needs and idle >= IDLE_STEPS:
            return Outcome(STALLED, f"no step lowers the loss any more, at step {self.taken}")
        if limits.patience is not None:
            values = np.minimum.accumulate(self._judged)
            far = limits.patience * (1 if self.best.value < limits.settled else 4)
            if len(values) > far and values[-1] > limits.fall * values[-1 - far]:
                return Outcome(STALLED, f"the held-out criterion falls no more, step {self.taken}")
        return None

    def restart(self, params: Any) -> None:
        """Begin anew from other parameters. Steps, history and clock go on."""
        taken = self.state.step
        self.state = self.step.init(self.state.key)._replace(params=params, step=taken)
        self.best = Best(params)
        self._judged = []

    def count_on(self, before: Loop) -> None:
        """Number steps from where `before`, which shares the history, has come to."""
        self.state = self.state._replace(step=before.state.step)

    def begin_from(self, params: Any, before: Loop) -> None:
        """Start with other parameters than the fresh ones, those of `before` made to fit here."""
        state, former = self.state, before.state
        shapes, former_shapes = (
            jax.tree.map(jnp.shape, each.weighting) for each in (state, former)
        )
        # What a rule remembers of single points is of no use where there are others now.
        same = shapes == former_shapes
        self.state = state._replace(
            params=params,
            weights=former.weights,
            weighting=former.weighting if same else state.weighting,
        )
        self.best = Best(params, before.best.step, before.best.value)

    def spent(self) -> Outcome:
        """The outcome of a run that took all its steps."""
        return Outcome(BUDGET_SPENT, f"all {self.steps} steps were taken")

    def record(self, progress: Any) -> dict[str, float]:
        """Judge the present parameters and add a row to the history."""
        held_out, errors = self.evaluation(self.state.params)
        value = criterion(held_out, self.untrained)
        self.best.consider(self.state.params, self.taken, value)
        self._judged.append(value)
        row = {
            "step": self.taken,
            "seconds": self.clock.training,
            "loss": float(progress.loss),
            "held_out": value,
            **{f"loss.{term}": float(progress.losses[term]) for term in held_out},
            **{f"held_out.{term}": loss for term, loss in held_out.items()},
            **{f"weight.{term}": float(self.state.weights[term]) for term in held_out},
            **{
                f"coefficient.{name}": x for name, x in self.coefficients(self.state.params).items()
            },
            **{f"error.{field}": error for field, error in errors.items()},
        }
        self.history.append(row)
        return row

    def coefficients(self, params: Any) -> dict[str, float]:
        """Unknown coefficients of the equation in a vector of parameters."""
        found = self.step.model(params).coefficients
        return {name: float(found[name]) for name in self.step.objective.problem.coefficients}

    def save(self, checkpoints: Checkpoints) -> None:
        """Write a checkpoint of the present state."""
        checkpoints.save(self.taken, self._tree())

    def restore(self, checkpoints: Checkpoints) -> bool:
        """Go back to the newest checkpoint; False if there is none."""
        newest = checkpoints.latest()
        if newest is None:
            return False
        tree = checkpoints.restore(newest, self._tree(shape_only=True))
        self.state = jax.tree.map(jnp.asarray, tree["state"])
        self.best = Best(
            jax.tree.map(jnp.asarray, tree["best"]["params"]),
            int(tree["best"]["step"]),
            float(tree["best"]["value"]),
        )
        self.untrained = {term: float(loss) for term, loss in tree["untrained"].items()}
        self.history.restore(tree["history"])
        self.clock = Clock(*(float(part) for part in tree["clock"]))
        return True

    def _tree(self, shape_only: bool = False) -> dict[str, Any]:
        history = self.history.arrays()
        if shape_only:
            history = dict.fromkeys(history, ANY_LENGTH)
        clock = self.clock
        best = {"params": self.best.params, "step": self.best.step, "value": self.best.value}
        untrained = self.untrained or dict.fromkeys(self.step.objective.terms, 0.0)
        return {
            "state": self.state,
            "best": best,
            "untrained": untrained,
            "history": history,
            "clock": np.array([clock.compiling, clock.stepping, clock.training]),
        }


def _compile(lowered: Any, quickly: bool) -> Any:
    """Compile, on a CPU in half the time where a step is mostly LAPACK's work anyhow."""
    if quickly and jax.default_backend() == "cpu":
        try:
            return lowered.compile(compiler_options={"xla_cpu_use_fusion_emitters": False})
        except Exception:  # an XLA without this option
            return lowered.compile()
    return lowered.compile()


def explain(step: Step, state: TrainState) -> str:
    """Say which term made a step fail, and at which point.

    Parameters
    ----------
    state
        The last state with finite numbers: its next step is the one that failed.
    """
    number = int(state.step) + 1
    kept = f"the parameters of step {number - 1}, all finite, are kept"
    advice = "a smaller learning rate often helps, or float64"
    losses, gradients = jax.jit(step.signals)(state)
    points = step.points(state)
    for term, loss in losses.items():
        if not np.isfinite(loss):
            where = _first_bad_point(step, state, term, points[term])
            return f"the loss of term {term!r} became {float(loss)} at step {number}{where}; {kept}"
    for term, gradient in gradients.items():
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient)):
            return f"the gradient of term {term!r} is not finite at step {number}; {kept}; {advice}"
    biggest = max(state.weights, key=lambda term: float(state.weights[term] * losses[term]))
    return (
        f"the update of step {number} was not finite, though every loss and gradient was (the "
        f"largest is that of term {biggest!r}, λL = "
        f"{float(state.weights[biggest] * losses[biggest]):.3g}); {kept}; {advice}"
    )


def _first_bad_point(step: Step, state: TrainState, term: str, points: Any) -> str:
    objective = step.objective
    model = step.model(state.params)
    residuals = objective.term_residuals(term, model, points)
    for rows, where in zip(residuals, points, strict=True):
        bad = np.argwhere(~np.isfinite(np.asarray(rows)))
        if bad.size:
            names = objective.problem.coordinates
            coordinates = np.asarray(where)[:, bad[0, 1]]
            at = ", ".join(f"{n} = {v:.6g}" for n, v in zip(names, coordinates, strict=True))
            count, among = len(np.unique(bad[:, -1])), np.shape(where)[1]
            share = "at every point" if count == among else f"at {count} of {among} points"
            return f", {share}, first at {at}"
    return " (every residual is finite: their squares overflow)"
