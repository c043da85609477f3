"""The published experiment in full: Klein-Gordon, 40,001 steps, five seeds, both recipes.

Run by ``make benchmark``. The run folders lie in ``runs/published``; a run of this file that was
interrupted goes on where it stopped, if the commit is the same.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from common import COMMIT, environment, run_all, save
from poise import runs
from poise.comparison.compare import Comparison
from poise.training.recipe import named

FOLDER = Path(__file__).parent.parent / "runs" / "published"
SEEDS = range(5)
CONDITIONS = ("initial", "boundary")


def main() -> None:
    recipes = [named("fixed"), named("annealing")]
    comparison = Comparison("klein-gordon", recipes, SEEDS, FOLDER / COMMIT)
    run_all(comparison)
    table = comparison.summarize()
    rows = [row_of(runs.Run(job.folder)) for job in comparison.jobs]
    save("published", {"environment": environment(), "table": table, "runs": rows})


def row_of(run: runs.Run) -> dict:
    """The figures of one run, and how well the choice of parameters did on it."""
    metrics, history = run.metrics, run.history
    error = history["error.u"]
    late = slice(len(error) // 2, None)
    candidates = {
        "chosen": history["held_out"],
        "residual alone": history["held_out.residual"],
        "sum of losses": sum(history[f"held_out.{term}"] for term in run.terms),
    }
    return {
        "recipe": metrics["recipe"],
        "seed": metrics["seed"],
        "last": metrics["relative_l2"]["u"],
        "chosen": metrics["best_relative_l2"]["u"],
        "lowest": metrics["lowest_relative_l2"]["u"],
        "chosen_step": metrics["best_step"],
        "weights": metrics["weights"],
        "weights_median_late": {
            term: float(np.median(history[f"weight.{term}"][late])) for term in CONDITIONS
        },
        "train_seconds": metrics["train_seconds"],
        "steps_per_second": metrics["steps_per_second"],
        "peak_memory_mb": metrics["peak_memory_mb"],
        "criteria": {
            name: {
                "error": float(error[int(np.argmin(values))]),
                "rank_correlation": float(spearmanr(values, error).statistic),
            }
            for name, values in candidates.items()
        },
    }


if __name__ == "__main__":
    main()
