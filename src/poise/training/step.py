"""One training step: the only place where problem, network, weighting and optimizer meet."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PRNGKeyArray

from poise.least_squares import Rows
from poise.losses import Model, Objective, Points
from poise.optimizers import GaussNewton, Optimizer, View, weighted_sum
from poise.weighting import Direction, Pointwise, Signals, Weighting, Weights
from poise.weighting.pointwise import Emphasis, TermRows


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
    points
        Points of the terms that draw them where the residual is large; no entry for others.
    """

    step: Array
    key: PRNGKeyArray
    params: Any
    optimizer: Any
    weights: Weights
    weighting: Any
    points: Points


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
    idle
        Steps since parameters last changed: an optimizer that accepts no step leaves them.
    """

    losses: dict[str, Array]
    loss: Array
    finite: Array
    idle: Array


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

    Raises
    ------
    ValueError
        If the optimizer needs points that stay and they are drawn afresh at every step, if it
        cannot hold what it needs for so many residuals and parameters, if it minimizes a
        weighted sum and the rule sets a direction, or if the rule remembers points that do not
        stay or speaks of a coordinate or of a signal that does not exist.
    """

    def __init__(
        self, objective: Objective, weighting: Weighting, optimizer: Optimizer, model: Model
    ) -> None:
        self.objective = objective
        self.weighting = weighting
        self.optimizer = optimizer
        tree, self.static = eqx.partition(model, eqx.is_inexact_array)
        self.start, self._unravel = ravel_pytree(tree)
        self.rows = Rows(objective, self.model)
        self._batch, self._whole = 256, False
        if optimizer.needs:
            self._check_points()
        self._check_weighting()
        if isinstance(optimizer, GaussNewton):
            sizes = self.rows.size, self.start.size, self.start.dtype.itemsize
            self._whole = optimizer.solver_for(*sizes).holds_jacobian
            self._batch = optimizer.batch(*sizes[1:])

    def init(self, key: PRNGKeyArray) -> TrainState:
        """The state before the first step."""
        rule, dtype = self.weighting, self.objective.dtype
        weights, weighting = rule.init(self.objective.terms, dtype)
        if isinstance(rule, Pointwise):
            weighting = rule.prepare(self.rows.sizes, self._interior(), dtype)
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            key=key,
            params=self.start,
            optimizer=self.optimizer.init(self._layout(self.start)),
            weights=weights,
            weighting=weighting,
            points=self.objective.kept_points(),
        )

    def model(self, params: Any) -> Model:
        """The whole model for a vector of parameters."""
        return eqx.combine(self._unravel(params), self.static)

    def points(self, state: TrainState) -> Points:
        """The points of the state's next step."""
        return self._points(state)[0]

    def signals(self, state: TrainState) -> tuple[dict[str, Array], dict[str, Model]]:
        """Loss and gradient of every term at the points of the state's next step."""
        return self.objective.losses_and_gradients(self.model(state.params), self.points(state))

    def __call__(self, state: TrainState) -> tuple[TrainState, Progress]:
        """Take one step. Pure; jit- and scan-safe.

        New weights serve the step that computed them: gradients and Jacobian are at hand
        unweighted, and are combined with whatever λₖ now holds. Progress is judged at these
        weights.
        """
        params = state.params
        points, redrawn = self._points(state)
        least_squares = "jacobian" in self.optimizer.needs
        gradients: dict[str, Model] = {}
        jacobian, rows, root, pullbacks = None, None, None, None
        if self._whole:
            jacobian, rows = self.rows.jacobian(params, points, self._batch)
        elif isinstance(self.weighting, Pointwise) and not least_squares:
            parts, pullbacks = self.objective.rows_and_pullbacks(self.model(params), points)
            rows = self.rows.joined(parts)
        elif self.optimizer.needs:
            rows = self.rows(params, points)
        weighting = state.weighting
        if isinstance(self.weighting, Pointwise):
            emphasis, weighting = self._emphasize(state, points, rows)
            root = jnp.sqrt(self.rows.joined(emphasis))
        if pullbacks is not None and rows is not None and root is not None:
            losses = self.rows.losses(root * rows)
            slopes = self.rows.by_name(2 * root**2 * rows)
            gradients = {term: pullback(slopes[term]) for term, pullback in pullbacks.items()}
        elif rows is not None and least_squares and "gradients" not in self.weighting.needs:
            losses = self.rows.losses(rows if root is None else root * rows)
        else:
            losses, gradients = self.objective.losses_and_gradients(self.model(params), points)
        weights, weighting = self._reweight(
            state._replace(weighting=weighting), points, losses, gradients, jacobian
        )
        gradient = None
        if isinstance(self.weighting, Direction):
            matrix = jnp.stack([ravel_pytree(each)[0] for each in gradients.values()])
            vector, weighting = self.weighting.combine(matrix, weighting)
            gradient = self._layout(vector)
        elif not least_squares:
            total = weighted_sum(weights, gradients)
            gradient = ravel_pytree(total)[0] if self.optimizer.flat else total
        view = View(losses, gradients, weights, gradient)
        if self.optimizer.needs:
            view = self._with_rows(view, state, points, redrawn, rows, jacobian, root)
        before = self._layout(params)
        after, optimizer, _ = self.optimizer.step(before, state.optimizer, view)
        new = after if self.optimizer.flat else ravel_pytree(after)[0]
        finite = jnp.isfinite(view.loss) & jnp.all(jnp.isfinite(new))
        idle = jnp.where(jnp.any(new != params), 0, 1)
        kept = {term: points[term] for term in state.points}
        state = TrainState(state.step + 1, state.key, new, optimizer, weights, weighting, kept)
        if root is not None and rows is not None:
            losses = self.rows.losses(rows)  # without the weights of points, to be compared
        return state, Progress(losses, view.loss, finite, idle)

    def advance(self, state: TrainState, steps: Array) -> tuple[TrainState, Progress]:
        """Take many steps, in one compiled loop that ends early at a number not finite."""

        def going(carry: tuple[TrainState, Progress, Array]) -> Array:
            _, progress, left = carry
            return progress.finite & (left > 0)

        def body(
            carry: tuple[TrainState, Progress, Array],
        ) -> tuple[TrainState, Progress, Array]:
            state, former, left = carry
            after, progress = self(state)
            idle = jnp.where(progress.idle > 0, former.idle + 1, 0)
            progress = progress._replace(idle=idle)
            kept = jax.tree.map(lambda new, old: jnp.where(progress.finite, new, old), after, state)
            return kept, progress, left - 1

        zero = jnp.zeros((), self.objective.dtype)
        losses = dict.fromkeys(self.objective.terms, zero)
        nothing = Progress(losses, zero, jnp.array(True), jnp.zeros((), jnp.int32))
        state, progress, _ = jax.lax.while_loop(going, body, (state, nothing, steps))
        return state, progress

    def _points(self, state: TrainState) -> tuple[Points, Array]:
        """Points of the next step, and whether any differ from those of the step before."""
        key = jax.random.fold_in(state.key, state.step)
        redrawn = jnp.asarray(False)
        kept = dict(state.points)
        for term in kept:
            # The first points stay for a while: an untrained network's residual means little.
            due = (state.step > 0) & (state.step % self.objective.redrawn_every(term) == 0)
            redrawn = redrawn | due
            kept[term] = jax.lax.cond(
                due,
                lambda term=term: self.objective.refine(
                    term, self.model(state.params), state.points[term], key
                ),
                lambda term=term: state.points[term],
            )
        return {**self.objective.sample(key), **kept}, redrawn

    def _with_rows(
        self,
        view: View,
        state: TrainState,
        points: Points,
        redrawn: Array,
        rows: Any,
        jacobian: Array | None,
        root: Array | None,
    ) -> View:
        """A view that offers the residual vector and its Jacobian, weighted.

        `root` holds the square roots of the weights of rows, where they have their own.
        """
        scale = self.rows.scale(view.weights)
        if root is not None:
            scale, redrawn = root * scale, jnp.asarray(True)
        same = [jnp.all(view.weights[term] == state.weights[term]) for term in view.weights]

        def gram() -> Array:
            if root is not None:
                raise ValueError(
                    f"{type(self.weighting).__name__} weights every residual, and memory_gb is "
                    "too small to hold their Jacobian: allow more, or use fewer points"
                )
            return self.rows.gram(state.params, points, view.weights, self._batch)[0]

        return view._replace(
            changed=redrawn | ~jnp.all(jnp.stack(same)),
            rows=lambda params: scale * self.rows(params, points),
            residual=scale * rows,
            jacobian=None if jacobian is None else scale[:, None] * jacobian,
            gram=gram,
        )

    def _emphasize(self, state: TrainState, points: Points, rows: Any) -> tuple[Emphasis, Any]:
        """The weights of rows, and what their rule remembers."""
        assert isinstance(self.weighting, Pointwise)
        names = self.objective.problem.coordinates
        residuals = self.rows.residuals(rows)
        found = {}
        for term in self.weighting.chosen(self.rows.sizes, self._interior()):
            blocks = self.objective.problem.blocks[term]
            places, renewed = [], []
            for index, (block, where) in enumerate(zip(blocks, points[term], strict=True)):
                fresh = jnp.zeros(where.shape[1], bool)
                if term in state.points:
                    fresh = jnp.any(where != state.points[term][index], axis=0)
                places.append(jnp.tile(where, block.equations))
                renewed.append(jnp.tile(fresh, block.equations))
            coordinates = dict(zip(names, jnp.concatenate(places, axis=1), strict=True))
            found[term] = TermRows(residuals[term], coordinates, jnp.concatenate(renewed))
        return self.weighting.weigh(found, state.weighting)

    def _interior(self) -> tuple[str, ...]:
        """The terms that hold inside the domain."""
        return tuple(
            term
            for term, blocks in self.objective.problem.blocks.items()
            if any(block.patch is not None and block.patch.inside for block in blocks)
        )

    def _traces(
        self, state: TrainState, points: Points, jacobian: Array | None
    ) -> dict[str, Array]:
        """The mean squared norm of the rows of each term's Jacobian."""
        probes = self.weighting.trace_probes
        if jacobian is not None:
            norms = jnp.sum(jacobian**2, axis=1)
        elif probes is None:
            norms = self.rows.squared_norms(state.params, points, self._batch)
        else:
            # Another key than that of the step's points.
            key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), 1)
            return self.rows.probed_traces(state.params, points, key, probes)
        return self.rows.by_term(norms)

    def _check_points(self) -> None:
        rule = type(self.optimizer).__name__
        for term, sampler in self.objective.samplers.items():
            if sampler.fresh:
                raise ValueError(
                    f"{rule} compares the loss at several parameters, so its points must stay: "
                    f"those of the term {term!r} are drawn anew at every step, {sampler!r}; give "
                    f"points=poise.points.Sobol({max(sampler.count, 512)}, fresh=False) or "
                    "poise.points.Adaptive(...)"
                )

    def _check_weighting(self) -> None:
        rule = self.weighting
        if unknown := sorted(rule.needs - set(Signals._fields)):
            raise ValueError(
                f"{type(rule).__name__}.needs: there is no signal {unknown[0]!r}; the signals are "
                f"{', '.join(Signals._fields)}"
            )
        if isinstance(rule, Pointwise):
            rule.check_coordinates(self.objective.problem.coordinates)
        if isinstance(rule, Pointwise) and rule.tied:
            for term in rule.chosen(self.rows.sizes, self._interior()):
                sampler = self.objective.samplers.get(term)
                if sampler is not None and sampler.fresh:
                    raise ValueError(
                        f"{type(rule).__name__} remembers something for each point, and those of "
                        f"the term {term!r} are drawn anew at every step, {sampler!r}: give "
                        f"points=poise.points.Sobol({max(sampler.count, 512)}, fresh=False) or "
                        "poise.points.Adaptive(...)"
                    )
        if isinstance(rule, Direction) and self.optimizer.needs:
            raise ValueError(
                f"{type(rule).__name__} sets the direction of a step, not weights, and "
                f"{type(self.optimizer).__name__} minimizes a weighted sum: give "
                "optimizer=poise.optimizers.Adam() or another that looks at a gradient only, or "
                "a rule for weights such as poise.weighting.GradNorm()"
            )

    def _layout(self, params: Any) -> Any:
        """The parameters as the optimizer wants them."""
        return params if self.optimizer.flat else self._unravel(params)

    def _reweight(
        self,
        state: TrainState,
        points: Points,
        losses: dict[str, Array],
        gradients: dict[str, Model],
        jacobian: Array | None,
    ) -> tuple[Weights, Any]:
        rule = self.weighting
        if not rule.interval:
            return state.weights, state.weighting

        def update() -> tuple[Weights, Any]:
            traces = None
            if "traces" in rule.needs:
                traces = self._traces(state, points, jacobian)
            signals = Signals(
                losses if "losses" in rule.needs else None,
                gradients if "gradients" in rule.needs else None,
                traces,
            )
            return rule.update(state.weighting, signals)[:2]

        return jax.lax.cond(
            state.step % rule.interval == 0,
            update,
            lambda: (state.weights, state.weighting),
        )
