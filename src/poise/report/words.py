"""Numbers and outcomes in words: what a report says before it shows anything."""

from __future__ import annotations

import math
from typing import Any

from poise.report.choose import baseline, featured, part, same_optimizer
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
    "ranking": (
        "Error of the chosen parameters: a dot is a seed, a bar the median, the dashed line that "
        "of “{baseline}”. Look at whether dots of two recipes lie apart; where they "
        "mix, the difference of the medians may be luck."
    ),
    "error": (
        "Relative L2 error (and below it the criterion on held-out points, which needs no exact "
        "solution) against steps. Look at where the curves part, and whether they still fall."
    ),
    "error_time": (
        "Relative L2 error against wall-clock time, compiling included: the fair measure where a "
        "step of one recipe is not a step of another. Look at which recipe is lowest at the time "
        "you can spend. A dot marks where a recipe ended; from there its result stays at hand."
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
OTHERS = " Shown are “{baseline}” and the {best} best."
SIDE_BY_SIDE = (
    " Every recipe shows the seed with its median error, of an even number the better one."
)


def caption(name: str, source: Run | Comparison) -> str:
    """One or two sentences that tell what to look at in a figure."""
    words = CAPTIONS[name]
    if isinstance(source, Comparison):
        words = words.format(baseline=baseline(source))
        alone = {"error": SPREAD, "error_time": SPREAD, "comparison": "", "ranking": ""}
        words += alone.get(name, SIDE_BY_SIDE)
        if name != "ranking" and (others := len(source.runs) - len(featured(source))):
            words += OTHERS.format(baseline=baseline(source), best=len(featured(source)) - 1)
            pale = f" {others} others are" if others > 1 else " One other is"
            words += f"{pale} pale." * (name in ("error", "error_time"))
    elif name == "error" and not any(key.startswith("error.") for key in source.history):
        words = "Criterion on held-out points against steps. Look at whether it still falls."
    elif name == "solution" and not any(f"{f}_exact" in source.solution for f in source.fields):
        words = "Prediction. There is no exact solution to compare it with."
    elif name == "gradients" and isinstance(source, Run) and not _first_order(source):
        words = words.replace("Humps", "Under a first-order optimizer, humps")
    return words


def _first_order(run: Run) -> bool:
    """Whether the optimizer follows the sum of the gradients as it is."""
    recipe = (part(run, "config") or {}).get("recipe") or {}
    return (recipe.get("optimizer") or {}).get("kind") in ("Adam", "Optax")


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
    status = metrics.get("status")
    message = (metrics.get("message") or "").strip().rstrip(".")
    steps, seconds = counted(metrics.get("steps"), "step"), metrics.get("wall_seconds")
    seconds = metrics.get("train_seconds") if seconds is None else seconds
    if status == "diverged":
        best = known(metrics, "best_relative_l2")
        words = f"The run diverged after {steps}" + f": {message}" * bool(message) + "."
        if best:
            words += f" Before that, the relative L2 error had reached {_listed(best)}."
        return words
    score = _score(run, metrics)
    if status in ("converged", "stalled"):
        spent = f", {duration(seconds)}" if seconds is not None else ""
        words = f"{status.capitalize()} after {steps}{spent}" + f": {message}" * bool(message)
        return f"{words}. {score[:1].upper()}{score[1:]}".strip()
    lead = f"Interrupted: after {steps}" if status == "interrupted" else f"After {steps}"
    if known(metrics, "relative_l2"):
        words = f"{lead} {score}"
    else:
        words = f"{lead} the run ended ({status or 'no status'}). {score[:1].upper()}{score[1:]}"
    if seconds is not None:
        whole = "It" if metrics.get("wall_seconds") is not None else "Training"
        words = f"{words.strip()} {whole} took {duration(seconds)}."
    return words


def _score(run: Run, metrics: dict[str, Any]) -> str:
    """How good the result is, by the best measure there is; empty if there is none."""
    errors, best = known(metrics, "relative_l2"), known(metrics, "best_relative_l2")
    estimate = known(metrics, "estimate")
    parts = []
    if errors:
        parts.append(f"the relative L2 error is {_listed(errors)}")
        if any(best[f] < 0.95 * errors[f] for f in best if f in errors):
            at = metrics.get("best_step")
            since = f", from step {count(at)}" if at is not None and len(best) == 1 else ""
            parts.append(f"the chosen parameters have {_listed(best)}{since}")
    if estimate:
        parts.append(
            f"estimated error {_listed(estimate, 1)}, from the difference to an independent solve"
        )
        if metrics.get("doubt"):
            parts.append(str(metrics["doubt"]))
    if not parts:
        history = part(run, "history") or {}
        held = [x for x in history.get("held_out", ()) if math.isfinite(x)]
        if held:
            parts.append(f"the held-out criterion went from {short(held[0])} to {short(held[-1])}")
            parts.append("there is no exact solution to score the run with")
    return "; ".join(parts) + "." * bool(parts)


def _of_comparison(comparison: Comparison) -> str:
    rows = [row for row in comparison.summary.get("table", []) if median(row) is not None]
    seeds = len(comparison.summary.get("seeds", []))
    over = f"median of {seeds} seeds" if seeds > 1 else "one seed"
    if not comparison.summary.get("table"):
        return "No run of the comparison has finished."
    estimated = {
        str(row["recipe"]): x
        for row in comparison.summary["table"]
        if (x := median(row, "estimate")) is not None
    }
    if not rows and estimated:
        listed = ", ".join(f"{short(x, 1)} (“{recipe}”)" for recipe, x in estimated.items())
        return (
            "There is no exact solution to compare with. Estimated error, from the difference to "
            f"an independent solve: {listed}; {over}."
        )
    if not rows:
        return (
            "No recipe has an error to compare: there is no exact solution, or no run ended well."
        )
    # Where most runs failed, the median of the others is not what a user would get.
    reliable = [row for row in rows if 2 * row.get("completed", 1) > row.get("runs", 1)]
    best = min(reliable or rows, key=lambda row: median(row) or 0.0)
    error = short(median(best) or 0.0)
    usual = best.get("baseline") or baseline(comparison)  # like is compared with like
    base = next((row for row in rows if row["recipe"] == usual), None)
    if base is None and len(comparison.runs) > 1:
        return (
            f"“{usual}” left no error to compare with. “{best['recipe']}” reaches a relative L2 "
            f"error of {error} ({over})."
        )
    if len(rows) == 1 or base is None:
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
        f"{short(start)} to {error}: {share(percent)} % less ({over})."
    )
    if (best.get("against") or {}).get("p", 0.0) >= 0.05:
        words += f" That may be luck: p = {best['against']['p']:.2g} in a rank test."
    for row in (base, best):
        completed, of = row.get("completed"), row.get("runs")
        if completed is not None and of is not None and completed < of:
            words += f" Only {completed} of {of} runs of “{row['recipe']}” completed."
    if not same_optimizer(comparison, base["recipe"], best["recipe"]):
        times = [median(row, "train_seconds") for row in (best, base)]
        if times[0] is not None and times[1] is not None:
            words += f" Training took {duration(times[0])}, against {duration(times[1])}."
        return words
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
    entry = row.get(name)
    value = entry.get("median") if isinstance(entry, dict) else entry
    return value if value is not None and math.isfinite(value) else None


def _listed(errors: dict[str, float], digits: int = 3) -> str:
    if len(errors) == 1:
        return short(next(iter(errors.values())), digits)
    return ", ".join(f"{short(x, digits)} ({field})" for field, x in errors.items())


def share(percent: float) -> str:
    """A percentage with as many digits as tell it from 100: 95.0, 99.9998."""
    rest = 100 - percent
    digits = -math.floor(math.log10(rest)) if rest > 0 else 1
    return f"{percent:z.{min(max(digits, 1), 12)}f}"


def count(value: float | None) -> str:
    """A whole number with thousands marked."""
    return "–" if value is None else f"{value:,.0f}"


def counted(value: float | None, noun: str) -> str:
    """How many of something: 1 step, 40,001 steps."""
    return f"{count(value)} {noun}{'s' * (value != 1)}"


def duration(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
