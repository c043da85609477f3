"""A moment of training in a process of its own, to measure its speed: see `poise.threads`.

Reads a request {"problem", "recipe", "threads"} from standard input, prints steps per second.
"""

from __future__ import annotations

import json
import sys
import time

import jax
import jax.numpy as jnp

from poise import cache, sources, threads
from poise.precision import working_in
from poise.training.recipe import rebuild_recipe
from poise.training.run import prepare


def main(seconds: float = 1.5) -> None:
    """Train for a moment; the best of several groups of steps counts."""
    request = json.load(sys.stdin)
    threads.pin(request["threads"])
    cache.keep_compiled_programs()
    problem, _ = sources.find(request["problem"])
    recipe = rebuild_recipe(request["recipe"])
    with working_in(recipe.dtype):
        loop = prepare(problem, recipe, 0)
        advance = jax.jit(loop.step.advance).lower(loop.state, jnp.int32(0)).compile()
        best, group, start = 0.0, 1, time.perf_counter()
        while time.perf_counter() - start < seconds:
            began = time.perf_counter()
            jax.block_until_ready(advance(loop.state, jnp.int32(group)))
            elapsed = time.perf_counter() - began
            best = max(best, group / elapsed)
            group = max(1, min(4 * group, int(group * 0.25 / elapsed)))
    print(best)


if __name__ == "__main__":
    main()
