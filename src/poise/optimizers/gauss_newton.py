"""Gauss-Newton with an adaptive ratio: the largest step that the linear model still describes.

The loss is a sum of squares, ‖r(θ)‖² with rows √(λₖ/Nₖ) times the residuals. A step solves

    min_d ‖r + J d‖² + μ ‖d‖²

(Levenberg, Quart. Appl. Math. 2, 1944; Marquardt, J. SIAM 11, 1963). Everything hangs on μ.
Classical rules want the model to be good and raise μ where it is not; in the narrow curved
valleys of these losses that creeps. Here, of a geometric range of dampings, the *smallest* is
taken whose actual reduction of the loss is at least `target` (0.1) times the predicted one:
steps as bold as can be that still go down. The search begins some factors below the damping of
the step before and goes up. How far below adapts: farther after a step whose first trial was
good, nearer after one that fell back. Every few steps it begins at least `reach` factors below,
for the acceptable dampings need not be an interval. Three things more:

- **Corrections.** The step s that solves the *nonlinear* damped problem,
  min_s ‖r(θ + s)‖² + μ ‖s‖², is found by the chord method: with N(s) = r(θ + s) - r - J s what
  the linear model leaves out, s ← d - (JᵀJ + μI)⁻¹ Jᵀ N(s), starting from s = d, with the factors
  at hand (Kelley, Iterative Methods for Linear and Nonlinear Equations, SIAM 1995, section 5.4).
  The first correction is, to second order, the geodesic acceleration of Transtrum & Sethna
  (arXiv:1201.5885, eqs. 13-15); more of them follow the bend of the valley farther, at the cost
  of one evaluation of the residuals each.
- **Fine steps of damping.** A factor of 3: in a curved valley the gain falls from all that the
  model promises to nothing within one factor of 10.
- **A second look.** Where the smallest acceptable damping gains less than half of what the
  model promises, the next larger one is tried too, and taken if it leaves less than `look` of
  the loss: near the solution bold steps overshoot.

A step is never accepted unless it lowers the loss. Linear algebra: `poise.optimizers.damped`.

Cost of a step with M residuals and P parameters, M > P: a Jacobian, 2 M P² operations for JᵀJ or
the QR of J, and for each damping tried, usually two or three, 1/3 P³ or about 1 P³; with M < P
the same, M and P exchanged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from poise.optimizers.damped import Linearized, Solver, choose
from poise.optimizers.optimizer import Optimizer, View

FARTHEST = 8
"""Most factors that a search begins below the last damping by itself."""


class GaussNewtonState(NamedTuple):
    """What a step hands to the next.

    Attributes
    ----------
    damping
        That of the last accepted step, relative to the largest squared column norm of J.
    precise
        Whether normal equations no longer do.
    below
        Factors below `damping` at which the next search begins.
    taken
        Number of steps.
    """

    damping: Float[Array, ""]
    precise: Bool[Array, ""]
    below: Int[Array, ""]
    taken: Int[Array, ""]


class _Correction(NamedTuple):
    """The corrections of a step."""

    move: Array
    best: Array
    after: Array  # the loss at `best`
    made: Array
    going: Array


class _Trial(NamedTuple):
    """The search for a damping."""

    damping: Array
    params: Array
    loss: Array
    ratio: Array
    accepted: Array  # the damping of `params`
    tried: Array
    found: Array
    done: Array


@dataclass(frozen=True)
class GaussNewton(Optimizer):
    """Damped Gauss-Newton (Levenberg-Marquardt) with the largest acceptable step. Wants float64.

    Attributes
    ----------
    target
        Least ratio of actual to predicted reduction, in (0, 1).
    factor
        Ratio between neighbouring dampings.
    reach
        How many factors below the last damping every `explore`-th search begins at least.
    explore
        Steps between searches that reach far.
    look
        See above; 0 for no second look.
    corrections
        Most corrections of a step; they end when the loss falls no more.
    memory_gb
        What a step may hold, in GiB. The linear algebra is chosen to stay below it.
    solver
        A `poise.optimizers.damped.Solver`; None to choose by size.

    Raises
    ------
    ValueError
        For a setting outside its range; from `step`, where no solver fits into the memory.
    """

    target: float = 0.1
    factor: float = 3.0
    reach: int = 6
    explore: int = 4
    look: float = 0.03
    corrections: int = 10
    memory_gb: float = 2.0
    solver: Solver | None = None

    needs: ClassVar[frozenset[str]] = frozenset({"rows", "jacobian"})

    def __post_init__(self) -> None:
        if not 0 < self.target < 1:
            raise ValueError(f"GaussNewton(target={self.target!r}): must lie between 0 and 1")
        if not (math.isfinite(self.factor) and self.factor > 1):
            raise ValueError(f"GaussNewton(factor={self.factor!r}): must be greater than 1")
        for name, least in (("reach", 1), ("explore", 1), ("corrections", 0)):
            count = getattr(self, name)
            if isinstance(count, bool) or not isinstance(count, int) or count < least:
                raise ValueError(
                    f"GaussNewton({name}={count!r}): must be a whole number, {least} or more"
                )
        if not 0 <= self.look < 1:
            raise ValueError(f"GaussNewton(look={self.look!r}): must be in [0, 1)")
        if not (math.isfinite(self.memory_gb) and self.memory_gb > 0):
            raise ValueError(f"GaussNewton(memory_gb={self.memory_gb!r}): must be positive")

    def solver_for(self, rows: int, parameters: int, itemsize: int) -> Solver:
        """The solver for a problem of this size. Raises ValueError where none fits."""
        return self.solver or choose(rows, parameters, self.memory_gb * 2**30, itemsize)

    def batch(self, parameters: int, itemsize: int) -> int:
        """How many points are differentiated at a time, so that this takes an eighth of memory.

        A reverse sweep at a point holds about four times as many numbers as there are parameters.
        More than 256 points at a time no longer fit into a cache: slower again, by up to three
        times.
        """
        return max(1, min(256, int(self.memory_gb * 2**30 / (8 * 4 * itemsize * parameters))))

    def init(self, params: Array) -> GaussNewtonState:
        return GaussNewtonState(
            damping=jnp.asarray(1e-4, params.dtype),
            precise=jnp.asarray(False),
            below=jnp.zeros((), jnp.int32),
            taken=jnp.zeros((), jnp.int32),
        )

    def step(
        self, params: Array, state: GaussNewtonState, view: View
    ) -> tuple[Array, GaussNewtonState, dict[str, Array]]:
        assert view.rows is not None
        residual_at = view.rows
        at = linearize(params, view)
        solver = self.solver_for(at.residual.size, params.size, params.dtype.itemsize)
        factors, scale = solver.prepare(at, state.precise)
        loss = jnp.sum(at.residual**2)
        epsilon = float(jnp.finfo(params.dtype).eps)
        # In float64 1e-18 and 3e-14 of the largest eigenvalue: see `poise.optimizers.damped`.
        floor = jnp.where(state.precise, 5e-3, 150.0).astype(params.dtype) * epsilon
        highest = 1e4

        def attempt(damping: Array) -> tuple[Array, Array, Array]:
            step, again = solver.solve(at, factors, damping * scale, state.precise)
            slope = jnp.vdot(at.gradient, step)
            predicted = damping * scale * jnp.sum(step**2) - slope

            def correct(c: _Correction) -> _Correction:
                rows = residual_at(params + c.move)
                after = jnp.sum(rows**2)
                better = after < c.after  # false where it is not a number
                left_out = rows - at.residual - at.forward(c.move)
                return _Correction(
                    move=step + again(left_out),
                    best=jnp.where(better, c.move, c.best),
                    after=jnp.where(better, after, c.after),
                    made=c.made + 1,
                    going=after < 0.95 * c.after,
                )

            infinite = jnp.asarray(jnp.inf, params.dtype)
            first = _Correction(step, step, infinite, jnp.zeros((), jnp.int32), jnp.asarray(True))
            last = jax.lax.while_loop(
                lambda c: c.going & (c.made <= self.corrections), correct, first
            )
            new, after = params + last.best, last.after
            ratio = (loss - after) / predicted
            good = (predicted > 0) & (after < loss) & jnp.all(jnp.isfinite(new))
            return new, after, jnp.where(good, ratio, -jnp.inf)

        def search(t: _Trial) -> _Trial:
            new, after, ratio = attempt(t.damping)
            first = ~t.found & (ratio >= self.target)
            second = t.found & (ratio >= self.target) & (after < self.look * t.loss)
            take = first | second
            next_damping = t.damping * self.factor
            look_again = first & (ratio < 0.5) & (self.look > 0)
            over = next_damping > highest
            return _Trial(
                damping=next_damping,
                params=jnp.where(take, new, t.params),
                loss=jnp.where(take, after, t.loss),
                ratio=jnp.where(take, ratio, t.ratio),
                accepted=jnp.where(take, t.damping, t.accepted),
                tried=t.tried + 1,
                found=t.found | first,
                done=over | (t.found | first) & ~look_again,
            )

        far = (state.taken + 1) % self.explore == 0
        below = jnp.where(far, jnp.maximum(state.below, self.reach), state.below)
        false = jnp.asarray(False)
        start = _Trial(
            damping=jnp.maximum(state.damping / self.factor ** below.astype(params.dtype), floor),
            params=params,
            loss=loss,
            ratio=jnp.zeros_like(loss),
            accepted=state.damping,
            tried=jnp.zeros((), jnp.int32),
            found=false,
            done=false,
        )
        end = jax.lax.while_loop(lambda t: ~t.done, search, start)
        precise = state.precise | ~end.found | (end.accepted <= floor * self.factor)
        # Farther below next time if even the first trial was good, nearer if it had to come back.
        further = jnp.minimum(state.below + 2, FARTHEST)
        nearer = jnp.maximum(state.below - 1, 1)
        came_back = end.accepted > 0.99 * state.damping
        next_below = jnp.where(
            end.found & (end.accepted == start.damping),
            further,
            jnp.where(came_back, nearer, jnp.maximum(state.below, 1)),
        )
        info = {
            "damping": end.accepted,
            "ratio": end.ratio,
            "tried": end.tried,
            "accepted": end.found,
        }
        after = GaussNewtonState(end.accepted, precise, next_below, state.taken + 1)
        return end.params, after, info


def linearize(params: Array, view: View) -> Linearized:
    """r and J of a view's rows: through the Jacobian where it is there, else through the rows."""
    assert view.rows is not None
    jacobian, gram = view.jacobian, view.gram
    if jacobian is not None:
        residual = view.rows(params) if view.residual is None else view.residual
        # e J rather than Jᵀ e: along the rows as they lie in memory, four times faster on a CPU.
        gradient = residual @ jacobian
        return Linearized(
            residual, gradient, jacobian, gram, lambda d: jacobian @ d, lambda e: e @ jacobian
        )
    residual, forward = jax.linearize(view.rows, params)
    transposed = jax.linear_transpose(forward, params)

    def backward(vector: Array) -> Array:
        return transposed(vector)[0]

    return Linearized(residual, backward(residual), jacobian, gram, forward, backward)
