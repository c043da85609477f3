"""What of a solution can be shown on paper: all of it, or a slice through its middle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from poise.report.style import NothingToDrawError
from poise.runs import Run

if TYPE_CHECKING:
    import xarray

MOST_POINTS = 400  # along a coordinate of a map: finer than the figure's pixels is waste


@dataclass(frozen=True)
class Plane:
    """One field over one or two coordinates, the first of which goes across."""

    field: str
    coordinates: tuple[str, ...]
    values: tuple[np.ndarray, ...]
    predicted: np.ndarray
    exact: np.ndarray | None
    error: np.ndarray | None
    spatial: bool  # both coordinates are lengths of like size: show them in proportion
    held: str  # what the other coordinates are held at, in words


def cut(run: Run) -> list[Plane]:
    """The planes that stand for a run's solution, one a field.

    Time goes across. With more than two coordinates, time is held at its end and every
    coordinate after the second in its middle.

    Raises
    ------
    NothingToDrawError
        If the solution holds none of the problem's fields.
    """
    dataset = run.solution
    problem = run.config["problem"]
    time = problem.get("time")
    planes = []
    for field in run.fields:
        if field not in dataset or not dataset[field].dims:
            continue
        dims = [str(dim) for dim in dataset[field].dims]
        order = [d for d in problem["coordinates"] if d in dims]
        order += [d for d in dims if d not in order]
        order.sort(key=lambda dim: dim != time)
        shown = order if len(order) <= 2 else [d for d in order if d != time][:2]
        at = {d: dataset.sizes[d] - 1 if d == time else dataset.sizes[d] // 2 for d in order}
        at = {d: place for d, place in at.items() if d not in shown}
        thin = {d: slice(None, None, 1 + dataset.sizes[d] // MOST_POINTS) for d in shown}
        sliced = dataset.isel(at | (thin if len(shown) == 2 else {}))

        predicted, exact = _values(sliced, field, shown), _values(sliced, f"{field}_exact", shown)
        assert predicted is not None
        error = None if exact is None else np.abs(predicted - exact)
        axes = tuple(sliced[d].values.astype(np.float64) for d in shown)
        sizes = [float(np.ptp(x)) for x in axes]
        planes.append(
            Plane(
                field=field,
                coordinates=tuple(shown),
                values=axes,
                predicted=predicted,
                exact=exact,
                error=error,
                spatial=time not in shown and min(sizes) > 0.2 * max(sizes),
                held=", ".join(f"{d} = {float(dataset[d][place]):.3g}" for d, place in at.items()),
            )
        )
    if not planes:
        raise NothingToDrawError("the recorded solution holds none of the problem's fields")
    return planes


def _values(dataset: xarray.Dataset, name: str, order: list[str]) -> np.ndarray | None:
    """A variable with its dimensions in the given order, if the dataset has it."""
    if name not in dataset:
        return None
    return dataset[name].transpose(*order).values.astype(np.float64)
