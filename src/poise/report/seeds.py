"""Several seeds of one recipe as one curve: the median, and the range from best to worst."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from poise.report import style
from poise.report.choose import ended_well, part
from poise.runs import Run

MOST_POINTS = 4000  # more cannot be told apart in print and would only make the file large


@dataclass(frozen=True)
class Curve:
    """What one run recorded of one quantity.

    Attributes
    ----------
    at : ndarray, shape (rows,), float64
        Steps or seconds, ascending.
    values : ndarray, shape (rows,), float64
    lasts : bool
        Whether the last value stays at hand after the last row.
    """

    at: np.ndarray
    values: np.ndarray
    lasts: bool


@dataclass(frozen=True)
class Band:
    """Lowest, median and highest value over runs; NaN where there is none. All shaped (n,).

    `lasts` tells whether the last median stays at hand, as it does for one `Curve`.
    """

    at: np.ndarray
    low: np.ndarray
    middle: np.ndarray
    high: np.ndarray
    lasts: bool


Abscissa = Callable[[Run], np.ndarray]


def steps(run: Run) -> np.ndarray:
    """Steps at each row of the history."""
    return run.history["step"]


def seconds(run: Run) -> np.ndarray:
    """Wall-clock seconds at each row of the history, from before compiling.

    A run that has not finished has not told how long it compiled: its time starts after that.
    """
    compiling = (part(run, "metrics") or {}).get("compile_seconds")
    return run.history["seconds"] + (compiling or 0.0)


def curves(runs: Iterable[Run], column: str, abscissa: Abscissa) -> list[Curve]:
    """The curve of each run that recorded `column`.

    A run that diverged before its first row has an empty one, which `spread` counts as infinitely
    bad. Runs that are missing or have just begun are left out.
    """
    found = []
    for run in runs:
        history = part(run, "history")
        if history is not None and column in history:
            found.append(Curve(abscissa(run), history[column], ended_well(run)))
        elif history is None and (part(run, "metrics") or {}).get("status") == "diverged":
            found.append(Curve(np.array([]), np.array([]), False))
    return found


def spread(curves: Sequence[Curve]) -> Band:
    """Lowest, median and highest value over runs, wherever one of them has a row.

    Between its rows a run counts with its newest one: that is the result at hand. After its last
    row it keeps it if it ended well, since the result stays at hand. Otherwise it counts as
    infinitely bad from there on, as it does before its first row and from where its values stop
    being finite: a median over survivors would flatter a recipe that diverges.

    Parameters
    ----------
    curves : sequence of Curve
        At least one, of any lengths. The median of an even number of runs is the mean of the
        middle two, NaN if one of these is infinitely bad.
    """
    at = np.unique(np.concatenate([curve.at for curve in curves]))
    table = np.full((len(curves), len(at)), np.inf)
    lasting = 0
    for row, curve in zip(table, curves, strict=True):
        known = np.isfinite(style.positive(curve.values))
        if not known.any():
            continue
        own, values = curve.at[known], curve.values[known]
        newest = np.searchsorted(own, at, side="right") - 1
        inside = newest >= 0
        if curve.lasts and np.isfinite(curve.values[-1]):
            lasting += 1
        else:
            inside &= at <= own[-1]
        row[inside] = values[newest[inside]]
    ordered = np.sort(table, axis=0)
    middle = (ordered[(len(table) - 1) // 2] + ordered[len(table) // 2]) / 2
    high = np.where(np.isfinite(table), table, -np.inf).max(axis=0)
    low, middle, high = (np.where(np.isfinite(x), x, np.nan) for x in (ordered[0], middle, high))
    shown = every(at)
    return Band(at[shown], low[shown], middle[shown], high[shown], 2 * lasting > len(curves))


def every(at: np.ndarray) -> slice:
    """Which rows of a long record to show: at most `MOST_POINTS`, the last one among them."""
    stride = max(1, math.ceil(len(at) / MOST_POINTS))
    return slice((len(at) - 1) % stride, None, stride)
