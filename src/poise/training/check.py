"""How far a solution can be trusted where no exact one is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import numpy as np

from poise.losses import Model, Objective
from poise.points import Uniform
from poise.precision import working_in
from poise.problem import Problem

FRESH_POINTS = 4096
"""Points on each patch of each term: neither trained on nor used to choose parameters."""


UNSETTLED = 1e-3
"""Held-out criterion above which the equation does not hold well enough to trust an estimate: over
the zoo, an error may be as large as √C, and two solves are then wrong in much the same way."""


def doubt(criterion: float) -> str:
    """Why the difference to a second solve may say too little; empty where nothing speaks for it.

    `criterion` is the held-out one of the chosen parameters: squared residuals relative to those
    of an untrained network, added over the terms.
    """
    if not criterion > UNSETTLED:
        return ""
    return (
        f"residuals are still large (held-out criterion {criterion:.1e}): both solves may be wrong "
        "in the same way, and the error may be much larger; give it more time"
    )


@dataclass(frozen=True)
class Check:
    """What `Solution.check` found.

    Attributes
    ----------
    estimate
        Estimated relative L2 error by field: ‖u - v‖₂/‖u‖₂ on the evaluation grid, v a second
        solution from an independent random start. Both being wrong in the same way is what it
        cannot see.
    residuals
        Root mean square of each term's residual on fresh points, unweighted, in the units of
        the equation (nondimensional where that is).
    exact
        Relative L2 error by field where an exact solution is known: it only scores.
    doubt
        Why the estimate may say too little; empty where nothing speaks for it.
    """

    estimate: dict[str, float]
    residuals: dict[str, float]
    exact: dict[str, float]
    doubt: str = ""

    def __str__(self) -> str:
        lines = ["field   estimated error   exact error"]
        for name, value in self.estimate.items():
            known = f"{self.exact[name]:.2e}" if name in self.exact else "unknown"
            lines.append(f"{name:<8}{value:<18.2e}{known}")
        lines += [self.doubt] if self.doubt else []
        lines.append("term, root mean square of the residual on fresh points")
        lines += [f"{term:<12}{value:.2e}" for term, value in self.residuals.items()]
        return "\n".join(lines)


def check(
    problem: Problem,
    model: Model,
    dtype: str,
    predicted: Mapping[str, np.ndarray],
    exact: Mapping[str, float],
    seed: int,
    estimate: Mapping[str, float] | None,
    second: Callable[[], Mapping[str, np.ndarray]],
    criterion: float,
) -> Check:
    """Residuals on fresh points, and the difference to a second solution.

    Parameters
    ----------
    predicted
        The fields on the evaluation grid.
    exact
        Errors by field where an exact solution is known.
    estimate
        The difference to a second solution if there is one already.
    second
        Makes a second solution, from another random start, and gives its fields on the grid.
    criterion
        The held-out criterion of the solution.
    """
    if estimate is None:
        other = second()
        estimate = {name: apart(values, other[name]) for name, values in predicted.items()}
    residuals = fresh_residuals(problem, model, dtype, seed)
    return Check(dict(estimate), residuals, dict(exact), doubt(criterion))


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """‖u - v‖₂ / ‖u‖₂, float64; the plain norm of v where u is zero."""
    norm = float(np.linalg.norm(one))
    return float(np.linalg.norm(np.asarray(one) - np.asarray(other))) / (norm or 1.0)


def fresh_residuals(problem: Problem, model: Model, dtype: str, seed: int) -> dict[str, float]:
    """Root mean square of each term's residual on points of its own, √Lₖ."""
    with working_in(dtype):
        drawn: dict[str, Any] = {
            term: Uniform(FRESH_POINTS, fresh=False)
            for term, blocks in problem.blocks.items()
            if any(block.patch is not None for block in blocks)
        }
        key = jax.random.PRNGKey(seed + 104729)
        objective = Objective(problem, drawn, key, dtype)
        arrays, rest = eqx.partition(model, eqx.is_array)

        def losses(part: Any) -> dict[str, Any]:
            return objective.losses(eqx.combine(part, rest), objective.sample(key))

        found = jax.jit(losses)(arrays)
        return {term: float(np.sqrt(found[term])) for term in problem.terms}
