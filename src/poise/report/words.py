"""Numbers and outcomes in words: what a report says before it shows anything."""

from __future__ import annotations

import math
from typing import Any

from poise.report.choose import part
from poise.report.style import short
from poise.runs import Comparison, Run

CAPTIONS = {
    "solution": (
        "Exact solution, prediction and absolute error. Look for where the error gathers: along a "
        "side it points to an unsatisfied condition, inside to too few points or steps."
    ),
    "comparison": (
        "Prediction and absolute error of each recipe on scales in common, for the seed with the "
        "median error. Look at whether a recipe misses the conditions or the equation."
    ),
    "error": (
        "Relative L2 error (and below it the criterion on held-out points, which needs no exact "
        "solution) against steps. Look at where the curves part, and whether they still fall."
    ),
    "losses": (
        "Loss of each term before weighting. Look for a term that stops falling while the others "
        "go on: that part of the problem is being given up for the rest."
    ),
    "weights": (
        "Loss weights during training. Look at their size, which tells how unequal the terms' "
        "gradients are, and at whether they settle."
    ),
    "gradients": (
        "Magnitude of each term's weighted gradient, layer by layer, at the end of training; "
        "triangles mark the means. Humps that lie decades apart are the gradient pathology: the "
        "optimizer sees only the rightmost one. Balanced terms lie on one another."
    ),
}
SPREAD = " Lines are medians over seeds, bands reach from the best to the worst."
SIDE_BY_SIDE = " Every recipe shows the seed with its median error."


def caption(name: str, source: Run | Comparison) -> str:
    """One or two sentences that tell what to look at in a figure."""
    words = CAPTIONS[name]
    if isinstance(source, Comparison):
        words += {"error": SPREAD, "comparison": ""}.get(name, SIDE_BY_SIDE)
    elif name == "error" and not known(part(source, "metrics") or {}, "relative_l2"):
        words = "Criterion on held-out points against steps. Look at whether it still falls."
    elif name == "solution" and not known(part(source, "metrics") or {}, "relative_l2"):
        words = "Prediction. There is no exact solution to compare it with."
    return words


def known(numbers: dict[str, Any], name: str) -> dict[str, float]:
    """The finite entries of a mapping from names to numbers that may be absent or null."""
    entries = numbers.get(name) or {}
    return {key: x for key, x in entries.items() if x is not None and math.isfinite(x)}


def outcome(source: Run | Comparison) -> str:
    """What came out, in one or two plain sentences."""
    return _of_run(source) if isinstance(source, Run) else _of_comparison(source)


def _of_run(run: Run) -> str:
    metrics = part(run, "metrics")
    if metrics is None:
        return "The run has not finished: what follows is what it recorded so far."
    status, message = metrics.get("status"), (metrics.get("message") or "").strip()
    errors, best = known(metrics, "relative_l2"), known(metrics, "best_relative_l2")
    steps = count(metrics.get("steps"))
    if status == "diverged":
        lead = f"The run diverged after {steps} steps" + f": {message}" * bool(message)
        lead = lead.rstrip(".") + "."
        if best:
            lead += f" Before that, the relative L2 error had reached {_listed(best)}."
        return lead
    lead = "Interrupted: after" if status == "interrupted" else "After"
    if errors:
        words = f"{lead} {steps} steps the relative L2 error is {_listed(errors)}"
        if best and any(best[f] < 0.95 * errors[f] for f in best if f in errors):
            at = metrics.get("best_step")
            words += f"; the chosen parameters have {_listed(best)}"
            words += f", from step {count(at)}" if at is not None and len(best) == 1 else ""
        words += "."
    else:
        words = f"{lead} {steps} steps the run ended ({status or 'no status'})."
        history = part(run, "history") or {}
        held = [x for x in history.get("held_out", ()) if math.isfinite(x)]
        if held:
            words += f" The held-out criterion went from {short(held[0])} to {short(held[-1])};"
            words += " there is no exact solution to score the run with."
    seconds = metrics.get("train_seconds")
    if seconds is not None:
        words += f" Training took {duration(seconds)}."
    return words


def _of_comparison(comparison: Comparison) -> str:
    rows = [row for row in comparison.summary.get("table", []) if median(row) is not None]
    seeds = len(comparison.summary.get("seeds", []))
    over = f"median of {seeds} seeds" if seeds > 1 else "one seed"
    if not comparison.summary.get("table"):
        return "No run of the comparison has finished."
    if not rows:
        return (
            "No recipe has an error to compare: there is no exact solution, or no run ended well."
        )
    base = next((row for row in rows if row.get("reduction_percent") is None), rows[0])
    best = min(rows, key=lambda row: median(row) or 0.0)
    error = short(median(best) or 0.0)
    if len(rows) == 1:
        return f"The recipe “{best['recipe']}” reaches a relative L2 error of {error} ({over})."
    if best is base:
        name = base["recipe"]
        return f"No recipe improves on “{name}”, whose relative L2 error is {error} ({over})."
    start = median(base) or 0.0
    percent = best.get("reduction_percent")
    if percent is None:
        percent = 100 * (1 - (median(best) or 0.0) / start)
    words = (
        f"“{best['recipe']}” lowers the relative L2 error of “{base['recipe']}” from "
        f"{short(start)} to {error}: {percent:.1f} % less ({over})."
    )
    for row in (base, best):
        completed, of = row.get("completed"), row.get("runs")
        if completed is not None and of is not None and completed < of:
            words += f" Only {completed} of {of} runs of “{row['recipe']}” completed."
    overhead = best.get("overhead_percent")
    if overhead is not None:
        words += (
            f" A step takes {overhead:.1f} % more time."
            if overhead >= 1
            else " The weighting costs no time that this comparison could measure."
        )
    return words


def median(row: dict[str, Any], name: str = "best_relative_l2") -> float | None:
    """The median of one figure in a row of a comparison's table."""
    value = (row.get(name) or {}).get("median")
    return value if value is not None and math.isfinite(value) else None


def _listed(errors: dict[str, float]) -> str:
    if len(errors) == 1:
        return short(next(iter(errors.values())))
    return ", ".join(f"{short(x)} ({field})" for field, x in errors.items())


def count(value: float | None) -> str:
    """A whole number with thousands marked."""
    return "–" if value is None else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
