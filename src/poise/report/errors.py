"""Figures of the error: against steps, and against seconds."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from poise.report import seeds, style
from poise.report.choose import featured, looks, part
from poise.report.curves import TOO_FEW, alike, mark_end, thinned
from poise.report.grid import legend
from poise.report.seeds import Band
from poise.report.style import NothingToDrawError, styled
from poise.runs import Comparison, Run


@styled
def error(source: Run | Comparison) -> Figure:
    """Relative L2 error against steps, and below it the held-out criterion.

    Parameters
    ----------
    source : Run or Comparison
        For a comparison, each recipe's median over the seeds within a band from the best to the
        worst seed, on a log axis if one recipe takes over ten times the steps of another; for a
        run, one line a field with its lowest point marked.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    NothingToDrawError
        If there is neither an error nor a held-out criterion, or a run has a single row of them.
    """
    everything = [source] if isinstance(source, Run) else _runs(source)
    errors = _recorded(everything)
    held_out = ["held_out"] if _rows(everything, "held_out") else []
    if not errors and not held_out:
        raise NothingToDrawError("no error and no held-out criterion was recorded")
    if isinstance(source, Run):  # a run's fields share a panel, recipes have one a field
        rows = [[column for column in errors if _rows(everything, column) > 1]]
        rows = [*filter(None, rows), *([held_out] if _rows(everything, "held_out") > 1 else [])]
        if not rows:
            raise NothingToDrawError(TOO_FEW)
    else:
        rows = [[column] for column in errors + held_out]

    figure, panels = _frame([row == held_out for row in rows])
    log = False
    for axes, row in zip(panels, rows, strict=True):
        thin = row == held_out
        if isinstance(source, Run):
            _draw_run(axes, source, row, thin)
        else:
            bands = _bands(source, row[0], seeds.steps)
            log = not alike([float(band.at[-1]) for band in bands.values() if len(band.at) > 1])
            _draw_bands(axes, source, bands, thin, held=False)
        axes.set_ylabel("held-out criterion" if thin else _label(row, errors))
        style.log_scale(axes)
        if isinstance(source, Run) and not thin:  # the mark's words stand below it
            low, high = axes.get_ylim()
            axes.set_ylim(low / (high / low) ** 0.06, high)
        style.steps_axis(axes, log)
    panels[-1].set_xlabel("steps")
    if isinstance(source, Comparison):
        _recipe_legend(figure, source)
    return figure


@styled
def error_time(source: Comparison) -> Figure:
    """Relative L2 error against wall-clock seconds, compiling included.

    The only axis that recipes of different kinds have in common: a step of one may take as long
    as thousands of another's. Each recipe's median over the seeds within a band from the best to
    the worst seed, as `poise.report.seeds.spread` counts them. A dot marks where the last seed
    ended; after it a thin line holds the result, which stays at hand. The axis of time is
    logarithmic if it spans more than a factor of 30.

    Parameters
    ----------
    source : Comparison

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    NothingToDrawError
        If no error was recorded.
    """
    errors = _recorded(_runs(source))
    if not errors:
        raise NothingToDrawError("no error was recorded")
    figure, panels = _frame([False] * len(errors))
    for axes, column in zip(panels, errors, strict=True):
        bands = _bands(source, column, seeds.seconds)
        _draw_bands(axes, source, bands, thin=False, held=True)
        axes.set_ylabel(_label([column], errors))
        style.log_scale(axes)
        times = np.concatenate([band.at[band.at > 0] for band in bands.values()])
        style.seconds_axis(axes, log=bool(times.size) and times.max() > 30 * times.min())
    compiling = any((part(run, "metrics") or {}).get("compile_seconds") for run in _runs(source))
    panels[-1].set_xlabel("seconds, compiling included" if compiling else "seconds")
    _recipe_legend(figure, source)
    return figure


def _frame(thin: list[bool]) -> tuple[Figure, list[Axes]]:
    """Panels one above the other; those of the held-out criterion are lower than the others."""
    heights = [1.0 if low and len(thin) > 1 else 1.7 for low in thin]
    figure = style.new_figure(0.7 + 1.38 * sum(heights))
    table = figure.subplots(len(thin), 1, sharex=True, squeeze=False, height_ratios=heights)
    return figure, list(table[:, 0])


def _draw_run(axes: Axes, run: Run, columns: list[str], thin: bool) -> None:
    history = run.history
    lines = ["-", (0, (4, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1.5, 1.5))]
    for i, column in enumerate(columns):
        full = style.positive(history[column])
        steps, values = thinned(history["step"], full)
        name = style.plain(column.removeprefix("error."))
        best = int(np.nanargmin(full))
        if len(columns) > 1:
            name += f" (lowest {style.short(full[best])})"
        axes.plot(
            steps, values, label=name, linestyle=lines[i % len(lines)],
            color=style.MUTED if thin else style.INK, linewidth=0.9 if thin else 1.4,
        )  # fmt: skip
        if thin:
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
    mark_end(axes, run)


def _bands(comparison: Comparison, column: str, abscissa: seeds.Abscissa) -> dict[str, Band]:
    """What each recipe's seeds make of a column, of the recipes that recorded it."""
    found = {}
    for recipe, runs in comparison.runs.items():
        curves = seeds.curves(runs, column, abscissa)
        if any(len(curve.at) for curve in curves):
            found[recipe] = seeds.spread(curves)
    return found


