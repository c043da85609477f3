"""What training returns: a function of the coordinates, with its history and its figures."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from poise import runs
from poise.derivatives import Field, propagate
from poise.derivatives.streams import MultiIndex, single
from poise.losses import Model
from poise.precision import working_in
from poise.problem import Problem

if TYPE_CHECKING:
    import xarray

    from poise.training.check import Check
    from poise.training.history import History


class Solution:
    """A trained approximation of the fields of a problem.

    Call it with a value or array for every coordinate: ``solution(t=0.5, x=0.2).u`` is the
    prediction, and ``.u.t``, ``.u.xx``, ``.u.laplacian`` its derivatives. It uses the *chosen*
    parameters, those with the smallest held-out criterion of the run.

    Attributes
    ----------
    problem
        What was solved.
    status, message
        How training ended: "budget spent", "diverged" or "interrupted", and in words.
    relative_l2
        Relative L2 error on the evaluation grid after the last step, by field; empty where no
        exact solution is known.
    best_relative_l2
        The same for the chosen parameters.
    coefficients
        Unknown coefficients of the equation, as found by the chosen parameters.
    weights
        λₖ at the end.
    history
        Columns of numbers by name: "step", "loss", "loss.<term>", "weight.<term>", ...
    metrics
        All figures of the run, as metrics.json has them.
    """

    def __init__(
        self,
        problem: Problem,
        model: Model,
        dtype: str,
        config: Mapping[str, Any],
        metrics: Mapping[str, Any],
        history: History,
        fields: xarray.Dataset,
        gradients: xarray.Dataset,
        folder: Path | None = None,
        checking: Callable[[Mapping[str, float] | None], Check] | None = None,
    ) -> None:
        self.problem = problem
        self.model = model
        self.dtype = dtype
        self.config = dict(config)
        self.metrics = dict(metrics)
        self.history = history.arrays()
        self.fields = fields
        self.gradients = gradients
        self.folder = folder
        self._history = history
        self._checking = checking

    @property
    def status(self) -> str:
        return self.metrics["status"]

    @property
    def message(self) -> str:
        return self.metrics["message"]

    @property
    def relative_l2(self) -> dict[str, float]:
        return self.metrics["relative_l2"]

    @property
    def best_relative_l2(self) -> dict[str, float]:
        return self.metrics["best_relative_l2"]

    @property
    def estimate(self) -> dict[str, float] | None:
        """Estimated relative L2 error by field: the difference to an independent solve, if one
        was made (`poise.solve` with `tol`, or `check`)."""
        return self.metrics.get("estimate")

    @property
    def weights(self) -> dict[str, float]:
        return self.metrics["weights"]

    @property
    def coefficients(self) -> dict[str, float]:
        return self.metrics["coefficients"]

    def __call__(self, *unnamed: Any, **coordinates: Any) -> Prediction:
        """Predict at points.

        Parameters
        ----------
        **coordinates
            A number or an array for every coordinate; they are broadcast together. A periodic
            coordinate may lie any number of periods away.

        Raises
        ------
        ValueError
            For a missing or unknown coordinate, or a point outside the domain.
        """
        domain = self.problem.domain
        unknown = [name for name in coordinates if name not in domain.names]
        missing = [name for name in domain.names if name not in coordinates]
        if unnamed or unknown or missing:
            example = ", ".join(f"{name}=..." for name in domain.names)
            given = ", ".join([*map(str, unnamed), *coordinates])
            raise ValueError(f"solution({given}): give every coordinate by name, ({example})")
        for name, low, high in zip(domain.names, domain.lower, domain.upper, strict=True):
            values = np.asarray(coordinates[name], np.float64)
            inside = domain.contains(name, values)
            if not inside.all():
                found = f"solution({name}={values[~inside].ravel()[0]:g})"
                if name in domain.periodic:
                    raise ValueError(f"{found}: {name} is periodic and takes any finite number")
                raise ValueError(
                    f"{found}: outside the domain, {name} in ({low:g}, {high:g}); nothing was "
                    "learned there"
                )
            if name in domain.periodic:
                coordinates[name] = domain.wrapped(name, values)
        try:
            arrays = np.broadcast_arrays(*(coordinates[name] for name in domain.names))
        except ValueError:
            shapes = ", ".join(f"{name} {np.shape(coordinates[name])}" for name in domain.names)
            raise ValueError(
                f"solution: the shapes {shapes} do not broadcast together; for a grid give one "
                "as a column, such as t[:, None]"
            ) from None
        return Prediction(self, np.stack(arrays).astype(self.dtype))

    def check(self) -> Check:
        """Estimate the error without an exact solution.

        Residuals of each term on fresh points, and the difference to a second solution from an
        independent random start, made now if there is none yet: that takes as long as the first
        took. The estimate is kept in `estimate` and, where there is a run folder, in its
        metrics.json.
        """
        if self._checking is None:
            raise ValueError("this solution cannot be checked: it does not know how it was made")
        found = self._checking(self.estimate)
        self.metrics["estimate"] = found.estimate
        self.metrics["residuals"] = found.residuals
        if self.folder is not None:
            runs.write_json(self.folder / runs.METRICS, self.metrics)
        return found

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the run folder: numbers, fields and history, as `poise.runs` lays it out.

        Raises
        ------
        ValueError
            If the folder already holds a run.
        """
        folder = Path(path)
        runs.write_start(folder, self.config)
        self._history.write_to(folder / runs.HISTORY)
        runs.write_results(folder, self.metrics, self.fields, self.gradients)
        self.folder = folder
        return folder

    def report(self) -> Path:
        """Write figures and report.html into the run folder.

        Raises
        ------
        ValueError
            If the solution has not been saved.
        """
        if self.folder is None:
            raise ValueError("the run has no folder yet: call solution.save('runs/name') first")
        from poise.report import write

        return write(self.folder)

    def __repr__(self) -> str:
        errors = ", ".join(f"{name}: {e:.2e}" for name, e in self.best_relative_l2.items())
        score = f", relative L2 {errors}" if errors else ""
        return f"<Solution of {self.problem.name}: {self.status}{score}>"


class Prediction:
    """Fields at points, as attributes. Derivatives are computed when asked for."""

    def __init__(self, solution: Solution, points: np.ndarray) -> None:
        self._solution = solution
        self._points = points
        self._known: dict[tuple[str, MultiIndex], np.ndarray] = {}

    def __getattr__(self, name: str) -> Field:
        problem = self._solution.problem
        if name.startswith("_") or name not in problem.fields:
            raise AttributeError(f"no field {name!r}; the fields are {', '.join(problem.fields)}")
        return Field(
            name,
            problem.names.coordinates,
            problem.names.spatial,
            lambda alpha: self._lookup(name, alpha),
        )

    def _lookup(self, name: str, alpha: MultiIndex) -> np.ndarray:
        if (name, alpha) not in self._known:
            dimension, *shape = self._points.shape
            flat = self._points.reshape(dimension, -1)
            with working_in(self._solution.dtype):
                streams = [single(alpha)] if alpha else []
                jets = propagate(self._solution.model.network, jnp.asarray(flat), streams)
                rows = np.asarray(jets[single(alpha)])
            for field, row in zip(self._solution.problem.fields, rows, strict=True):
                self._known[field, alpha] = row.reshape(shape)
        return self._known[name, alpha]
