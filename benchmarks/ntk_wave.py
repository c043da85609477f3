"""The wave equation with weights from the neural tangent kernel, as their authors studied it.

Wang, Yu & Perdikaris (J. Comput. Phys. 449, 2022) train a tanh network of three hidden layers of
500 units with Adam, c = 2. After 80,000 steps they report a relative L2 error of 0.45 with fixed
weights and of 3.9e-3 with weights from the kernel. A step of a network as wide as that, on 300
fresh points for each term, takes a twentieth of a second on one core: a run takes an hour, and the
two of the study run side by side. Interrupted, each goes on where it stopped (``runs/ntk-wave``),
if the commit is the same.

    python benchmarks/ntk_wave.py [--steps 80000] [--seeds 1] [--recipes fixed,ntk]
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from common import COMMIT, environment, run_all, save
from poise import runs
from poise.comparison.compare import Comparison
from poise.networks import MLP
from poise.points import Uniform
from poise.training.recipe import named

FOLDER = Path(__file__).parent.parent / "runs" / "ntk-wave"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=80_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--width", type=int, default=500)
    parser.add_argument("--recipes", default="fixed,ntk")
    chosen = parser.parse_args()
    recipes = [
        replace(
            named(name),
            network=MLP(width=chosen.width, depth=3),
            points=Uniform(300),
            steps=chosen.steps,
            record_every=max(1, chosen.steps // 100),
        )
        for name in chosen.recipes.split(",")
    ]
    folder = FOLDER / COMMIT / f"{chosen.recipes}-{chosen.steps}-{chosen.width}-{chosen.seeds}"
    comparison = Comparison("wave", recipes, range(chosen.seeds), folder)
    run_all(comparison)
    comparison.summarize()
    rows = [row(runs.Run(job.folder)) for job in comparison.jobs]
    for each in rows:
        print(each["recipe"], each["seed"], f"{each['error']:.2e}", each["weights"])
    save("ntk_wave", {"environment": environment(), "width": chosen.width, "runs": rows})


def row(run: runs.Run) -> dict:
    """The figures of one run."""
    history, metrics = run.history, run.metrics
    return {
        "recipe": metrics["recipe"],
        "seed": metrics["seed"],
        "steps": metrics["steps"],
        "error": metrics["best_relative_l2"]["u"],
        "weights": metrics["weights"],
        "seconds": metrics["train_seconds"],
        "errors": [
            [int(step), float(error)]
            for step, error in zip(history["step"], history["error.u"], strict=True)
        ],
    }


if __name__ == "__main__":
    main()
