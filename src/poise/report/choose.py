"""What of a run folder or a comparison a figure shows, and what is missing."""

from __future__ import annotations

from typing import Any

import numpy as np

from poise.report import style
from poise.runs import Comparison, Run

MOST_FEATURED = 6
"""Recipes that a figure can show without turning into a thicket."""


def part(run: Run, name: str) -> Any:
    """`run.config`, `.metrics`, `.history`, `.solution` or `.gradients`, or None.

    A run that diverged or was stopped early leaves out some of its files, and the report tells
    of the rest.
    """
    try:
        value = getattr(run, name)
    except (ValueError, OSError, TypeError):  # missing, cut short, or not what its name says
        return None
    if name == "history" and (value is None or not len(value.get("step", ()))):
        return None
    return value


def first_config(source: Run | Comparison) -> dict[str, Any]:
    """The configuration that tells the problem: any run of a comparison will do."""
    if isinstance(source, Run):
        return source.config
    for runs in source.runs.values():
        for run in runs:
            config = part(run, "config")
            if config is not None:
                return config
    name = source.summary.get("problem", "")
    return {"problem": {"name": name, "title": name, "terms": [], "fields": []}}


def final_error(run: Run) -> float:
    """One number that orders the seeds: the error of the chosen parameters, or the criterion.

    Of several fields the worst counts.

    NaN where the run left neither.
    """
    metrics = part(run, "metrics") or {}
    errors = list((metrics.get("best_relative_l2") or {}).values())
    if errors:
        finite = [x for x in errors if x is not None and np.isfinite(x)]
        return max(finite) if len(finite) == len(errors) else float("nan")
    history = part(run, "history") or {}
    for column in ("held_out", "loss"):
        values = np.asarray(history.get(column, ()), dtype=np.float64)
        if values.size and np.isfinite(values[-1]):
            return float(values[-1])
    return float("nan")


def representative(runs: list[Run], need: str) -> Run | None:
    """The run whose final error is the median of those that have `need`.

    With an even number of seeds it is the better of the middle two: a run, not a mean of runs.
    Runs without a finite error count as worse than all others.
    """
    usable = [run for run in runs if part(run, "config") and part(run, need) is not None]
    if not usable:
        return None
    errors = np.nan_to_num([final_error(run) for run in usable], nan=np.inf, posinf=np.inf)
    order = np.argsort(errors, kind="stable")
    return usable[order[(len(usable) - 1) // 2]]


def ends(runs: list[Run]) -> np.ndarray:
    """The final error of each run; infinite where it did not end well or left none. Shape (n,)."""
    errors = np.array([final_error(run) if ended_well(run) else np.inf for run in runs], np.float64)
    return np.where(np.isfinite(errors), errors, np.inf)


def baseline(comparison: Comparison) -> str:
    """The recipe that the others are compared with."""
    for row in comparison.summary.get("table") or []:
        if "baseline" in row and row["baseline"] is None and row.get("recipe") in comparison.runs:
            return str(row["recipe"])
    return "fixed" if "fixed" in comparison.runs else next(iter(comparison.runs))


def ranked(comparison: Comparison) -> list[str]:
    """The recipes by their median error, best first."""

    def middle(recipe: str) -> float:
        errors = ends(comparison.runs[recipe])
        return float(np.median(errors)) if errors.size else np.inf

    return sorted(comparison.runs, key=middle)


def featured(comparison: Comparison) -> list[str]:
    """The recipes that figures show in full: all of a few; of many the baseline, then the best."""
    if len(comparison.runs) <= MOST_FEATURED:
        return list(comparison.runs)
    usual = baseline(comparison)
    best = [recipe for recipe in ranked(comparison) if recipe != usual]
    return [usual, *best[: MOST_FEATURED - 1]]


def looks(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """How the curves of each recipe look: those that are not featured are pale, and all alike."""
    found = dict.fromkeys(comparison.runs, style.OTHER_RECIPE)
    return {**found, **style.recipe_styles(featured(comparison))}


def panels(source: Run | Comparison, need: str) -> dict[str, Run]:
    """The runs that a figure shows side by side, by heading. A single run has none."""
    if isinstance(source, Run):
        return {"": source} if part(source, need) is not None else {}
    chosen = {recipe: representative(source.runs[recipe], need) for recipe in featured(source)}
    return {recipe: run for recipe, run in chosen.items() if run is not None}


def ended_well(run: Run) -> bool:
    """Whether the run came to an end of its own that left its result at hand."""
    status = (part(run, "metrics") or {}).get("status")
    return status in ("budget spent", "converged", "stalled")


def same_optimizer(comparison: Comparison, one: str, other: str) -> bool:
    """Whether steps of two recipes are of one kind, so that their times can be compared.

    Taken for granted where the comparison does not tell.
    """
    settings = {str(s.get("name")): s for s in comparison.summary.get("settings") or []}
    kinds = []
    for recipe in (one, other):
        optimizer = settings.get(recipe, {}).get("optimizer")
        kinds.append(optimizer.get("kind") if isinstance(optimizer, dict) else optimizer)
    return kinds[0] == kinds[1]


def troubles(comparison: Comparison) -> list[str]:
    """One sentence for each run that is missing, unfinished or did not end well."""
    notes = []
    for recipe, runs in comparison.runs.items():
        for run in runs:
            name = f"{recipe} ({run.path.name})"
            metrics = part(run, "metrics")
            if not run.path.is_dir():
                notes.append(f"{name} is missing.")
            elif metrics is None:
                notes.append(f"{name} has not finished.")
            elif metrics.get("status") in ("diverged", "interrupted", "stalled"):
                message = (metrics.get("message") or "").strip()
                notes.append(
                    f"{name} {_STATUS[metrics['status']]}" + f": {message}" * bool(message)
                )
    return notes


_STATUS = {"diverged": "diverged", "interrupted": "was interrupted", "stalled": "stalled"}
