"""Which recipe ends lowest: every seed of every recipe in one figure."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from poise.report import style
from poise.report.choose import baseline, ends, looks, part, ranked
from poise.report.style import NothingToDrawError, styled
from poise.runs import Comparison


@styled
def ranking(source: Comparison) -> Figure:
    """The relative L2 error at which each seed ended, recipes in order of their median.

    A dot is a seed, a bar the median, the dashed line that of the baseline. Without an exact
    solution it is the criterion on held-out points. Runs that did not end well have no dot, and
    count in the median as worse than any.

    Parameters
    ----------
    source : Comparison

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    NothingToDrawError
        If no run left a number.
    """
    order = ranked(source)[::-1]
    found = {recipe: ends(source.runs[recipe]) for recipe in order}
    errors = {
        recipe: values[np.isfinite(style.positive(values))] for recipe, values in found.items()
    }
    if not any(values.size for values in errors.values()):
        raise NothingToDrawError("no run has ended")
    # Over all runs: a median of those that ended well would flatter the others' recipe.
    middles = {recipe: float(np.median(values)) for recipe, values in found.items() if values.size}
    figure = style.new_figure(0.75 + 0.24 * len(order))
    axes = figure.subplots()
    if np.isfinite(usual := middles.get(baseline(source), np.inf)):
        axes.axvline(usual, color=style.MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    names, styles = [], looks(source)
    for place, recipe in enumerate(order):
        values, look = errors[recipe], styles[recipe]
        dark = style.MUTED if look is style.OTHER_RECIPE else look["color"]
        axes.plot(
            values, np.full(values.size, place), "o", color=dark, markersize=4, alpha=0.45,
            markeredgewidth=0,
        )  # fmt: skip
        if np.isfinite(middle := middles.get(recipe, np.inf)):
            axes.plot(
                [middle], [place], "|", color=dark, markersize=11,
                markeredgewidth=2.2,
            )  # fmt: skip
        count = f" ({values.size} of {len(found[recipe])} runs)"
        names.append(style.plain(recipe) + count * (values.size < len(found[recipe])))
    axes.set_yticks(range(len(order)), names)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.7, len(order) - 0.3)
    everything = np.concatenate(list(errors.values()))
    style.error_axis(axes, everything)
    axes.set_xlabel("relative L2 error" if _scored(source) else "held-out criterion")
    return figure


def _scored(source: Comparison) -> bool:
    runs = [run for group in source.runs.values() for run in group]
    return any((part(run, "metrics") or {}).get("best_relative_l2") for run in runs)
