"""Figure of the terms' gradients, layer by layer: where an imbalance shows itself."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from poise.report import style
from poise.report.choose import panels
from poise.report.grid import Grid, grid, term_legend
from poise.report.style import NothingToDrawError, styled
from poise.runs import Comparison, Run

MOST_LAYERS = 6  # panels in a row; of deeper networks a selection with both ends
BINS_PER_DECADE = 5


@styled
def gradients(source: Run | Comparison) -> Figure:
    """Histograms of the weighted gradients λₖ∇Lₖ in every layer, terms overlaid.

    The magnitude is shown on a log axis as a density per decade. The terms of a pathological run
    differ by orders of magnitude, which on a signed linear axis leaves a spike and a carpet; here
    it is a distance between two humps, and reads in decades. A triangle marks the mean
    magnitude, which is what weighting rules go by.

    Parameters
    ----------
    source : Run or Comparison
        For a comparison, one row a recipe, each with its median seed.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    NothingToDrawError
        If no run left gradients that differ from zero.
    """
    shown = {name: weighted(run) for name, run in panels(source, "gradients").items()}
    shown = {name: layers for name, layers in shown.items() if layers}
    if not shown:
        raise NothingToDrawError("no gradients were recorded")
    numbers = sorted({layer for layers in shown.values() for layer in layers})
    chosen = numbers
    if len(numbers) > MOST_LAYERS:
        places = np.linspace(0, len(numbers) - 1, MOST_LAYERS).round().astype(int)
        chosen = [numbers[place] for place in places]

    single = isinstance(source, Run)
    columns = min(3, len(chosen)) if single else len(chosen)
    places = [(name, layer) for name in shown for layer in chosen]
    frame = grid(len(places), columns, row=1.55 if single else 1.45, margin=0.7)
    edges = _edges(shown.values())
    colours: dict[str, str] = {}
    for place, (axes, (name, layer)) in enumerate(zip(frame.panels, places, strict=True)):
        for term, (values, colour) in shown[name].get(layer, {}).items():
            _histogram(axes, values, edges, colour)
            colours[term] = colour
        if single or place < columns:
            axes.set_title(f"layer {layer + 1}")
        if frame.leftmost(place):
            axes.set_ylabel("density per decade" if single else style.plain(name))
    frame.label_below("|λ ∇L|" if single else "")
    if not single:
        frame.figure.supxlabel("|λ ∇L|", fontsize=8.5)
        frame.figure.supylabel("density per decade", fontsize=8.5)
    _limits(frame, edges)
    term_legend(frame.figure, colours)
    return frame.figure


def weighted(run: Run) -> dict[int, dict[str, tuple[np.ndarray, str]]]:
    """Magnitudes of λₖ∇Lₖ that differ from zero, by layer and term, each with its colour."""
    dataset = run.gradients
    assert dataset is not None
    layers = dataset["layer"].values.astype(int)
    names = [str(name) for name in dataset["term"].values]
    gradient = dataset["gradient"].transpose("term", "parameter").values.astype(np.float64)
    weight = np.ones(len(names))
    if "weight" in dataset:
        weight = dataset["weight"].values.astype(np.float64)
    colours = style.term_colours(run.terms or names)
    found: dict[int, dict[str, tuple[np.ndarray, str]]] = {}
    for name, row, factor in zip(names, gradient, weight, strict=True):
        with np.errstate(invalid="ignore", over="ignore"):  # a diverged run may hold infinities
            size = np.abs(factor * row)
        useful = np.isfinite(size) & (size > 0)
        for layer in np.unique(layers[useful]):
            values = size[useful & (layers == layer)]
            colour = colours.get(name, style.MUTED)
            found.setdefault(int(layer), {})[name] = (values, colour)
    return found


def _edges(everything) -> np.ndarray:
    """Bins for all panels: a fixed number a decade, without the thinnest tails."""
    values = [v for layers in everything for terms in layers.values() for v, _ in terms.values()]
    low = math.floor(min(float(np.quantile(v, 0.02)) for v in map(np.log10, values)))
    high = math.ceil(max(float(np.log10(v).max()) for v in values))
    return np.linspace(low, high, (high - low) * BINS_PER_DECADE + 1)


def _histogram(axes: Axes, values: np.ndarray, edges: np.ndarray, colour: str) -> None:
    counts, _ = np.histogram(np.log10(values), bins=edges)
    density = counts * BINS_PER_DECADE / len(values)
    axes.stairs(density, 10**edges, color=colour, fill=True, alpha=0.13)
    axes.stairs(density, 10**edges, color=colour, linewidth=1.2)
    mean = float(values.mean())
    axes.plot(
        mean, 0, marker="^", color=colour, markersize=5, clip_on=False, zorder=5,
        markeredgecolor="white", markeredgewidth=0.5,
    )  # fmt: skip


def _limits(frame: Grid, edges: np.ndarray) -> None:
    first = frame.panels[0]
    first.set_xscale("log")
    first.set_xlim(10.0 ** edges[0], 10.0 ** edges[-1])
    decades = int(edges[-1] - edges[0])
    most = 3 if frame.columns > 4 else 4
    step = max(1, math.ceil(decades / most))
    first.set_xticks(10.0 ** np.arange(int(edges[-1]), int(edges[0]) - 1, -step))
    first.set_ylim(bottom=0)
    for place, axes in enumerate(frame.panels):
        axes.minorticks_off()
        axes.tick_params(labelleft=frame.leftmost(place))
        axes.grid(True, axis="x", which="major")
