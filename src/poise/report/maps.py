"""Figures of the solution over its coordinates: one run, and recipes side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from poise.report import style
from poise.report.choose import looks, panels, part
from poise.report.grid import legend
from poise.report.planes import Plane, cut
from poise.report.style import NothingToDrawError, styled
from poise.runs import Comparison, Run

ERROR_MAP = "magma"
DECADES = (3, 10)  # of the shared error scale, least and most
MOST_COLUMNS = 3  # recipes beside each other; more go below each other


@styled
def solution(run: Run) -> Figure:
    """Exact solution, prediction and absolute error of one run, a row for each field.

    Over one coordinate these are lines, over two maps, over more a slice through the middle
    (at the end of time, where there is time). Without an exact solution, the prediction alone.

    Parameters
    ----------
    run : Run

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    NothingToDrawError
        If the run left no solution.
    """
    if part(run, "solution") is None:
        raise NothingToDrawError("no solution was recorded")
    planes = cut(run)
    if len(planes[0].coordinates) == 1:
        return _lines([("predicted", {"color": style.RECIPE_STYLES[1][0]}, planes)])

    columns = 3 if any(plane.exact is not None for plane in planes) else 1
    width = style.WIDTH if columns == 3 else 4.2
    height = _height(planes[0], width / columns) * len(planes)
    figure = style.new_figure(height, width, planes[0].spatial)
    grid = figure.subplots(len(planes), columns, sharex=True, sharey=True, squeeze=False)
    for row, plane in zip(grid, planes, strict=True):
        name = style.plain(plane.field)
        look = _value_scale([plane])
        if plane.exact is None:
            image = _map(row[0], plane, plane.predicted, f"predicted {name}", **look)
            _bar(figure, image, [row[0]], [plane], look)
            for axes in row[1:]:
                axes.set_visible(False)
            continue
        _map(row[0], plane, plane.exact, f"exact {name}", **look)
        image = _map(row[1], plane, plane.predicted, f"predicted {name}", **look)
        _bar(figure, image, list(row[:2]), [plane], look)
        error = _map(
            row[2], plane, plane.error, f"|error of {name}|",
            cmap=ERROR_MAP, vmin=0.0, vmax=_top(plane.error),
        )  # fmt: skip
        bar = figure.colorbar(error, ax=row[2], **_bar_shape([row[2]]))
        _quiet(bar)
    _outer_labels(grid, planes[0])
    _say_slice(figure, planes[0])
    return figure


@styled
def comparison(source: Comparison) -> Figure:
    """Prediction and absolute error of each recipe with scales in common.

    Every recipe shows the seed whose final error is the median. The error scale is logarithmic,
    so that recipes orders of magnitude apart can both be read.

    Parameters
    ----------
    source : Comparison

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    NothingToDrawError
        If no run of the comparison left a solution.
    """
    shown = panels(source, "solution")
    if not shown:
        raise NothingToDrawError("no run left a solution")
    cuts = {recipe: cut(run) for recipe, run in shown.items()}
    first = next(iter(cuts.values()))
    if len(first[0].coordinates) == 1:
        styles = looks(source)
        return _lines([(name, styles[name], planes) for name, planes in cuts.items()])

    # A column a recipe, and the exact solution first; turned round where they would be too thin.
    exact = any(plane.exact is not None for plane in first)
    headings = {recipe: _heading(recipe, run) for recipe, run in shown.items()}
    turned = len(cuts) > MOST_COLUMNS
    kinds = 2 if exact else 1
    shape = (kinds * len(first), len(cuts) + exact)
    shape = shape[::-1] if turned else shape
    width = style.WIDTH if shape[1] > 1 else 4.2
    height = _height(first[0], width / max(shape[1], 2)) * shape[0]
    figure = style.new_figure(height, width, first[0].spatial)
    grid = figure.subplots(*shape, sharex=True, sharey=True, squeeze=False)
    table = grid.T if turned else grid
    for number, plane in enumerate(first):
        every = [planes[number] for planes in cuts.values()]
        values, errors = table[kinds * number], table[kinds * number + kinds - 1]
        look = _value_scale(every)
        name = style.plain(plane.field)
        of = f" of {name}" if len(first) > 1 else ""
        image = None
        if exact:
            errors[0].set_visible(False)
            if not turned:  # the blank below has room for these labels: reserve no other
                values[0].xaxis.set_in_layout(False)
                errors[1].yaxis.set_in_layout(False)
            if plane.exact is not None:
                image = _map(values[0], plane, plane.exact, f"exact {name}", **look)
        for axes, (recipe, planes) in zip(values[int(exact) :], cuts.items(), strict=True):
            title = headings[recipe] if number == 0 else f"{style.plain(recipe)}: {name}"
            image = _map(axes, planes[number], planes[number].predicted, title, **look)
        if image is not None:
            _bar(figure, image, list(values), every, look)
        if plane.error is None:
            continue
        tops = [_top(other.error) for other in every]
        peak, floors = max(tops), [max(tops) / 10**decades for decades in DECADES]
        low = min(max(min(tops) / 10, floors[1]), floors[0])  # the best recipe shows its decade
        scale: dict[str, Any] = {"norm": "log", "vmin": low, "vmax": peak}
        for axes, other in zip(errors[1:], every, strict=True):
            floor = None if other.error is None else np.maximum(other.error, low)
            image = _map(axes, other, floor, f"|error{of}|", cmap=ERROR_MAP, **scale)
        assert image is not None  # the first recipe's error is known, so one was drawn
        bar = figure.colorbar(image, ax=list(errors), extend="min", **_bar_shape(list(errors)))
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    _outer_labels(grid, first[0])
    _say_slice(figure, first[0])
    return figure


def _heading(recipe: str, run: Run) -> str:
    """The recipe, and how far off its shown run is."""
    errors = (part(run, "metrics") or {}).get("best_relative_l2") or {}
    values = [x for x in errors.values() if x is not None]
    if len(values) != 1:
        return style.plain(recipe)
    return f"{style.plain(recipe)}: {style.short(values[0])}"


def _lines(curves: list[tuple[str, dict[str, Any], list[Plane]]]) -> Figure:
    """Solutions over one coordinate: exact and predicted above, the error below."""
    first = curves[0][2]
    rows = 2 if any(plane.exact is not None for plane in first) else 1
    figure = style.new_figure(3.9 if rows == 2 else 2.6, style.WIDTH)
    heights = [1.7, 1][:rows]
    grid = figure.subplots(rows, len(first), sharex=True, squeeze=False, height_ratios=heights)
    for column, plane in enumerate(first):
        upper, name = grid[0, column], style.plain(plane.field)
        x = plane.values[0]
        if plane.exact is not None:
            upper.plot(x, plane.exact, color="#c3c8d0", linewidth=4)
        for _, look, planes in curves:
            mine = planes[column]
            upper.plot(mine.values[0], mine.predicted, **look)
            if rows == 2 and mine.error is not None:
                grid[1, column].plot(
                    mine.values[0], style.positive(mine.error), linewidth=1.1, **look
                )
        if plane.exact is not None:  # a prediction that runs away must not flatten the rest
            low, high = np.nanmin(plane.exact), np.nanmax(plane.exact)
            room = 0.25 * (high - low) or 1.0  # of a constant: some
            bottom, top = upper.get_ylim()
            upper.set_ylim(max(bottom, low - room), min(top, high + room))
        upper.set_ylabel(name)
        upper.grid(axis="y")
        if rows == 2:
            lower = grid[1, column]
            lower.set_ylabel(f"|error of {name}|")
            if any(np.isfinite(style.positive(line.get_ydata())).any() for line in lower.lines):
                style.log_scale(lower)
        grid[-1, column].set_xlabel(style.plain(plane.coordinates[0]))
        grid[-1, column].margins(x=0.01)
    looks = {"exact": {"color": "#c3c8d0", "linewidth": 4}} if rows == 2 else {}
    legend(figure, looks | {name: look for name, look, _ in curves})
    return figure


def _map(axes: Axes, plane: Plane, values: np.ndarray | None, title: str, **look: Any) -> Any:
    """One heat map. Points outside the domain (NaN) stay blank."""
    axes.set_title(title)
    if values is None:
        style.say_empty(axes, "none")
        return None
    across, along = plane.values
    image = axes.pcolormesh(across, along, values.T, shading="nearest", rasterized=True, **look)
    axes.set_xlim(across.min(), across.max())
    axes.set_ylim(along.min(), along.max())
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=2.5)
    if plane.spatial:
        axes.set_aspect("equal")
    return image


def _value_scale(planes: list[Plane]) -> dict[str, Any]:
    """Colour map and range for exact and predicted values together.

    The exact solution sets the range where there is one: beside a prediction that runs away,
    the others must stay readable. Values of both signs get a map with its middle at zero.
    """
    exact = [plane.exact for plane in planes if plane.exact is not None]
    shown = exact or [plane.predicted for plane in planes]
    finite, predicted = _finite(shown), _finite([plane.predicted for plane in planes])
    if finite.size and predicted.size and np.ptp(finite) < 1e-6 * np.ptp(predicted):
        finite = np.concatenate([finite, predicted])  # exact is constant here, up to round-off
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if low < 0 < high and min(-low, high) > 0.1 * max(-low, high):
        bound = max(-low, high)
        return {"cmap": "RdBu_r", "vmin": -bound, "vmax": bound}
    if high - low < 1e-12 * max(abs(low), abs(high), 1e-300):
        low, high = low - 0.5, high + 0.5
    return {"cmap": "viridis", "vmin": low, "vmax": high}


def _bar(
    figure: Figure, image: Any, axes: list[Axes], planes: list[Plane], look: dict[str, Any]
) -> None:
    """The colour bar of values, with arrows where a prediction clearly leaves the range."""
    finite = _finite([plane.predicted for plane in planes])
    slack = 0.02 * (look["vmax"] - look["vmin"])
    below = bool(finite.size) and finite.min() < look["vmin"] - slack
    above = bool(finite.size) and finite.max() > look["vmax"] + slack
    extend = {(1, 1): "both", (1, 0): "min", (0, 1): "max"}.get((below, above), "neither")
    _quiet(figure.colorbar(image, ax=axes, extend=extend, **_bar_shape(axes)))


def _bar_shape(axes: list[Axes]) -> dict[str, Any]:
    """As wide beside many rows of maps as beside one, and not as long as all of them."""
    rows = len({ax.get_subplotspec().rowspan.start for ax in axes})  # pyright: ignore
    shrink = 1.0 if rows < 3 else 2.0 / rows
    return {"aspect": 25.0 * rows * shrink, "shrink": shrink, "pad": 0.02, "fraction": 0.06}


def _finite(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([array[np.isfinite(array)].ravel() for array in arrays])


def _quiet(bar: Any) -> None:
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2.5)
    bar.locator = MaxNLocator(5)
    bar.formatter.set_powerlimits((-2, 3))
    bar.update_ticks()


def _top(values: np.ndarray | None) -> float:
    """The largest finite error; never zero, which no scale could end at."""
    finite = np.array([]) if values is None else values[np.isfinite(values)]
    return float(finite.max()) if finite.size and finite.max() > 0 else 1e-16


def _height(plane: Plane, width: float) -> float:
    """Inches for one row of maps, each `width` wide."""
    if not plane.spatial:
        return 1.95
    across, along = (float(np.ptp(x)) for x in plane.values)
    return float(np.clip(0.45 + 0.8 * width * along / across, 1.3, 4.0))


def _outer_labels(grid: np.ndarray, plane: Plane) -> None:
    """Coordinate names below the lowest visible map of a column and left of each row."""
    across, along = (style.plain(name) for name in plane.coordinates)
    for column in grid.T:
        visible = [axes for axes in column if axes.get_visible()]
        if visible:
            visible[-1].set_xlabel(across)
            visible[-1].tick_params(labelbottom=True)
    for row in grid:
        visible = [axes for axes in row if axes.get_visible()]
        if visible:
            visible[0].set_ylabel(along)
            visible[0].tick_params(labelleft=True)


def _say_slice(figure: Figure, plane: Plane) -> None:
    if plane.held:
        figure.suptitle(f"Slice at {style.plain(plane.held)}", x=0.01, ha="left", fontsize=9)
