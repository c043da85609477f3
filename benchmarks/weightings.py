"""Loss weightings side by side under Adam: at equal steps, at equal seconds, and how steady.

Two studies, both comparisons as `poise compare` makes them, two runs at a time on two cores:

``rules``
    Every rule that has a recipe, on four problems. Rules that remember points stand beside fixed
    weights on the same points, `fixed-kept`.
``statistics``
    What stands for the maximum and the mean in the rule of Wang, Teng & Perdikaris (2021): other
    pairs of statistics of the same gradients, on three problems.

Everything but the weighting is the reference experiment of that article. *At equal seconds* is what
the parameters chosen so far had reached when the quickest run of the problem ended. *Steadiness* is
the variance of log λ over the rows of the second half of a run, averaged over the terms whose
weight moves. Interrupted, it goes on where it stopped (``runs/weightings``), if the commit is
the same.

    python benchmarks/weightings.py rules [--seeds 5] [--steps 10000] [--only wave,helmholtz]
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from common import COMMIT, environment, load, run_all, save
from depth import error_at
from poise import runs
from poise.comparison.baseline import baseline
from poise.comparison.compare import Comparison
from poise.training.recipe import EXPERIMENTS, Recipe, named
from poise.weighting import Annealing
from poise.weighting.statistics import (
    RMS,
    LogMean,
    Max,
    Mean,
    Median,
    PerLayer,
    Quantile,
    TrimmedMean,
)

FOLDER = Path(__file__).parent.parent / "runs" / "weightings"

PAIRS = {
    "max / mean": (Max(), PerLayer(Mean())),
    "max / mean-of-all": (Max(), Mean()),
    "q99 / mean": (Quantile(0.99), PerLayer(Mean())),
    "q99 / median": (Quantile(0.99), PerLayer(Median())),
    "max / log-mean": (Max(), PerLayer(LogMean())),
    "q99 / log-mean": (Quantile(0.99), PerLayer(LogMean())),
    "log-mean / log-mean": (LogMean(), PerLayer(LogMean())),
    "trimmed / trimmed": (TrimmedMean(0.1), PerLayer(TrimmedMean(0.1))),
    "RMS / RMS": (RMS(), RMS()),
}
"""Numerator and denominator; the first is the article's."""

PROBLEMS = {
    "rules": ("klein-gordon", "helmholtz", "wave", "allen-cahn"),
    "statistics": ("klein-gordon", "helmholtz", "cavity"),
}


def recipes(study: str, steps: int) -> list[Recipe]:
    """The recipes of a study, all of the same length, with a hundred rows of history."""
    if study == "rules":
        found = list(EXPERIMENTS.values())
    else:
        found = [named("fixed")] + [
            replace(
                named("annealing"),
                name=name.replace(" ", ""),
                weighting=Annealing(numerator=above, denominator=below),
            )
            for name, (above, below) in PAIRS.items()
        ]
    return [replace(recipe, steps=steps, record_every=max(1, steps // 100)) for recipe in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", choices=sorted(PROBLEMS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--only", help="problems, with commas between them")
    chosen = parser.parse_args()
    problems = chosen.only.split(",") if chosen.only else PROBLEMS[chosen.study]
    if unknown := set(problems) - set(PROBLEMS[chosen.study]):
        parser.error(f"--only {', '.join(unknown)}: expected {', '.join(PROBLEMS[chosen.study])}")
    name = f"weightings-{chosen.study}"
    for problem in problems:
        found = measure(chosen.study, problem, chosen.steps, chosen.seeds)
        former = load(name) or {"environments": {}, "runs": []}
        kept = [r for r in former["runs"] if r["problem"] != problem]
        environments = {**former["environments"], problem: environment()}
        order = PROBLEMS[chosen.study]
        rows = sorted(kept + found, key=lambda r: order.index(r["problem"]))
        save(name, {"environments": environments, "runs": rows})


def measure(study: str, problem: str, steps: int, seeds: int) -> list[dict]:
    """Every recipe of a study with every seed on a problem; one it does not suit is left out."""
    folder = FOLDER / COMMIT / study / f"{problem}-{steps}-{seeds}"
    given = recipes(study, steps)
    for number, recipe in enumerate(given):  # a slash is no part of a folder's name
        given[number] = replace(recipe, name=recipe.name.replace("/", "-by-"))
    comparison = Comparison(problem, given, range(seeds), folder)
    run_all(comparison)
    comparison.summarize()
    usual = {recipe.name: baseline(recipe, given).name for recipe in given}
    ended = [run for job in comparison.jobs if (run := runs.Run(job.folder)).finished]
    end = min(run.metrics["train_seconds"] for run in ended)
    return [row(run, problem, end, usual) for run in ended]


def row(run: runs.Run, problem: str, end: float, usual: Mapping[str, str]) -> dict:
    """The figures of one run; `end` in seconds of training."""
    history, metrics = run.history, run.metrics
    errors = [values for name, values in history.items() if name.startswith("error.")]
    rows = zip(
        history["seconds"],
        history["step"],
        history["held_out"],
        np.max(errors, axis=0),
        strict=True,
    )
    return {
        "problem": problem,
        "recipe": metrics["recipe"],
        "baseline": usual[metrics["recipe"]],
        "seed": metrics["seed"],
        "status": metrics["status"],
        "steps": metrics["steps"],
        "error": max(metrics["best_relative_l2"].values()),
        "error_at_equal_seconds": float(error_at(list(rows), end)),
        "equal_seconds": end,
        "seconds": metrics["train_seconds"],
        "steadiness": steadiness(history),
    }


def steadiness(history: Mapping[str, np.ndarray]) -> float | None:
    """Variance of log λ over the second half, averaged over terms; None where no weight moves."""
    found = []
    for name, values in history.items():
        late = values[len(values) // 2 :]
        if name.startswith("weight.") and np.all(late > 0) and np.ptp(late) > 0:
            found.append(float(np.var(np.log(late))))
    return float(np.mean(found)) if found else None


if __name__ == "__main__":
    main()
