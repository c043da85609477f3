"""Speed: poise against a straightforward JAX loop, the cost of weighting, and where time goes.

Run by ``make benchmark``. Machines are noisy, so everything that is compared is measured in
turns within one run, and medians of paired ratios are reported. Each contender runs in a process
of its own, because the number of threads is fixed when JAX first computes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
ROUNDS = 7
STEPS = 1500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", choices=sorted(WORKERS))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if options.worker:
        from poise import threads

        threads.pin(options.threads)
        print(json.dumps(WORKERS[options.worker]()))
        return
    from common import environment, save

    cores = len(os.sched_getaffinity(0))
    counts = sorted({1, cores})
    contenders = [(name, count) for name in ("straightforward", "poise") for count in counts]
    measured: dict[tuple[str, int], list[float]] = {contender: [] for contender in contenders}
    for number in range(ROUNDS):
        for name, count in contenders:
            measured[name, count].append(ask(name, count))
            print(
                f"round {number + 1}: {name}, {count} threads: {measured[name, count][-1]:.3f} ms"
            )
    best = {
        name: min(counts, key=lambda count: statistics.median(measured[name, count]))
        for name in ("straightforward", "poise")
    }
    ratios = [
        slow / fast
        for slow, fast in zip(
            measured["straightforward", best["straightforward"]],
            measured["poise", best["poise"]],
            strict=True,
        )
    ]
    result = {
        "environment": environment(),
        "milliseconds": {f"{name}, {n} threads": v for (name, n), v in measured.items()},
        "best_threads": best,
        "ratios": ratios,
        "overhead": ask("overhead", best["poise"]),
        "profile": ask("profile", best["poise"]),
        "startup": startup(),
    }
    save("speed", result)
    print(f"poise / straightforward: {statistics.median(ratios):.2f} times the steps per second")


def ask(worker: str, count: int):
    """Run a worker in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--worker", worker, "--threads", str(count)],
        capture_output=True,
        text=True,
        cwd=HERE,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def straightforward_worker() -> float:
    import straightforward

    straightforward.train(100)
    return 1e3 * straightforward.train(STEPS)


def poise_worker() -> float:
    advance, state, loop = compiled("annealing")
    import straightforward

    straightforward.check(loop.step.objective, loop.step.model(state.params).network)
    timed(advance, state, 100)
    return timed(advance, state, STEPS)


def overhead_worker() -> dict[str, list[float]]:
    """Paired ratios of the time of a step, adaptive over fixed weights."""
    from poise.weighting import Annealing

    fixed = compiled("fixed")[:2]
    out = {}
    for every in (10, 1):
        adaptive = compiled("annealing", weighting=Annealing(every=every))[:2]
        out[f"every {every} steps"] = ratios(adaptive, fixed, 60)[10:]
    return out


def ratios(one, other, pairs) -> list[float]:
    """Times of 200 steps of `one` over those of `other`, each a pair (advance, state)."""
    found = []
    for number in range(pairs):
        # In turns, and each first as often as second: drift cancels.
        order = [other, one] if number % 2 else [one, other]
        times = {id(each): timed(*each, 200) for each in order}
        found.append(times[id(one)] / times[id(other)])
    return found


