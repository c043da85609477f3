"""Figures and report.html, from a run folder or a comparison folder alone.

`write` does all of it. Each figure is also a function from a `poise.runs.Run` or `Comparison` to a
`matplotlib.figure.Figure`, for whoever wants to go on with it. Neither touches the global state of
matplotlib, so they work without a display and beside other plots.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from poise import runs
from poise.report.curves import losses, weights
from poise.report.errors import error, error_time
from poise.report.histograms import gradients
from poise.report.maps import comparison, solution
from poise.report.page import page
from poise.report.ranking import ranking
from poise.report.style import NothingToDrawError, render

__all__ = [
    "NothingToDrawError",
    "comparison",
    "error",
    "error_time",
    "gradients",
    "losses",
    "ranking",
    "render",
    "solution",
    "weights",
    "write",
]


def write(path: str | os.PathLike[str]) -> Path:
    """Draw the figures of a run or comparison folder and write its report.html.

    Figures go to ``figures/`` as PNG (150 dpi) and SVG. What a run did not record is left out,
    and the page says so; a figure left by an earlier report that no longer applies is removed.

    Parameters
    ----------
    path : path-like
        A run folder or a comparison folder.

    Returns
    -------
    pathlib.Path
        The report.

    Raises
    ------
    poise.runs.RunFolderError
        If `path` is neither, or its configuration cannot be read.
    """
    source = runs.read(path)
    folder = source.path / runs.FIGURES
    drawn: dict[str, bytes] = {}
    missing: dict[str, str] = {}
    for name, draw in _figures(source).items():
        files = {kind: folder / f"{name}.{kind}" for kind in ("png", "svg")}
        try:
            figure = draw(source)
        except NothingToDrawError as reason:
            missing[name] = str(reason)
            for file in files.values():
                file.unlink(missing_ok=True)
            continue
        for kind, file in files.items():
            content = render(figure, kind)
            runs.write_bytes(file, content)
            if kind == "svg":
                drawn[name] = content
    target = source.path / runs.REPORT
    runs.write_text(target, page(source, drawn, missing))
    return target


def _figures(source: runs.Run | runs.Comparison) -> dict[str, Callable[[Any], Figure]]:
    """What is drawn, in the order of the page: the outcome first, then what led to it."""
    last = {"losses": losses, "weights": weights, "gradients": gradients}
    if isinstance(source, runs.Run):
        return {"solution": solution, "error": error} | last
    first = {"ranking": ranking} if len(source.runs) > 2 else {}
    return first | {"comparison": comparison, "error": error, "error_time": error_time} | last
