"""What each loss weighting costs: time of a step over that with fixed weights.

The published experiment on one core. In one process, in turns: 200 steps with the rule,
200 with fixed weights on the same points, and the ratio of the two; the median of many such pairs.

    python benchmarks/overhead.py [--pairs 15]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import replace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--worker", help="one rule of `poise.training.recipe.RULES`")
    options = parser.parse_args()
    if options.worker:
        from poise import threads

        threads.pin(1)
        print(json.dumps(measure(options.worker, options.pairs)))
        return
    from common import environment, save
    from poise.training.recipe import RULES

    ratios: dict[str, dict[str, list[float]]] = {}
    for name in RULES:
        if name == "fixed":
            continue
        command = [sys.executable, __file__, "--worker", name, "--pairs", str(options.pairs)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        ratios[name] = json.loads(done.stdout.splitlines()[-1])
        shown = {
            how: f"{100 * (statistics.median(r) - 1):+.1f} %" for how, r in ratios[name].items()
        }
        print(name, shown, flush=True)
    save("overhead", {"environment": environment(), "ratios": ratios})


def measure(name: str, pairs: int) -> dict[str, list[float]]:
    """Ratios of the times of a step, by how often weights are updated."""
    from poise.training.recipe import RULES, named
    from poise.weighting import Averaged
    from speed import compiled
    from speed import ratios as beside

    rule, points = RULES[name], named(name).points
    variants = {"every step": rule}
    if isinstance(rule, Averaged):
        variants = {f"every {every} steps": replace(rule, every=every) for every in (1, 10, 100)}
    plain = compiled("fixed", points=points)[:2]
    found = {}
    for how, variant in variants.items():
        weighted = compiled("fixed", weighting=variant, points=points)[:2]
        found[how] = beside(weighted, plain, pairs + 2)[2:]
    return found


if __name__ == "__main__":
    main()