def profile_worker() -> dict[str, float]:
    """Milliseconds of the parts of a step, each compiled and repeated on its own."""
    import jax
    import jax.numpy as jnp
    from jax.flatten_util import ravel_pytree

    from poise.optimizers import View, weighted_sum
    from poise.weighting import Annealing, Signals

    advance, state, loop = compiled("annealing")
    step, objective = loop.step, loop.step.objective
    points = objective.sample(state.key)
    losses, gradients = jax.jit(step.signals)(state)
    out = {"whole step": timed(advance, state, 1000)}

    def repeat(name, function, argument):
        """Time `function`, made to depend on its own result so that no repetition is skipped."""

        def body(_, carry):
            result = function(carry)
            leak = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(result)) * 0
            return jax.tree.map(lambda leaf: leaf + leak.astype(leaf.dtype), carry)

        many = jax.jit(lambda carry: jax.lax.fori_loop(0, 300, body, carry))
        jax.block_until_ready(many(argument))
        times = []
        for _ in range(9):
            start = time.perf_counter()
            jax.block_until_ready(many(argument))
            times.append((time.perf_counter() - start) / 300)
        out[name] = 1e3 * statistics.median(times)

    for term in objective.terms:

        def gradient(params, term=term):
            def loss(p):
                return objective.term_loss(term, step.model(p), points[term])

            return jax.value_and_grad(loss)(params)

        repeat(f"loss and gradient of {term}", gradient, state.params)
    repeat(
        "sampling of points",
        lambda n: objective.sample(jax.random.fold_in(state.key, n)),
        jnp.int32(0),
    )

    def update(given):
        params, gradients = given
        total = ravel_pytree(weighted_sum(state.weights, gradients))[0]
        view = View(losses, gradients, state.weights, total)
        return step.optimizer.step(params, state.optimizer, view)[:2]

    repeat("Adam, with the sum of gradients", update, (state.params, gradients))
    repeat(
        "statistics for the weights",
        lambda g: Annealing().update(state.weighting, Signals(gradients=g))[0],
        gradients,
    )
    rows = {"residual": 4 * 128, "initial": 2 * 128, "boundary": 2 * 128}
    for layout in ("points last", "points first"):
        repeat(
            f"floor: matrix products alone, {layout}",
            lambda p, layout=layout: products(step.model(p).network, list(rows.values()), layout),
            state.params,
        )
    return out


def products(network, rows, layout):
    """The hidden layers' products of one step, forward and backward, and nothing else."""
    import jax
    import jax.numpy as jnp

    out = []
    for count in rows:
        shape = (50, count) if layout == "points last" else (count, 50)
        weights = [layer.weight for layer in network.layers[1:-1]]
        kept = [jnp.full(shape, 1e-3) + network.layers[0].bias[0]]
        for weight in weights:
            kept.append(weight @ kept[-1] if layout == "points last" else kept[-1] @ weight)
        adjoint = kept[-1]
        for weight, before in zip(weights[::-1], kept[-2::-1], strict=True):
            if layout == "points last":
                out.append(adjoint @ before.T)
                adjoint = weight.T @ adjoint
            else:
                out.append(before.T @ adjoint)
                adjoint = adjoint @ weight.T
        out.append(adjoint)
    return jax.lax.optimization_barrier(out)


def compiled(recipe_name, **changes):
    """The compiled step of the reference experiment."""
    from dataclasses import replace

    import jax
    import jax.numpy as jnp

    import poise
    from poise.training.recipe import named
    from poise.training.run import prepare

    loop = prepare(poise.zoo.load("klein-gordon"), replace(named(recipe_name), **changes), 0)
    advance = jax.jit(loop.step.advance).lower(loop.state, jnp.int32(0)).compile()
    return advance, loop.state, loop


def timed(advance, state, steps) -> float:
    """Milliseconds of a step."""
    import jax
    import jax.numpy as jnp

    start = time.perf_counter()
    jax.block_until_ready(advance(state, jnp.int32(steps)))
    return 1e3 * (time.perf_counter() - start) / steps


def startup() -> list[float]:
    """Seconds of `poise train klein-gordon --steps 100`, the whole process, after a first one."""
    times = []
    command = [sys.executable, "-m", "poise", "train", "klein-gordon", "--steps", "100"]
    for number in range(6):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            subprocess.run([*command, "--out", f"{folder}/run"], check=True, capture_output=True)
            if number:
                times.append(time.perf_counter() - start)
    return times


WORKERS = {
    "straightforward": straightforward_worker,
    "poise": poise_worker,
    "overhead": overhead_worker,
    "profile": profile_worker,
}

if __name__ == "__main__":
    main()
