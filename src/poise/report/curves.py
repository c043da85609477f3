"""Figures of every term against training steps: losses and loss weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from poise.report import style
from poise.report.choose import panels, part
from poise.report.grid import grid, term_legend
from poise.report.seeds import every
from poise.report.style import NothingToDrawError, styled
from poise.runs import Comparison, Run

TOO_FEW = "too few rows to draw"


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
    # Beside a recipe of very many steps, one of few would be a stroke at the side.
    steps = [run.history["step"] for run in shown.values()]
    common = alike([float(column[-1]) for column in steps if len(column) > 1])
    row = 2.5 if len(shown) == 1 else 2.3 if common else 2.45
    columns = 2 if len(shown) == 4 else min(3, len(shown))
    frame = grid(len(shown), columns, row, 0.6, sharex=common)
    colours: dict[str, str] = {}
    recorded = False
    for place, (axes, (heading, run)) in enumerate(zip(frame.panels, shown.items(), strict=True)):
        history, drawn = run.history, False
        for term, colour in style.term_colours(run.terms).items():
            values = style.positive(history.get(f"{prefix}.{term}", np.array([])))
            known = int(np.isfinite(values).sum())
            recorded |= known > 0
            if known > 1:  # one point makes no line
                draw(axes, *thinned(history["step"], values), colour)
                colours[term], drawn = colour, True
        axes.set_title(style.plain(heading))
        style.steps_axis(axes)
        if frame.leftmost(place):
            axes.set_ylabel(label)
        if drawn:
            mark_end(axes, run)
        else:
            style.say_empty(axes, TOO_FEW)
            if not common:  # an axis of its own, of nothing
                axes.set_xticks([])
    if not recorded:
        raise NothingToDrawError(f"the history has no finite {prefix} of any term")
    if not colours:
        raise NothingToDrawError(TOO_FEW)
    frame.label_below("steps", everywhere=not common)
    style.log_scale(frame.panels[0])
    for axes in frame.panels:
        axes.grid(True, axis="y", which="major")
    term_legend(frame.figure, colours)
    return frame.figure


def alike(lengths: list[float]) -> bool:
    """Whether records of these lengths can share an axis that is not logarithmic."""
    return max(lengths, default=0.0) <= 10 * min(lengths, default=0.0)


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
    """Not more of a long record than can be seen, with its last row."""
    shown = every(steps)
    return steps[shown], values[shown]


def mark_end(axes: Axes, run: Run) -> None:
    """Show where a run ended before its budget: its curves just stop, which is easy to overlook."""
    status = (part(run, "metrics") or {}).get("status")
    if status not in ("diverged", "stalled", "converged"):
        return
    last = run.history["step"][-1]
    axes.axvline(last, color=style.MUTED, linewidth=0.8, linestyle=":")
    axes.annotate(  # above the panel, where no curve can run through it
        status, (1, 1), xycoords="axes fraction", xytext=(0, 3), textcoords="offset points",
        ha="right", va="bottom", color=style.MUTED, fontsize=7.5,
    )  # fmt: skip
