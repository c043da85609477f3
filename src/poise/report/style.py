"""How every figure looks: colours, type, and the way to files. Nothing global is changed."""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

WIDTH = 7.0  # inches: the text width of a two-column journal page
INK, MUTED, FAINT = "#1f2328", "#6b7280", "#d9dde3"

# Okabe and Ito without yellow (too pale for a line on white), then Tol's muted set.
TERM_PALETTE = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9",
    "#332288", "#882255", "#999933", "#117733", "#661100",
)  # fmt: skip
# Recipes must not be taken for terms: other hues, and a line style of their own.
RECIPE_STYLES: tuple[tuple[str, Any], ...] = (
    ("#7f7f7f", (0, (5, 1.5))),
    ("#5B2A86", "-"),
    ("#8C510A", (0, (6, 1.5, 1.5, 1.5))),
    ("#C2185B", (0, (2, 1))),
    ("#7A7A00", "-"),
    ("#1B2A49", (0, (1, 1))),
    ("#B0578D", (0, (8, 2))),
    ("#000000", (0, (3, 1, 1, 1, 1, 1))),
)

OTHER_RECIPE: dict[str, Any] = {"color": "#c3c8d0", "linestyle": "-"}

RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine draws the same
    "font.size": 8.5,
    "mathtext.fontset": "dejavusans",
    "text.usetex": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.labelsize": 8.5,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.titlepad": 5,
    "axes.edgecolor": "#8b929c",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": "#e8eaee",
    "grid.linewidth": 0.6,
    "xtick.color": "#8b929c",
    "ytick.color": "#8b929c",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.minor.width": 0.5,
    "ytick.minor.width": 0.5,
    "lines.linewidth": 1.4,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 2.2,
    "legend.columnspacing": 1.8,
    "figure.facecolor": "white",
    "figure.constrained_layout.h_pad": 0.05,
    "figure.constrained_layout.w_pad": 0.05,
    "savefig.facecolor": "white",
    "svg.fonttype": "path",  # the reader need not have the font
    "svg.hashsalt": "poise",  # the same run gives the same file
    "path.simplify": True,
    "path.simplify_threshold": 0.3,
}

P = ParamSpec("P")


class NothingToDrawError(ValueError):
    """The run folder lacks what a figure shows. The message says what, for the report."""


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Run a drawing function under the report's style and leave matplotlib as it was."""

    @functools.wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context(RC):
            return draw(*args, **kwargs)

    return wrapper


def new_figure(height: float, width: float = WIDTH, in_proportion: bool = False) -> Figure:
    """A figure that belongs to nobody but the caller: pyplot does not know of it."""
    layout = "compressed" if in_proportion else "constrained"
    return Figure(figsize=(width, height), layout=layout)


def render(figure: Figure, file_format: str) -> bytes:
    """The bytes of a PNG (150 dpi) or SVG file."""
    stream = io.BytesIO()
    # Maps inside an SVG are pixels too; they get more, for screens that zoom.
    dpi = 150 if file_format == "png" else 240
    metadata: dict[str, Any] = {"Date": None, "Creator": None} if file_format == "svg" else {}
    with matplotlib.rc_context(RC), warnings.catch_warnings():
        # A name in a script that the font lacks shows as boxes; that must not stop a report.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(stream, format=file_format, dpi=dpi, metadata=metadata)
    return stream.getvalue()


def term_colours(terms: Sequence[str]) -> dict[str, str]:
    """The colour of each loss term: its place in the problem decides, in every figure."""
    return {term: TERM_PALETTE[i % len(TERM_PALETTE)] for i, term in enumerate(terms)}


def recipe_styles(recipes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour and line style of each recipe, by its place in the comparison."""
    styles = {}
    for i, recipe in enumerate(recipes):
        colour, line = RECIPE_STYLES[i % len(RECIPE_STYLES)]
        styles[recipe] = {"color": colour, "linestyle": line}
    return styles


def plain(text: str) -> str:
    """A user's name as matplotlib shall show it: no mathematics, nothing hidden."""
    text = str(text).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def short(value: float, digits: int = 3) -> str:
    """Three digits, or as many as wanted: 9.10e-3."""
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def positive(values: np.ndarray) -> np.ndarray:
    """The values a log axis can show; the others become gaps."""
    values = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def log_scale(axes: Axes) -> None:
    """A log y axis with a quiet grid, and at least a decade of room around flat lines."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    if high / low < 10:
        middle = np.sqrt(low * high)
        low, high = middle / np.sqrt(10), middle * np.sqrt(10)
        axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(LogLocator(numticks=7))
    if high / low > 1e5:  # marks between decades would run together
        axes.yaxis.set_minor_locator(LogLocator(numticks=99))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(True, axis="y", which="major")


def steps_axis(axes: Axes, log: bool = False) -> None:
    """Training steps, with thousands marked."""
    _numbers_axis(axes, log, MaxNLocator(nbins=5, integer=True, steps=[1, 2, 4, 5, 10]))


def seconds_axis(axes: Axes, log: bool = False) -> None:
    """Wall-clock time, with thousands marked."""
    _numbers_axis(axes, log, MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))


def error_axis(axes: Axes, values: np.ndarray) -> None:
    """A log x axis of errors with a quiet grid, marked between decades where they are few."""
    axes.set_xscale("log")
    low, high = float(np.min(values)), float(np.max(values))
    room = max((high / low) ** 0.04, 1.05)
    axes.set_xlim(low / room, high * room)
    wide = high / low > 30
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5), numticks=9))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: short(x, 1)))
    axes.grid(True, axis="x", which="major")


def _numbers_axis(axes: Axes, log: bool, linear: MaxNLocator) -> None:
    """An x axis of plain numbers."""
    axes.margins(x=0.01)
    if log:
        axes.set_xscale("log", nonpositive="mask")
        low, high = axes.get_xlim()
        wide = high > 300 * low
        axes.xaxis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5), numticks=9))
        axes.xaxis.set_minor_locator(LogLocator(subs=range(2, 10), numticks=99))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(linear)
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda x, _: f"{x:,.0f}" if float(x).is_integer() else f"{x:g}")
    )


def say_empty(axes: Axes, words: str) -> None:
    """Words in place of a plot."""
    axes.text(
        0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", color=MUTED,
        bbox={"facecolor": "white", "edgecolor": "none"},
    )  # fmt: skip
