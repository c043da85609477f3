"""One solve from one random start: try networks, keep one, give it more points when it stalls, and
more units when that does not help any more."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from poise.networks import grow
from poise.problem import Problem
from poise.training import recipes
from poise.training.interrupt import Interrupt
from poise.training.journal import Journal, stage_recipe
from poise.training.loop import (
    DIVERGED,
    INTERRUPTED,
    STALLED,
    Limits,
    Loop,
    Outcome,
)
from poise.training.recipe import Recipe
from poise.training.run import prepare

SETTLED = 1e-4
"""Held-out criterion below which a network is seen to get on, and no other is tried."""

TRY = 0.15
"""Share of the time for which one network is tried before another."""

TRIAL_STEPS = 24
"""Steps from one start of a network before another start of it is tried."""

FOUND = 0.1
"""Held-out criterion below which no other start of a network is tried. Another start is for a fast
wave; as long as that is not found, the criterion is nearly that of the untrained network. Of a
solution with fronts the smooth rest is found at once, and no start of a sine network finds more."""

PREFERRED = 10.0
"""How many times smaller the criterion of a network that has not settled must be to be kept before
the one after it, which is slower to begin."""

SOON = 6
"""Rows of the history (two steps each) in which the criterion has to halve before more points are
drawn: with fewer residuals than parameters it is the gaps between them that end the fall."""

PATIENCE = 8
"""The same once there are many points: with the units that the network gets otherwise the criterion
soon falls by more than that."""


@dataclass
class Member:
    """One solve from one random start.

    Parameters
    ----------
    problem, plan, seed
        What to solve, how to begin, and from which start.
    say
        Told each choice, in a line.
    journal, name
        Where the member writes itself down, and as what; None for nowhere.

    Attributes
    ----------
    loops
        A network each, with its recipe; the last one is in training. They share a clock and a
        history.
    tried
        Whether a network of the plan has been settled on.
    compiled
        Seconds that the last network took to prepare and compile.
    done
        How it ended, once no more is to be had: too little time for a wider network counts.
    """

    problem: Problem
    plan: recipes.Plan
    seed: int
    say: Callable[[str], None] = lambda line: None
    journal: Journal | None = None
    name: str = "first"
    loops: list[tuple[Recipe, Loop]] = field(default_factory=list)
    tried: bool = False
    compiled: float = 0.0
    done: Outcome | None = None
    _stage: int = 0
    _checkpoints: Any = None

    @property
    def seconds(self) -> float:
        """Of compiling and training, so far."""
        if not self.loops:
            return 0.0
        clock = self.loops[0][1].clock
        return clock.compiling + clock.training

    @property
    def taken(self) -> int:
        """Steps so far."""
        return self.loops[-1][1].taken if self.loops else 0

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
        self.begin()
        if not self.tried:
            outcome = self._try_networks(until, goal, watch, interrupt)
            if outcome is not None:
                return outcome
        while True:
            outcome = self._run(until, goal, watch, interrupt)
            if outcome.status == DIVERGED:
                self.done = outcome
            if outcome.status != STALLED:
                return outcome
            present = self.loops[-1][0]
            larger = recipes.finer(self.problem, present) or recipes.wider(self.problem, present)
            if larger is None or until - self.seconds < 0.1 * until + self.compiled:
                self.done = outcome
                return outcome
            self._enlarge(larger, outcome)

    def _try_networks(
        self, until: float, goal: float, watch: Any, interrupt: Interrupt
    ) -> Outcome | None:
        """Give each network of the plan its share of time; the better one stays."""
        share = TRY * until
        for number, recipe in enumerate(self.plan.recipes):
            if number and until - self.seconds < share + self.compiled:
                break
            if number:
                self._prepare(recipe, self.loops[-1][1])
            self._compile()
            if len(self.plan.recipes) == 1:
                break
            outcome = self._try_starts(self.seconds + 2 * share, goal, watch, interrupt)
            if outcome.status in (INTERRUPTED, DIVERGED) or self.criterion <= goal:
                self.tried = True
                self.done = outcome if outcome.status == DIVERGED else None
                return outcome
            if self.criterion < SETTLED:
                break
        self.tried = True
        recipe, loop = min(
            self.loops[::-1],
            key=lambda pair: pair[1].chosen.value * (1 if pair is self.loops[-1] else PREFERRED),
        )
        if self.criterion < SETTLED:
            recipe, loop = self.best
        if len(self.loops) > 1:
            self.say(
                f"network kept: {recipes.words(recipe.network)} (held-out criterion "
                f"{', '.join(f'{each.chosen.value:.1e}' for _, each in self.loops)})"
            )
        if loop is not self.loops[-1][1]:
            loop.count_on(self.loops[-1][1])
            self.loops = [*(pair for pair in self.loops if pair[1] is not loop), (recipe, loop)]
        return None

    def _try_starts(self, until: float, goal: float, watch: Any, interrupt: Interrupt) -> Outcome:
        """Some steps from each start of the present network; the first that finds something, or
        else the best, stays. All starts share one compiled program."""
        recipe, loop = self.loops[-1]
        outcome = Outcome(STALLED, "no start was tried")
        starts = (recipe.network, *recipes.other_starts(self.problem, recipe.network))
        found = []
        for number, network in enumerate(starts):
            if number:
                model = loop.step.model(loop.step.start)
                key = jax.random.PRNGKey(self.seed + number)
                fresh = network.build(
                    self.problem.domain, len(self.problem.fields), key, jnp.float64
                )
                model = model._replace(network=fresh)
                loop.restart(ravel_pytree(eqx.filter(model, eqx.is_inexact_array))[0])
            last = loop.taken + TRIAL_STEPS if len(starts) > 1 else None
            limits = Limits(seconds=until, goal=max(goal, SETTLED), last=last)
            outcome = loop.run(watch=watch, interrupt=interrupt, limits=limits)
            found.append((loop.chosen.value, number, loop.state, loop.best))
            stop = outcome.status in (INTERRUPTED, DIVERGED) or loop.chosen.value < FOUND
            if stop or self.seconds >= until:
                break
        value, number, state, best = min(found, key=lambda each: each[:2])
        taken = loop.state.step
        loop.state, loop.best = state._replace(step=taken), best
        if number:
            recipe = replace(recipe, network=starts[number])
            self.loops[-1] = (recipe, loop)
            self.say(
                f"start kept: {recipes.words(recipe.network)} (held-out criterion {value:.1e}, "
                f"others {', '.join(f'{each[0]:.1e}' for each in found if each[1] != number)})"
            )
        return outcome

    def begin(self) -> None:
        """Prepare the first network of the plan: what does not fit the problem is refused here.

        Or go on with the stage that the journal names.
        """
        if self.loops:
            return
        former = self.journal.former(self.name) if self.journal else None
        if self.journal is None or former is None:
            self._prepare(self.plan.recipes[0], None)
            return
        recipe = stage_recipe(former, self.plan.recipes)
        self._prepare(recipe, None)
        _, loop = self.loops[-1]
        self._stage, self.tried = former["stage"], True
        self._checkpoints = self.journal.stage(self.name, self._stage, recipe)
        loop.restore(self._checkpoints)
        self._compile()
        self.say(f"the {self.name} solve goes on from step {loop.taken}")

    def _prepare(self, recipe: Recipe, before: Loop | None) -> None:
        start = time.perf_counter()
        loop = prepare(self.problem, recipe, self.seed, before)
        self.compiled = time.perf_counter() - start
        loop.clock.compiling += self.compiled
        self.loops.append((recipe, loop))

    def _compile(self) -> None:
        _, loop = self.loops[-1]
        start = time.perf_counter()
        loop.compile()
        self.compiled += time.perf_counter() - start

    def _run(self, until: float, goal: float, watch: Any, interrupt: Interrupt) -> Outcome:
        recipe, loop = self.loops[-1]
        patience = SOON if recipes.finer(self.problem, recipe) else PATIENCE
        limits = Limits(seconds=until, patience=patience, fall=0.5, goal=goal, settled=SETTLED)
        if self.journal and self._checkpoints is None:
            self._checkpoints = self.journal.stage(self.name, self._stage, recipe)
        return loop.run(self._checkpoints, watch=watch, interrupt=interrupt, limits=limits)

    def _enlarge(self, larger: Recipe, outcome: Outcome) -> None:
        """Go on with more points, or in a wider network, from the best parameters."""
        recipe, loop = self.best
        self._stage, self._checkpoints = self._stage + 1, None
        self._prepare(larger, loop)
        _, fresh = self.loops[-1]
        model = loop.step.model(loop.chosen.params)
        change = f"{_inside(larger)} points"
        if larger.network != recipe.network:
            change = (
                f"widened from {recipe.network.width} to {larger.network.width} units, {change}"
            )
            wide = fresh.step.model(fresh.state.params)
            grown = grow(model.network, wide.network)
            model = wide._replace(network=grown, coefficients=model.coefficients)
        params, _ = ravel_pytree(eqx.filter(model, eqx.is_inexact_array))
        fresh.begin_from(params, loop)
        self._compile()
        self.say(f"step {fresh.taken}, {self.seconds:.0f} s: {outcome.message}; {change}")


def _inside(recipe: Recipe) -> int:
    """The most points that a term of the recipe has in a place."""
    return max((sampler.count for sampler in recipe.points.values()), default=0)  # type: ignore[union-attr]
