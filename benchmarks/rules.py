"""Every loss weighting under Gauss-Newton, over the whole zoo, at equal steps.

The network and the points are those that `poise.solve` settles on for the problem; only the rule
differs. Steps are counted, not seconds: the Jacobian is there whichever rule reads it, so the
rules cost the same, and the result does not depend on how busy the machine is. Every rule is
asked for weights at every step. Interrupted, it goes on where it stopped (``runs/rules``).

    python benchmarks/rules.py [--seeds 5] [--only klein-gordon,wave] [--core 1]
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path

from common import environment, save

FOLDER = Path(__file__).parent.parent / "runs" / "rules"

STEPS = {
    "klein-gordon": 100,
    "poisson-2d": 60,
    "heat": 60,
    "helmholtz": 100,
    "advection": 100,
    "wave": 100,
    "burgers": 120,
    "kdv": 150,
    "allen-cahn": 100,
    "poisson-5d": 30,
}
"""Steps on each problem: about those after which the errors fall slowly."""

FRONTS = ("burgers", "kdv", "allen-cahn")
"""Problems on which `solve` settles on its second network."""

SCALES = {"advection": {"t": 12.0, "x": 1.0}}
"""Scales of the start on which `solve` settles, where it is not the first."""

RULES = ("NTK", "GradNorm", "EqualLosses", "Annealing", "Fixed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default=",".join(STEPS))
    parser.add_argument("--core", type=int, default=None, help="stay on this core")
    chosen = parser.parse_args()
    if chosen.core is not None:
        os.sched_setaffinity(0, [chosen.core])
    runs = []
    for seed in range(chosen.seeds):
        for problem in chosen.only.split(","):
            for rule in RULES:
                path = FOLDER / f"{problem}-{rule}-{seed}-{STEPS[problem]}.json"
                if not path.exists():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(json.dumps(one(problem, rule, seed)))
                runs.append(json.loads(path.read_text()))
                print(problem, rule, seed, f"{runs[-1]['error']:.2e}", flush=True)
    save("rules", {"environment": environment(), "runs": runs})


def one(problem: str, rule: str, seed: int) -> dict:
    """One run of Gauss-Newton with a rule."""
    from poise import weighting, zoo
    from poise.training import recipes
    from poise.training.run import run

    posed = zoo.load(problem)
    kind = getattr(weighting, rule)
    weights = kind() if rule == "Fixed" else kind(every=1)
    recipe = recipes.automatic(posed, weighting=weights).recipes[problem in FRONTS]
    if problem in SCALES:
        recipe = replace(recipe, network=replace(recipe.network, scale=SCALES[problem]))
    recipe = replace(recipe, steps=STEPS[problem], record_every=2)
    solution = run(posed, recipe, seed=seed)
    metrics, history = solution.metrics, solution.history
    names = [name for name in history if name.startswith("error.")]
    return {
        "problem": problem,
        "rule": rule,
        "seed": seed,
        "steps": metrics["steps"],
        "status": solution.status,
        "error": max(metrics["best_relative_l2"].values()),
        "errors": [float(max(row)) for row in zip(*(history[n] for n in names), strict=True)],
    }


if __name__ == "__main__":
    main()
