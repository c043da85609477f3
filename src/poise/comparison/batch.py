"""Several seeds of one recipe in one compiled program: the fastest way on an accelerator.

A network of this size leaves an accelerator idle. Here the seeds travel along one more axis
(`vmap`), and one launch of a kernel serves them all. On a CPU one process per core is faster, where
each keeps to a core's own cache (`poise.comparison.compare`).

What differs between the seeds beside their states are arrays that the training step has drawn at
the start and kept: fixed points, random shifts. The step of each seed is traced, and where its
program is the same as that of the first, these arrays are stacked and travel along as well. So each
seed gets the numbers that it gets alone, up to rounding.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from jaxtyping import Array, Bool, Int

from poise import threads
from poise.precision import working_in
from poise.problem import Problem
from poise.training.checkpoint import Checkpoints
from poise.training.interrupt import Interrupt
from poise.training.loop import DIVERGED, GROUP_SECONDS, INTERRUPTED, Loop, Outcome, explain
from poise.training.recipe import Recipe
from poise.training.run import begin, finish
from poise.training.step import Progress, TrainState

Watcher = Callable[[int, int, dict[str, float] | None], None]
"""Told which loop, how many steps it took, and its newest row, if there is one."""


class Going(NamedTuple):
    """The states of all seeds, which of them are alive, and how many steps each has taken."""

    states: TrainState
    alive: Bool[Array, " seeds"]
    taken: Int[Array, " seeds"]


class Batch:
    """Loops of the same recipe, problem and step, side by side.

    Parameters
    ----------
    loops
        One for each seed, restored but not compiled.

    Raises
    ------
    ValueError
        If their programs differ, or they stand at different steps.
    """

    def __init__(self, loops: Sequence[Loop]) -> None:
        self.loops = list(loops)
        if len({loop.taken for loop in self.loops}) > 1:
            raise ValueError("loops that stand at different steps cannot be batched")
        traced = [jax.make_jaxpr(loop.step)(loop.state) for loop in self.loops]
        first, *others = (str(each.jaxpr) for each in traced)
        if any(other != first for other in others):
            raise ValueError("loops whose steps are different programs cannot be batched")
        self._program = traced[0].jaxpr
        self._outputs = jax.tree.structure(jax.eval_shape(self.loops[0].step, self.loops[0].state))
        columns = list(zip(*(each.consts for each in traced), strict=True))
        same = [all(np.array_equal(c[0], other) for other in c[1:]) for c in columns]
        self._constants = [
            column[0] if equal else jnp.stack(column)
            for column, equal in zip(columns, same, strict=True)
        ]
        self._constant_axes = [None if equal else 0 for equal in same]

    def advance(self, going: Going, steps: Array) -> tuple[Going, Progress]:
        """Take many steps with all seeds that are alive; the others stay as they are."""

        def one(constants: Any, step: Array, others: list[Array]) -> tuple[Array, list[Array]]:
            program = core.jaxpr_as_fun(core.ClosedJaxpr(self._program, constants))
            step, *others = program(step, *others)
            return step, others

        # The number of the step has no axis of seeds: what is done at some steps only, such as an
        # update of the weights, is then left out at all the others.
        every = jax.vmap(one, in_axes=(self._constant_axes, None, 0), out_axes=(None, 0))

        def body(_: Any, carry: tuple[Going, Progress]) -> tuple[Going, Progress]:
            (states, alive, taken), former = carry
            step, *others = jax.tree.leaves(states)
            step, others = every(self._constants, step, others)
            after, progress = jax.tree.unflatten(self._outputs, [step, *others])
            alive = alive & progress.finite

            def keep(new: Array, old: Array) -> Array:
                return jnp.where(alive.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

            kept = jax.tree.map(keep, after._replace(step=()), states._replace(step=()))
            progress = jax.tree.map(keep, progress, former)
            return Going(kept._replace(step=after.step), alive, taken + alive), progress

        objective, count = self.loops[0].step.objective, len(self.loops)
        zero = jnp.zeros(count, objective.dtype)
        losses = dict.fromkeys(objective.terms, zero)
        nothing = Progress(losses, zero, jnp.ones(count, bool), jnp.zeros(count, jnp.int32))
        return jax.lax.fori_loop(0, steps, body, (going, nothing))

    def compile(self) -> None:
        """Compile everything that the loops call."""
        start = time.perf_counter()
        count = jnp.zeros((), jnp.int32)
        self._advance = jax.jit(self.advance).lower(self._begin(), count).compile()
        for loop in self.loops:
            loop.evaluation.compile(loop.state.params)
            if not loop.untrained:
                loop.untrained, _ = loop.evaluation(loop.state.params)
        for loop in self.loops:
            loop.clock.compiling += (time.perf_counter() - start) / len(self.loops)

    def run(
        self,
        checkpoints: Sequence[Checkpoints | None],
        checkpoint_seconds: float = 20.0,
        watch: Watcher = lambda number, taken, row: None,
        interrupt: Interrupt | None = None,
    ) -> list[Outcome]:
        """Train until all steps are taken, all seeds have failed, or somebody interrupts.

        Seconds of a loop are its share: those of the batch, divided by the number of seeds.
        """
        if interrupt is None:
            with Interrupt() as interrupt:
                return self.run(checkpoints, checkpoint_seconds, watch, interrupt)
        loops, first = self.loops, self.loops[0]
        taken, group = first.taken, 1
        outcomes: list[Outcome | None] = [None] * len(loops)
        going = self._begin()
        saved = time.perf_counter()
        while taken < first.steps and None in outcomes and not interrupt.requested:
            due = min(first.steps, (taken // first.interval + 1) * first.interval)
            count = min(group, due - taken)
            began = time.perf_counter()
            going, progress = self._advance(going, jnp.asarray(count, jnp.int32))
            alive = np.asarray(going.alive)  # waits for the result
            elapsed = time.perf_counter() - began
            group = max(1, min(4 * group, int(count * GROUP_SECONDS / max(elapsed, 1e-9))))
            taken += count
            for number, loop in enumerate(loops):
                if outcomes[number] is not None:
                    continue
                began = time.perf_counter()
                loop.state = self._member(going, number)
                loop.clock.stepping += elapsed / len(loops)
                loop.clock.training += elapsed / len(loops)
                row = None
                if not alive[number]:
                    outcomes[number] = Outcome(DIVERGED, explain(loop.step, loop.state))
                elif taken == due:
                    row = loop.record(jax.tree.map(lambda part, n=number: part[n], progress))
                watch(number, loop.taken, row)
                loop.clock.training += time.perf_counter() - began
            if time.perf_counter() - saved >= checkpoint_seconds:
                for loop, each in zip(loops, checkpoints, strict=True):
                    if each:
                        loop.save(each)
                saved = time.perf_counter()
        for loop, each in zip(loops, checkpoints, strict=True):
            if each:
                loop.save(each)
        over = f"stopped by the user at step {taken}"
        end = first.spent() if taken >= first.steps else Outcome(INTERRUPTED, over)
        return [outcome or end for outcome in outcomes]

    def _begin(self) -> Going:
        states = [loop.state for loop in self.loops]
        stacked = jax.tree.map(lambda *parts: jnp.stack(parts), *states)
        count = len(states)
        taken = jnp.full(count, states[0].step, jnp.int32)
        return Going(stacked._replace(step=states[0].step), jnp.ones(count, bool), taken)

    def _member(self, going: Going, number: int) -> TrainState:
        states = going.states._replace(step=going.taken)
        return jax.tree.map(lambda part: part[number], states)


def run_seeds(
    problem: Problem,
    recipe: Recipe,
    seeds: Sequence[int],
    folders: Sequence[Path],
    origin: Mapping[str, Any] | None = None,
    watch: Watcher = lambda number, taken, row: None,
) -> list[str]:
    """`poise.training.run.run` with several seeds at a time, each in a folder of its own.

    Goes on with what is there; seeds that were interrupted at another step than most run after
    the others. Returns the status of each.
    """
    with Interrupt() as interrupt, working_in(recipe.dtype), threads.one_for_blas():
        begun = [
            begin(problem, recipe, seed=seed, out=folder, resume=True, origin=origin)
            for seed, folder in zip(seeds, folders, strict=True)
        ]
        statuses = [INTERRUPTED] * len(begun)
        waiting = list(range(len(begun)))
        while waiting and not interrupt.requested:
            steps = [begun[number].loop.taken for number in waiting]
            usual = max(set(steps), key=steps.count)
            together = [n for n, step in zip(waiting, steps, strict=True) if step == usual]
            batch = Batch([begun[number].loop for number in together])
            batch.compile()
            outcomes = batch.run(
                [begun[number].checkpoints for number in together],
                watch=lambda at, taken, row, those=together: watch(those[at], taken, row),
                interrupt=interrupt,
            )
            for number, outcome in zip(together, outcomes, strict=True):
                finish(begun[number], outcome)
                statuses[number] = outcome.status
            waiting = [number for number in waiting if number not in together]
        return statuses
