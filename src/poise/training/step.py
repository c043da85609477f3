"""One training step: the only place where problem, network, weighting and optimizer meet."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PRNGKeyArray

from poise.losses import Model, Objective
from poise.optimizers import Optimizer, View, weighted_sum
from poise.weighting import Signals, Weighting, Weights


class TrainState(NamedTuple):
    """All that training goes on from: arrays only, so that a checkpoint holds it whole.

    Attributes
    ----------
    step
        Number of steps taken.
    key
        Random key of the run; the key of a step is folded from it, so that it does not depend
        on how steps are grouped into compiled calls.
    params
        All trained numbers, as one vector.
    optimizer, weights, weighting
        State of the optimizer, λₖ, and state of the weighting.
    """

    step: Array
    key: PRNGKeyArray
    params: Any
    optimizer: Any
    weights: Weights
    weighting: Any


class Progress(NamedTuple):
    """What a call of several steps tells, beside the state.

    Attributes
    ----------
    losses
        Lₖ at the last step's points, before its update.
    loss
        Σ λₖ Lₖ there.
    finite
        False if a step met a number that is not finite; the state is then the one before it.
    """

    losses: dict[str, Array]
    loss: Array
    finite: Array


class Step:
    """The training step of a run.

    Parameters
    ----------
    objective
        Terms, points and residuals.
    weighting, optimizer
        How λₖ and the parameters change.
    model
        Gives the parts of the network that are not trained.
    """

    def __init__(
        self, objective: Objective, weighting: Weighting, optimizer: Optimizer, model: Model
    ) -> None:
        self.objective = objective
        self.weighting = weighting
        self.optimizer = optimizer
        tree, self.static = eqx.partition(model, eqx.is_inexact_array)
        self.start, self._unravel = ravel_pytree(tree)

    def init(self, key: PRNGKeyArray) -> TrainState:
        """The state before the first step."""
        weights, weighting = self.weighting.init(self.objective.terms, self.objective.dtype)
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            key=key,
            params=self.start,
            optimizer=self.optimizer.init(self._layout(self.start)),
            weights=weights,
            weighting=weighting,
        )

    def model(self, params: Any) -> Model:
        """The whole model for a vector of parameters."""
        return eqx.combine(self._unravel(params), self.static)

    def signals(self, state: TrainState) -> tuple[dict[str, Array], dict[str, Model]]:
        """Loss and gradient of every term at the points of the state's next step."""
        points = self.objective.sample(jax.random.fold_in(state.key, state.step))
        return self.objective.losses_and_gradients(self.model(state.params), points)

    def __call__(self, state: TrainState) -> tuple[TrainState, Progress]:
        """Take one step. Pure; jit- and scan-safe.

        New weights serve the step that computed them: the gradients are at hand unweighted, and
        are added up with whatever λₖ now holds.
        """
        losses, gradients = self.signals(state)
        weights, weighting = self._reweight(state, losses, gradients)
        total = weighted_sum(weights, gradients)
        gradient = ravel_pytree(total)[0] if self.optimizer.flat else total
        view = View(losses, gradients, weights, gradient)
        before = self._layout(state.params)
        after, optimizer, _ = self.optimizer.step(before, state.optimizer, view)
        params = after if self.optimizer.flat else ravel_pytree(after)[0]
        finite = jnp.isfinite(view.loss) & jnp.all(jnp.isfinite(params))
        state = TrainState(state.step + 1, state.key, params, optimizer, weights, weighting)
        return state, Progress(losses, view.loss, finite)

    def advance(self, state: TrainState, steps: Array) -> tuple[TrainState, Progress]:
        """Take many steps, in one compiled loop that ends early at a number not finite."""

        def going(carry: tuple[TrainState, Progress, Array]) -> Array:
            _, progress, left = carry
            return progress.finite & (left > 0)

        def body(
            carry: tuple[TrainState, Progress, Array],
        ) -> tuple[TrainState, Progress, Array]:
            state, _, left = carry
            after, progress = self(state)
            kept = jax.tree.map(lambda new, old: jnp.where(progress.finite, new, old), after, state)
            return kept, progress, left - 1

        zero = jnp.zeros((), self.objective.dtype)
        nothing = Progress(dict.fromkeys(self.objective.terms, zero), zero, jnp.array(True))
        state, progress, _ = jax.lax.while_loop(going, body, (state, nothing, steps))
        return state, progress

    def _layout(self, params: Any) -> Any:
        """The parameters as the optimizer wants them."""
        return params if self.optimizer.flat else self._unravel(params)

    def _reweight(
        self, state: TrainState, losses: dict[str, Array], gradients: dict[str, Model]
    ) -> tuple[Weights, Any]:
        rule = self.weighting
        if not rule.interval:
            return state.weights, state.weighting
        signals = Signals(
            losses if "losses" in rule.needs else None,
            gradients if "gradients" in rule.needs else None,
        )
        return jax.lax.cond(
            state.step % rule.interval == 0,
            lambda: rule.update(state.weighting, signals)[:2],
            lambda: (state.weights, state.weighting),
        )