def _draw_bands(
    axes: Axes, comparison: Comparison, bands: dict[str, Band], thin: bool, held: bool
) -> None:
    """Median and range of each recipe. `held`: as stairs, and to the end of the slowest one."""
    last = max(band.at[-1] for band in bands.values())
    shown, styles = featured(comparison), looks(comparison)
    for recipe in sorted(bands, key=lambda recipe: recipe in shown):  # the others lie below
        band, look = bands[recipe], styles[recipe]
        if recipe not in shown:
            drawstyle = "steps-post" if held else "default"
            axes.plot(band.at, band.middle, linewidth=0.7, drawstyle=drawstyle, **look)
            if held and band.lasts and band.at[-1] < last:
                axes.plot([band.at[-1], last], [band.middle[-1]] * 2, linewidth=0.4, **look)
            continue
        step = "post" if held else None
        axes.fill_between(
            band.at, band.low, band.high, step=step, color=look["color"], alpha=0.16, linewidth=0
        )
        drawstyle = "steps-post" if held else "default"
        lone = np.isfinite(band.middle).sum() == 1  # a point makes no line
        axes.plot(
            band.at, band.middle, linewidth=1.0 if thin else 1.6, drawstyle=drawstyle,
            marker="o" if lone else "", markersize=4, **look,
        )  # fmt: skip
        if held and band.lasts:
            axes.plot(band.at[-1], band.middle[-1], "o", color=look["color"], markersize=4)
            if band.at[-1] < last:
                axes.plot(
                    [band.at[-1], last], [band.middle[-1]] * 2,
                    color=look["color"], linewidth=0.7, alpha=0.7,
                )  # fmt: skip


def _recipe_legend(figure: Figure, source: Comparison) -> None:
    found: dict[str, Any] = {}
    shown, styles = featured(source), looks(source)
    for recipe in shown:
        runs = [run for run in source.runs[recipe] if part(run, "history") is not None]
        if not runs:
            continue
        statuses = [(part(run, "metrics") or {}).get("status") for run in source.runs[recipe]]
        name = f"{recipe} ({len(runs)} seed{'s' * (len(runs) > 1)}"
        for status in ("diverged", "stalled"):
            if count := statuses.count(status):
                name += f", {count} {status}"
        found[f"{name})"] = styles[recipe]
    if others := len(source.runs) - len(shown):
        found[f"{others} other{'s' * (others > 1)}"] = style.OTHER_RECIPE
    legend(figure, found)


def _runs(comparison: Comparison) -> list[Run]:
    return [run for runs in comparison.runs.values() for run in runs]


def _recorded(runs: list[Run]) -> list[str]:
    """The columns of errors that a log axis can show something of, in the order of the fields."""
    known = [run for run in runs if part(run, "config") is not None]
    columns = [f"error.{field}" for field in known[0].fields] if known else []
    return [column for column in columns if _rows(runs, column)]


def _rows(runs: list[Run], column: str) -> int:
    """In how many rows, of the run that has most, a column holds what a log axis can show."""
    histories = [part(run, "history") or {} for run in runs]
    values = [style.positive(history.get(column, np.array([]))) for history in histories]
    return max((int(np.isfinite(x).sum()) for x in values), default=0)


def _label(row: list[str], errors: list[str]) -> str:
    of = f" of {style.plain(row[0].removeprefix('error.'))}" * (len(row) == 1 < len(errors))
    return f"relative L2 error{of}"
