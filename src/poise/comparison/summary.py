"""What the runs of a comparison add up to: a table, in JSON, CSV and LaTeX.

Errors of several fields are combined by taking the largest. Overhead, reduction and the rank test
are against another recipe, the baseline: overhead from the median steps per second, reduction from
the median error of the chosen parameters.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

ENDED_WELL = ("budget spent", "converged", "stalled")
"""Statuses of a run whose result counts."""

Finished = Mapping[str, Sequence[Mapping[str, Any]]]
"""The metrics of the runs of each recipe that came to an end."""


def table(finished: Finished, runs: int, baselines: Mapping[str, str]) -> list[dict[str, Any]]:
    """A row for each recipe: those that are compared with none, then the best first.

    A run that failed counts as worse than any other in the order, as it does in the rank test.

    Parameters
    ----------
    finished
        By recipe.
    runs
        How many runs of a recipe there should be.
    baselines
        The recipe that each is compared with; one that is compared with none is its own.
    """
    rows = [row(name, finished, baselines[name], runs) for name in finished]

    def place(figures: dict[str, Any]) -> tuple[bool, float]:
        errors = _errors(finished[figures["recipe"]])
        middle = statistics.median(errors.values()) if errors else math.inf
        return figures["baseline"] is not None, middle

    return sorted(rows, key=place)


def row(name: str, finished: Finished, usual: str, runs: int) -> dict[str, Any]:
    """One recipe in figures. What there is no figure for is None."""
    found, baseline = finished[name], finished[usual]
    figures: dict[str, Any] = {
        "recipe": name,
        "completed": sum(metrics["status"] in ENDED_WELL for metrics in found),
        "runs": runs,
    }
    for key in ("relative_l2", "best_relative_l2"):
        figures[key] = spread([worst(metrics[key]) for metrics in found])
    for key in ("train_seconds", "steps_per_second", "best_held_out", "peak_memory_mb"):
        figures[key] = spread([metrics[key] for metrics in found])
    estimates = [worst(metrics.get("estimate") or {}) for metrics in found]
    if any(estimate is not None for estimate in estimates):
        figures["estimate"] = spread(estimates)
    figures |= {"overhead_percent": None, "reduction_percent": None, "against": None}
    figures["baseline"] = None if usual == name else usual
    if usual == name:
        return figures
    speed, usual_speed = (_median([m["steps_per_second"] for m in g]) for g in (found, baseline))
    error, usual_error = (
        _median([worst(m["best_relative_l2"]) for m in group]) for group in (found, baseline)
    )
    if speed and usual_speed:
        figures["overhead_percent"] = 100 * (usual_speed / speed - 1)
    if error and usual_error:
        figures["reduction_percent"] = 100 * (1 - error / usual_error)
    figures["against"] = against(found, baseline)
    return figures


def against(
    found: Sequence[Mapping[str, Any]], baseline: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """Whether the errors of two recipes differ by more than luck.

    ``wins`` of ``pairs`` counts the seeds with which the first recipe's error is the smaller one.
    ``p`` is that of the two-sided rank test of Mann & Whitney (Ann. Math. Stat. 18, 1947), as
    SciPy has it: how often errors would be apart this much if both recipes were the same. It
    cannot be below 0.1 with three seeds each, nor below 0.008 with five, unless errors tie, for
    which SciPy takes the normal approximation. A run that diverged counts as worse than any other.
    None with fewer than two runs of either.
    """
    one, other = _errors(found), _errors(baseline)
    if min(len(one), len(other)) < 2:
        return None
    from scipy.stats import mannwhitneyu

    shared = one.keys() & other.keys()
    return {
        "wins": sum(one[seed] < other[seed] for seed in shared),
        "pairs": len(shared),
        "p": float(mannwhitneyu(list(one.values()), list(other.values())).pvalue),
    }


def _errors(found: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """By seed; infinite where a run failed. Runs without an exact solution are left out."""
    errors = {}
    for metrics in found:
        if metrics["status"] not in ENDED_WELL:
            errors[metrics["seed"]] = math.inf
        elif (error := worst(metrics["best_relative_l2"])) is not None:
            errors[metrics["seed"]] = error
    return errors


def worst(errors: Mapping[str, float | None]) -> float | None:
    """The largest error over the fields, or None if there is none."""
    numbers = [error for error in errors.values() if error is not None]
    return max(numbers) if numbers else None


def spread(values: Sequence[float | None]) -> dict[str, float] | None:
    """Median, quartiles and range, or None without values."""
    numbers = [value for value in values if value is not None]
    if not numbers:
        return None
    lower, upper = np.percentile(numbers, [25, 75])
    return {
        "median": statistics.median(numbers),
        "lower": float(lower),
        "upper": float(upper),
        "min": min(numbers),
        "max": max(numbers),
    }


def _median(values: Sequence[float | None]) -> float | None:
    found = spread(values)
    return found["median"] if found else None


def csv(finished: Finished) -> str:
    """A line for each run."""
    lines = ["recipe,seed,status,relative_l2,best_relative_l2,train_seconds,steps_per_second"]
    for name, found in finished.items():
        for metrics in found:
            cells = [
                *(name, metrics["seed"], metrics["status"]),
                *(worst(metrics[key]) for key in ("relative_l2", "best_relative_l2")),
                *(metrics["train_seconds"], metrics["steps_per_second"]),
            ]
            lines.append(",".join("" if cell is None else str(cell) for cell in cells))
    return "\n".join(lines) + "\n"


def latex(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table for a paper: a ``tabular`` in the style of the package booktabs."""
    lines = [
        r"% \usepackage{booktabs}",
        *(
            f"% overhead, better and p against {usual}{_mark(usual, rows)}: {', '.join(names)}"
            for usual, names in _by_baseline(rows).items()
        ),
        r"\begin{tabular}{lrrrrrr}",
        r"\toprule",
        r"recipe & relative $L^2$ error & quartiles & seconds & overhead & better & $p$ \\",
        r"\midrule",
    ]
    for figures in rows:
        error, seconds = figures["best_relative_l2"], figures["train_seconds"]
        compared, extra = figures.get("against"), figures["overhead_percent"]
        cells = [
            figures["recipe"].replace("_", r"\_") + _mark(figures["baseline"], rows),
            _power(error["median"]) if error else "--",
            f"{_power(error['lower'])}, {_power(error['upper'])}" if error else "--",
            f"{seconds['median']:.1f}" if seconds else "--",
            "--" if extra is None else rf"${extra:+.1f}\,\%$",
            f"{compared['wins']}/{compared['pairs']}" if compared else "--",
            f"{compared['p']:.3f}" if compared else "--",
        ]
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _by_baseline(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The recipes that are compared with each baseline."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row["baseline"]:
            found.setdefault(row["baseline"], []).append(row["recipe"])
    return found


def _mark(usual: str | None, rows: Sequence[Mapping[str, Any]]) -> str:
    """A star on what is not compared with the recipe that most are compared with."""
    baselines = [row["recipe"] for row in rows if row["baseline"] is None]
    return r"$^\ast$" if usual is not None and usual not in baselines else ""


def _power(value: float) -> str:
    """1.73e-01 as $1.73 \\cdot 10^{-1}$."""
    if not value:
        return "$0$"
    digits, exponent = f"{value:.2e}".split("e")
    return rf"${digits} \cdot 10^{{{int(exponent)}}}$"
