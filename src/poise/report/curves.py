"""Figures against training steps: losses, errors and loss weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from poise.report import style
from poise.report.choose import panels, part
from poise.report.style import NothingToDrawError, styled
from poise.runs import Comparison, Run

MOST_POINTS = 4000  # more cannot be told apart in print and would only make the file large


@styled
def losses(source: Run | Comparison) -> Figure:
    """Unweighted loss of every term against steps.

    Collocation points drawn anew at every step make losses noisy: the pale line is what was
    recorded, the full line its running geometric mean.

    Parameters
    ----------
    source : Run or Comparison
        For a comparison, one panel a recipe, each with its median seed.

    Returns
    -------
    matplotlib.figure.Figure
    """

    def draw(axes: Axes, steps: np.ndarray, values: np.ndarray, colour: str) -> None:
        smooth = running_mean(values)
        if smooth is not values:
            axes.plot(steps, values, color=colour, alpha=0.28, linewidth=0.6)
        axes.plot(steps, smooth, color=colour)

    return _per_term(source, "loss", "loss term (unweighted)", draw)


@styled
def weights(source: Run | Comparison) -> Figure:
    """Loss weight λ of every term against steps.

    Parameters
    ----------
    source : Run or Comparison
        For a comparison, one panel a recipe, each with its median seed.

    Returns
    -------
    matplotlib.figure.Figure
    """

    def draw(axes: Axes, steps: np.ndarray, values: np.ndarray, colour: str) -> None:
        # Fixed weights lie on one another: the lower lines are wider, so that all are seen.
        for line in axes.lines:
            if np.array_equal(line.get_ydata(), values, equal_nan=True):
                line.set_linewidth(line.get_linewidth() + 1.8)
        axes.plot(steps, values, color=colour, solid_capstyle="butt")

    return _per_term(source, "weight", "loss weight λ", draw)


@styled
def error(source: Run | Comparison) -> Figure:
    """Relative L2 error against steps, and below it the held-out criterion.

    Parameters
    ----------
    source : Run or Comparison
        For a comparison, each recipe's median over the seeds within a band from the best to the
        worst seed; for a run, one line a field with its lowest point marked.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    NothingToDrawError
        If there is neither an error nor a held-out criterion.
    """
    everything = {"": [source]} if isinstance(source, Run) else source.runs
    histories = {
        name: [h for h in (part(run, "history") for run in runs) if h is not None]
        for name, runs in everything.items()
    }
    present = {column for group in histories.values() for h in group for column in _filled(h)}
    fields = _fields(everything)
    errors = [f"error.{field}" for field in fields if f"error.{field}" in present]
    columns = _rows_of_error_figure(errors, "held_out" in present, isinstance(source, Run))
    if not columns:
        raise NothingToDrawError("no error and no held-out criterion was recorded")

    heights = [1.0 if row == ["held_out"] and len(columns) > 1 else 1.7 for row in columns]
    figure = style.new_figure(0.7 + 1.38 * sum(heights))
    grid = figure.subplots(len(columns), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axes, row in zip(grid, columns, strict=True):
        if isinstance(source, Run):
            _draw_run(axes, source, row)
        else:
            _draw_recipes(axes, source, histories, row[0])
        label = "held-out criterion" if row == ["held_out"] else "relative L2 error"
        if len(errors) > 1 and len(row) == 1 and row != ["held_out"]:
            label += f" of {style.plain(row[0].removeprefix('error.'))}"
        axes.set_ylabel(label)
        style.log_scale(axes)
        if isinstance(source, Run) and row != ["held_out"]:  # the mark's words stand below it
            low, high = axes.get_ylim()
            axes.set_ylim(low / (high / low) ** 0.06, high)
        style.steps_axis(axes, label=axes is grid[-1])
    if isinstance(source, Comparison):
        _recipe_legend(figure, source, histories)
    return figure


def _rows_of_error_figure(errors: list[str], held_out: bool, one_run: bool) -> list[list[str]]:
    """Columns of history.csv by panel: a run's fields share one, recipes have one a field."""
    rows = [errors] if one_run and errors else [[column] for column in errors]
    return [*rows, ["held_out"]] if held_out else rows


