"""Panels of equal size in rows: the frame that several figures share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from poise.report import style


@dataclass(frozen=True)
class Grid:
    """A figure and its panels, row by row. The last row may be shorter than the others."""

    figure: Figure
    panels: list[Axes]
    columns: int

    def leftmost(self, place: int) -> bool:
        return place % self.columns == 0

    def label_below(self, label: str = "", everywhere: bool = False) -> None:
        """Tick labels and `label` below the lowest panel of each column, or below every panel."""
        count = len(self.panels)
        for place, axes in enumerate(self.panels):
            lowest = place + self.columns >= count
            axes.tick_params(labelbottom=lowest or everywhere)
            if not lowest:
                continue
            axes.set_xlabel(label)
            if place // self.columns < (count - 1) // self.columns and not everywhere:
                axes.xaxis.set_in_layout(False)  # its labels fit into the blank below
                # ... but the last of them reaches past the panel's side
                self.figure.set_layout_engine("constrained", rect=(0, 0, 0.975, 1))


def grid(count: int, columns: int, row: float, margin: float, sharex: bool = True) -> Grid:
    """A figure with `count` panels that share their y axis.

    Parameters
    ----------
    count, columns : int
        How many panels, and how many go into a row.
    row, margin : float
        Inches for one row, and for what all rows have in common.
    sharex : bool
        Whether they share their x axis too.
    """
    rows = math.ceil(count / columns)
    figure = style.new_figure(margin + row * rows)
    table = figure.subplots(rows, columns, sharex=sharex, sharey=True, squeeze=False)
    for axes in table.flat[count:]:
        axes.set_visible(False)
    return Grid(figure, list(table.flat[:count]), columns)


def legend(figure: Figure, looks: Mapping[str, Mapping[str, Any]]) -> None:
    """One legend for all panels, in rows above them: how each line looks, by its name."""
    handles = [Line2D([], [], **{"linewidth": 2, **look}) for look in looks.values()]
    labels = [style.plain(name) for name in looks]
    per_row = max(1, min(len(labels), 98 // (max(map(len, labels), default=0) + 8)))
    figure.legend(handles, labels, loc="outside upper center", ncols=per_row)


def term_legend(figure: Figure, colours: Mapping[str, str]) -> None:
    """The legend of the loss terms."""
    legend(figure, {term: {"color": colour} for term, colour in colours.items()})
