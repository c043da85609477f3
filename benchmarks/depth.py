"""How deep `poise.solve` goes, and how fast: error against seconds for every problem of the zoo.

Each run is a process of its own, pinned to one core, with an empty cache of compiled programs:
seconds are counted from the start of the process, imports and compilation included. As many runs
go at a time as there are cores. The *estimate* of a run is what `Solution.check` would say with
the run of the next seed as the second solve: the relative difference of the two on the grid.
Interrupted, it goes on where it stopped (``runs/depth``).

    python benchmarks/depth.py [--seeds 5] [--only klein-gordon,wave] [--scale 1.0]

With ``--alone`` runs go one after another, and each has all cores. With ``--recipe fixed`` or
``annealing`` the first-order recipe has the time instead, a quarter of it with ``--scale 0.25``:
what `solve` had reached by then is in its own rows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np

from common import environment, load, save

FOLDER = Path(__file__).parent.parent / "runs" / "depth"

BUDGETS = {
    "klein-gordon": 90,
    "poisson-2d": 45,
    "heat": 45,
    "helmholtz": 45,
    "advection": 60,
    "wave": 120,
    "burgers": 180,
    "kdv": 180,
    "allen-cahn": 150,
    "poisson-5d": 150,
}
"""Seconds for each problem."""

TARGETS = {
    "klein-gordon": ((1e-6, 20), (1e-8, 90)),
    "poisson-2d": ((1e-6, 60),),
    "heat": ((1e-6, 60),),
    "helmholtz": ((1e-6, 60),),
    "advection": ((1e-6, 60),),
    "wave": ((1e-5, 120),),
    "burgers": ((1e-4, 180),),
    "kdv": ((1e-4, 180),),
    "allen-cahn": ((1e-3, 300),),
    "poisson-5d": ((1e-4, 300),),
}
"""Errors to reach, and within how many seconds."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default=",".join(BUDGETS))
    parser.add_argument("--scale", type=float, default=1.0, help="of the budgets")
    parser.add_argument("--alone", action="store_true", help="one run at a time, on all cores")
    parser.add_argument("--recipe", default="solve", choices=["solve", "fixed", "annealing"])
    chosen = parser.parse_args()
    name = "depth" if chosen.recipe == "solve" else f"depth-{chosen.recipe}"
    name += "-alone" if chosen.alone else ""
    problems = chosen.only.split(",")
    jobs = [(p, seed) for p in problems for seed in range(chosen.seeds)]
    available = sorted(os.sched_getaffinity(0))
    cores: Queue[list[int]] = Queue()
    for group in [available] if chosen.alone else [[core] for core in available]:
        cores.put(group)
    count = cores.qsize()

    def run(job: tuple[str, int]) -> dict:
        problem, seed = job
        budget = chosen.scale * BUDGETS[problem]
        path = FOLDER / name / f"{problem}-{seed}-{budget:g}.json"
        if not path.exists():
            core = cores.get()
            try:
                one(problem, seed, budget, core, path, chosen.recipe)
            finally:
                cores.put(core)
        found = json.loads(path.read_text())
        print(problem, seed, f"{found['error']:.2e}", found["status"], flush=True)
        return found

    with ThreadPoolExecutor(count) as pool:
        runs = list(pool.map(run, jobs))
    for found in runs:
        group = [r for r in runs if r["problem"] == found["problem"]]
        other = group[(group.index(found) + 1) % len(group)]
        if other is not found:
            found["estimate"] = apart(fields(name, found), fields(name, other))
    former = load(name) or {"runs": []}
    kept = [r for r in former["runs"] if r["problem"] not in problems]
    save(name, {"environment": environment(), "runs": kept + runs})


def fields(name: str, run: dict) -> dict:
    """The predicted fields of a run on the grid."""
    path = FOLDER / name / f"{run['problem']}-{run['seed']}-{run['budget']:g}.npz"
    with np.load(path) as found:
        return dict(found)


def apart(one: dict, other: dict) -> float:
    """‖u₁ - u₂‖₂ / ‖u₁‖₂, the largest over the fields."""
    return max(
        float(np.linalg.norm(u - other[name]) / np.linalg.norm(u)) for name, u in one.items()
    )


def one(problem: str, seed: int, budget: float, core: list[int], path: Path, recipe: str) -> None:
    """One run in a process of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as cache:
        request = {
            "problem": problem,
            "seed": seed,
            "budget": budget,
            "core": core,
            "path": str(path),
            "recipe": recipe,
            "started": time.time(),
        }
        subprocess.run(
            [sys.executable, __file__, "--worker"],
            input=json.dumps(request),
            text=True,
            check=True,
            env={**os.environ, "XDG_CACHE_HOME": cache},
            stdout=subprocess.DEVNULL,
        )


class Recorder:
    """Stands where a display stands: notes seconds since the process began, with each row."""

    def __init__(self, started: float) -> None:
        self.started = started
        self.rows: list[tuple[float, int, float, float]] = []

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def choice(self, line: str) -> None:
        pass

    def say(self, line: str) -> None:
        pass

    def update(self, taken: int, row: dict[str, float] | None) -> None:
        if row is not None:
            errors = [value for name, value in row.items() if name.startswith("error.")]
            self.rows.append((time.time() - self.started, taken, row["held_out"], max(errors)))


def worker() -> None:
    request = json.loads(sys.stdin.read())
    os.sched_setaffinity(0, request["core"])
    from poise import zoo
    from poise.training import recipes
    from poise.training.recipe import named
    from poise.training.run import run
    from poise.training.solve import run_plan

    recorder: Any = Recorder(request["started"])
    problem, seed = zoo.load(request["problem"]), request["seed"]
    left = request["budget"] - (time.time() - request["started"])
    if request["recipe"] == "solve":
        plan = recipes.automatic(problem)
        solution = run_plan(problem, plan, tol=None, budget=left, seed=seed, display=recorder)
    else:
        recipe = replace(named(request["recipe"]), steps=10**7, seconds=left, record_every=500)
        solution = run(problem, recipe, seed=seed, display=recorder)
    metrics = solution.metrics
    predicted = {name: solution.fields[name].values for name in problem.fields}
    np.savez_compressed(Path(request["path"]).with_suffix(".npz"), **predicted)
    Path(request["path"]).write_text(
        json.dumps(
            {
                "problem": request["problem"],
                "seed": request["seed"],
                "budget": request["budget"],
                "error": max(metrics["best_relative_l2"].values()),
                "status": solution.status,
                "parameters": metrics["parameters"],
                "peak_memory_mb": metrics["peak_memory_mb"],
                "choices": solution.config.get("choices", []),
                "rows": recorder.rows,
            }
        )
    )


def error_at(rows: list, end: float) -> float:
    """Error of the parameters with the smallest criterion up to a time; 1 before the first row."""
    early = [(criterion, found) for seconds, _, criterion, found in rows if seconds <= end]
    return min(early)[1] if early else 1.0


def seconds_to(rows: list, error: float) -> float | None:
    """Seconds until the parameters with the smallest criterion so far have an error below."""
    best, reached = float("inf"), float("inf")
    for seconds, _, criterion, found in rows:
        if criterion < best:
            best, reached = criterion, found
        if reached <= error:
            return seconds
    return None


if __name__ == "__main__":
    worker() if "--worker" in sys.argv else main()