def _draw_run(axes: Axes, run: Run, columns: list[str]) -> None:
    history = run.history
    thin = columns == ["held_out"]
    lines = ["-", (0, (4, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1.5, 1.5))]
    for i, column in enumerate(columns):
        full = style.positive(history[column])
        steps, values = thinned(history["step"], full)
        name = style.plain(column.removeprefix("error."))
        known = np.isfinite(full)
        best = int(np.argmin(np.where(known, full, np.inf)))
        if known.any() and len(columns) > 1:
            name += f" (lowest {style.short(full[best])})"
        axes.plot(
            steps, values, label=name, linestyle=lines[i % len(lines)],
            color=style.MUTED if thin else style.INK, linewidth=0.9 if thin else 1.4,
        )  # fmt: skip
        if thin or not known.any():
            continue
        axes.plot(history["step"][best], full[best], "o", color=style.INK, markersize=4)
        if len(columns) > 1:
            continue
        axes.annotate(
            f"lowest {style.short(full[best])}", (history["step"][best], full[best]),
            xytext=(3, -6), textcoords="offset points", ha="right", va="top", fontsize=8,
        )  # fmt: skip
    if len(columns) > 1:
        axes.legend(loc="upper right")
    _mark_end(axes, run)


def _draw_recipes(
    axes: Axes, comparison: Comparison, histories: dict[str, list[dict[str, Any]]], column: str
) -> None:
    thin = column == "held_out"
    for recipe, look in style.recipe_styles(list(comparison.runs)).items():
        group = [h for h in histories[recipe] if column in h]
        if not group:
            continue
        steps, low, middle, high = spread(group, column)
        axes.fill_between(steps, low, high, color=look["color"], alpha=0.16, linewidth=0)
        axes.plot(steps, middle, linewidth=1.0 if thin else 1.6, **look)


def _recipe_legend(
    figure: Figure, source: Comparison, histories: dict[str, list[dict[str, Any]]]
) -> None:
    looks = style.recipe_styles(list(histories))
    shown = [recipe for recipe in histories if histories[recipe]]
    handles = [Line2D([], [], linewidth=1.8, **looks[recipe]) for recipe in shown]
    labels = []
    for recipe in shown:
        count, lost = len(source.runs[recipe]), 0
        for run in source.runs[recipe]:
            lost += (part(run, "metrics") or {}).get("status") == "diverged"
            count -= part(run, "history") is None
        note = f", {lost} diverged" if lost else ""
        labels.append(f"{style.plain(recipe)} ({count} seed{'s' * (count > 1)}{note})")
    style.legend_above(figure, handles, labels)


