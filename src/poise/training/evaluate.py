"""Judging a model while it trains: held-out losses and, where the solution is known, the error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from poise.derivatives import propagate
from poise.derivatives.streams import single
from poise.losses import Model, Objective
from poise.points import Uniform
from poise.training.step import Step

HELD_OUT_POINTS = 512
"""Points on each patch of each term."""


class Evaluation:
    """Held-out losses and grid predictions of a model, compiled once.

    Parameters
    ----------
    step
        The training step of the run: gives the model for its parameters.
    key
        For the held-out points; must differ from the key of training.
    """

    def __init__(self, step: Step, key: PRNGKeyArray) -> None:
        problem, dtype = step.objective.problem, step.objective.dtype
        drawn = {term: Uniform(HELD_OUT_POINTS, fresh=False) for term in step.objective.samplers}
        held_out = Objective(problem, drawn, key, dtype)
        points = jax.jit(held_out.sample)(key)
        self.axes, grid = problem.grid_points()
        self.exact = problem.exact_values(grid)
        self.fields = problem.fields
        self._terms = problem.terms
        self._shape = tuple(len(axis) for axis in self.axes.values())

        def evaluate(params: Any) -> tuple[dict[str, Array], Array]:
            model = step.model(params)
            return held_out.losses(model, points), predict(model, jnp.asarray(grid, dtype))

        self.function = evaluate

    def compile(self, params: Any) -> None:
        """Compile for parameters like these."""
        self.function = jax.jit(self.function).lower(params).compile()

    def __call__(self, params: Any) -> tuple[dict[str, float], dict[str, float]]:
        """Held-out loss of each term, and relative L2 error of each field that has a solution."""
        losses, fields = self.function(params)
        return {term: float(losses[term]) for term in self._terms}, self.errors(fields)

    def errors(self, fields: Float[Array, "m N"]) -> dict[str, float]:
        """‖u - u*‖₂ / ‖u*‖₂ on the grid, by field, in float64; NaN where u* is zero."""
        predicted = np.asarray(fields, np.float64)
        return {
            name: relative_l2(predicted[self.fields.index(name)], exact)
            for name, exact in self.exact.items()
        }

    def on_grid(self, params: Any) -> dict[str, np.ndarray]:
        """Prediction of each field on the grid, one axis a coordinate, float64."""
        _, fields = self.function(params)
        return self._shaped(dict(zip(self.fields, np.asarray(fields, np.float64), strict=True)))

    def exact_on_grid(self) -> dict[str, np.ndarray]:
        """The exact fields on the grid, one axis a coordinate."""
        return self._shaped(self.exact)

    def _shaped(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: value.reshape(self._shape) for name, value in values.items()}


def predict(model: Model, points: Float[Array, "d N"]) -> Float[Array, "m N"]:
    """All fields at points."""
    return propagate(model.network, points, ())[single(())]


def relative_l2(predicted: np.ndarray, exact: np.ndarray) -> float:
    """‖u - u*‖₂ / ‖u*‖₂, float64; NaN where u* vanishes on the whole grid."""
    norm = float(np.linalg.norm(exact))
    return float(np.linalg.norm(predicted - exact)) / norm if norm else float("nan")
