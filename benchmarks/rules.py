"""Every loss weighting under Gauss-Newton, over the whole zoo, at equal steps.

The network and the points are those that `poise.solve` settles on for the problem; only the rule
differs. Steps are counted, not seconds: the Jacobian is there whichever rule reads it, so the
rules cost the same, and the result does not depend on how busy the machine is. Every rule is
asked for weights at every step. A seed is a start of the network and of the drawing of points.
Interrupted, it goes on where it stopped (``runs/rules``).

    python benchmarks/rules.py [--seeds 5] [--only klein-gordon,wave] [--core 1]
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path

from common import environment, load, save

FOLDER = Path(__file__).parent.parent / "runs" / "rules"

STEPS = {
    "klein-gordon": 50,
    "poisson-2d": 30,
    "heat": 30,
    "helmholtz": 50,
    "advection": 50,
    "wave": 50,
    "burgers": 60,
    "kdv": 80,
    "allen-cahn": 60,
    "poisson-5d": 20,
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
    for problem in chosen.only.split(","):
        for rule in RULES:
            path = FOLDER / f"{problem}-{rule}-{chosen.seeds}-{STEPS[problem]}.json"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(measure(problem, rule, chosen.seeds)))
            runs += json.loads(path.read_text())
    former = load("rules") or {"runs": []}
    kept = [r for r in former["runs"] if r["problem"] not in chosen.only.split(",")]
    save("rules", {"environment": environment(), "runs": kept + runs})


def measure(problem: str, rule: str, seeds: int) -> list[dict]:
    """Runs of Gauss-Newton with a rule: one compiled program, a start for each seed."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    from jax.flatten_util import ravel_pytree

    from poise import weighting, zoo
    from poise.precision import working_in
    from poise.training import recipes
    from poise.training.loop import Limits
    from poise.training.run import prepare

    posed = zoo.load(problem)
    kind = getattr(weighting, rule)
    weights = kind() if rule == "Fixed" else kind(every=1)
    recipe = recipes.automatic(posed, weighting=weights).recipes[problem in FRONTS]
    if problem in SCALES:
        recipe = replace(recipe, network=replace(recipe.network, scale=SCALES[problem]))
    recipe = replace(recipe, steps=seeds * STEPS[problem], record_every=2)
    runs = []
    with working_in("float64"):
        loop = prepare(posed, recipe, 0)
        loop.compile()
        names = [name for name in loop.history.arrays() if name.startswith("error.")]
        for seed in range(seeds):
            before = len(loop.history.arrays()["step"])
            key = jax.random.PRNGKey(seed)
            network = recipe.network.build(posed.domain, len(posed.fields), key, jnp.float64)
            model = loop.step.model(loop.step.start)._replace(network=network)
            loop.state = loop.state._replace(key=jax.random.fold_in(key, 1))
            loop.restart(ravel_pytree(eqx.filter(model, eqx.is_inexact_array))[0])
            loop.run(limits=Limits(last=(seed + 1) * STEPS[problem]))
            loop.state = loop.state._replace(
                step=jnp.asarray((seed + 1) * STEPS[problem], loop.state.step.dtype)
            )
            rows = loop.history.arrays()
            found = [max(row) for row in zip(*(rows[n][before:] for n in names), strict=True)]
            _, errors = loop.evaluation(loop.chosen.params)
            best = max(errors.values())
            runs.append(
                {
                    "problem": problem,
                    "rule": rule,
                    "seed": seed,
                    "steps": STEPS[problem],
                    "error": best,
                    "errors": [float(error) for error in found],
                }
            )
            print(problem, rule, seed, f"{best:.2e}", flush=True)
    return runs


if __name__ == "__main__":
    main()