def spread(
    histories: list[dict[str, Any]], column: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Steps, and the lowest, median and highest value over runs at each of them.

    A run counts as infinitely bad from where its values stop being finite or its history ends
    before the others': a median over survivors would flatter a recipe that diverges.
    """
    steps = np.unique(np.concatenate([h["step"] for h in histories]))
    table = np.full((len(histories), len(steps)), np.inf)
    for row, history in zip(table, histories, strict=True):
        values = style.positive(history[column])
        known = np.isfinite(values)
        if known.any():
            at = history["step"][known]
            inside = (steps >= at[0]) & (steps <= at[-1])
            row[inside] = np.exp(np.interp(steps[inside], at, np.log(values[known])))
    low, middle = table.min(axis=0), np.sort(table, axis=0)[(len(table) - 1) // 2]
    if len(table) % 2 == 0:
        upper = np.sort(table, axis=0)[len(table) // 2]
        middle = np.where(np.isfinite(upper), (middle + np.minimum(upper, 1e300)) / 2, np.inf)
    high = np.where(np.isfinite(table), table, -np.inf).max(axis=0)
    shown = [np.where(np.isfinite(x), x, np.nan) for x in (low, middle, high)]
    every = _every(steps)
    return steps[every], shown[0][every], shown[1][every], shown[2][every]


def _per_term(
    source: Run | Comparison,
    prefix: str,
    label: str,
    draw: Callable[[Axes, np.ndarray, np.ndarray, str], None],
) -> Figure:
    """Panels with one line a term: the frame that losses and weights share."""
    shown = panels(source, "history")
    if not shown:
        raise NothingToDrawError("no history was recorded")
    columns = min(3, len(shown))
    rows = math.ceil(len(shown) / columns)
    figure = style.new_figure(0.6 + (2.5 if len(shown) == 1 else 2.3) * rows)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    colours: dict[str, str] = {}
    for axes, (heading, run) in zip(grid.flat, shown.items(), strict=False):
        history = run.history
        for term, colour in style.term_colours(run.terms).items():
            values = style.positive(history.get(f"{prefix}.{term}", np.array([])))
            if np.isfinite(values).any():
                draw(axes, *thinned(history["step"], values), colour)
                colours[term] = colour
        axes.set_title(style.plain(heading))
        _mark_end(axes, run)
    if not colours:
        raise NothingToDrawError(f"the history has no finite {prefix} of any term")
    for place, axes in enumerate(grid.flat):
        if place >= len(shown):
            axes.set_visible(False)
            continue
        lowest = place + columns >= len(shown)
        style.steps_axis(axes, label=lowest)
        axes.tick_params(labelbottom=lowest)
        if lowest and place // columns < rows - 1:  # its labels fit into the blank below
            axes.xaxis.set_in_layout(False)
            # ... but the last of them reaches past the panel's side
            figure.set_layout_engine("constrained", rect=(0, 0, 0.975, 1))
        if place % columns == 0:
            axes.set_ylabel(label)
    style.log_scale(grid.flat[0])
    for axes in grid.flat:
        axes.grid(True, axis="y", which="major")
    style.term_legend(figure, colours)
    return figure


def running_mean(values: np.ndarray) -> np.ndarray:
    """A geometric mean over about a fiftieth of the record; a short one is returned as it is.

    The window shrinks towards the start, where losses fall steeply and a mean would lag; at the
    end, where they are flat, it is one-sided.
    """
    finite = np.isfinite(values)
    count = int(finite.sum())
    if count < 200:
        return values
    place = np.arange(count)
    reach = np.minimum(place, count // 100)
    low, high = place - reach, np.minimum(place + reach, count - 1) + 1
    total = np.concatenate([[0.0], np.cumsum(np.log(values[finite]))])
    smooth = np.full_like(values, np.nan)
    smooth[finite] = np.exp((total[high] - total[low]) / (high - low))
    return smooth


def thinned(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most `MOST_POINTS` of a long record, with the last one among them."""
    every = _every(steps)
    return steps[every], values[every]


def _every(steps: np.ndarray) -> slice:
    stride = max(1, math.ceil(len(steps) / MOST_POINTS))
    return slice((len(steps) - 1) % stride, None, stride)


def _filled(history: dict[str, Any]) -> list[str]:
    """Columns of which a log axis can show something."""
    return [name for name, values in history.items() if np.isfinite(style.positive(values)).any()]


def _fields(everything: dict[str, list[Run]]) -> list[str]:
    for runs in everything.values():
        for run in runs:
            if part(run, "config") is not None:
                return run.fields
    return []


def _mark_end(axes: Axes, run: Run) -> None:
    """Show where a diverged run ended: its curves just stop, which is easy to overlook."""
    if (part(run, "metrics") or {}).get("status") != "diverged":
        return
    last = run.history["step"][-1]
    axes.axvline(last, color=style.MUTED, linewidth=0.8, linestyle=":")
    axes.annotate(
        "diverged", (last, 1), xycoords=("data", "axes fraction"), xytext=(-3, -3),
        textcoords="offset points", ha="right", va="top", color=style.MUTED, fontsize=7.5,
    )  # fmt: skip
