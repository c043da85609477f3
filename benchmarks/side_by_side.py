"""Two recipes with four seeds each: as one comparison, and as eight runs one after another.

The comparison runs a process on each core; the eight are `poise train` with the default number of
threads, each a process of its own. Whole processes, imports and compilation included, in turns,
each beginning with an empty cache of compiled programs that its runs share.

    python benchmarks/side_by_side.py [--steps 40001] [--rounds 2]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import environment, save

RECIPES, SEEDS = ("fixed", "annealing"), range(4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40_001)
    parser.add_argument("--rounds", type=int, default=2)
    chosen = parser.parse_args()
    seconds: dict[str, list[float]] = {"comparison": [], "one after another": []}
    for number in range(chosen.rounds):
        order = (compared, in_turn) if number % 2 == 0 else (in_turn, compared)
        for way in order:
            name = "comparison" if way is compared else "one after another"
            seconds[name].append(way(chosen.steps))
            print(f"{name}: {seconds[name][-1]:.1f} s", flush=True)
    save("side_by_side", {"environment": environment(), "steps": chosen.steps, "seconds": seconds})


def compared(steps: int) -> float:
    """Seconds of one comparison."""
    return timed(
        [
            *("compare", "klein-gordon", "--recipes", ",".join(RECIPES)),
            *("--seeds", str(len(SEEDS)), "--steps", str(steps)),
        ]
    )


def in_turn(steps: int) -> float:
    """Seconds of the same runs one after another."""
    return timed(
        *(
            [
                *("train", "klein-gordon", "--recipe", recipe, "--seed", str(seed)),
                *("--steps", str(steps), "--no-report"),
            ]
            for seed in SEEDS
            for recipe in RECIPES
        )
    )


def timed(*commands: list[str]) -> float:
    """Seconds of some commands of poise, one after another, in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        for command in commands:
            subprocess.run(
                [sys.executable, "-m", "poise", *command],
                check=True,
                capture_output=True,
                cwd=Path(folder),
                env={**os.environ, "XDG_CACHE_HOME": f"{folder}/cache"},
            )
        return time.perf_counter() - start


if __name__ == "__main__":
    main()
