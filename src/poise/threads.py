"""How many CPU threads a run should have: measured, not guessed.

Networks of this size are too small for XLA's threads: handing a product of 50 by 500 numbers to
a second core costs more than it saves, and with another busy process far more. So a run is
pinned to a core unless a measurement says that more are faster. The pool of threads is made when
JAX first computes: `pin` must come before.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from poise import cache
from poise.runs import write_json

WORTH_MEASURING = 10_000
"""Steps from which a run is long enough to pay for a measurement."""


def available() -> list[int]:
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def pin(count: int) -> None:
    """Restrict this process to `count` cores, the idlest ones.

    Raises
    ------
    ValueError
        If the machine does not have as many.
    """
    cores = available()
    if not 1 <= count <= len(cores):
        raise ValueError(f"threads={count}: this process may use 1 to {len(cores)}")
    pin_to(_idlest_first(cores)[:count])


def pin_to(cores: list[int]) -> None:
    """Restrict this process to the given cores, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    elif len(cores) == 1:  # no affinity on this system: at least keep products on one thread
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false"


def one_for_blas() -> contextlib.AbstractContextManager[Any]:
    """Context in which LAPACK, which is OpenBLAS, has one thread.

    It has a pool beside XLA's, and at these sizes two pools on two cores stand in each other's
    way: a Gauss-Newton step takes 0.8 s instead of 0.4 s.
    """
    import scipy.linalg  # noqa: F401  # what is not loaded yet is not found
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, user_api="blas")


def choose(
    problem_text: str,
    recipe: Mapping[str, Any],
    steps: int,
    tell: Callable[[str], None] = lambda text: None,
) -> tuple[int, str]:
    """The number of threads for a run, and why.

    What was once measured for the same problem, network and points on this machine is
    remembered. A short run is not worth a measurement and gets one thread.

    Parameters
    ----------
    problem_text, recipe
        What to train, as the command line and config.json have it.
    steps
        Length of the run.
    tell
        Called with what is going on before a measurement, which takes a few seconds.
    """
    cores = len(available())
    if cores == 1:
        return 1, "the only core"
    shape = {name: part for name, part in recipe.items() if name not in ("steps", "name")}
    label = json.dumps([problem_text, shape, _processor_count(), cores], sort_keys=True)
    memory = cache.folder() / "threads" / f"{hashlib.sha256(label.encode()).hexdigest()[:16]}.json"
    rates = _remembered(memory)
    if rates is None:
        if steps < WORTH_MEASURING:
            return 1, "a short run is not measured"
        tell("measuring how many threads are fastest here, once for this problem and network")
        rates = measure(problem_text, recipe, sorted({1, cores}))
        if not rates:
            return 1, "the measurement failed"
        with contextlib.suppress(OSError):  # a cache that cannot be written: measured again
            write_json(memory, {str(count): rate for count, rate in rates.items()})
    best = max(rates, key=lambda count: rates[count])
    figures = ", ".join(f"{count}: {rate:.0f}" for count, rate in sorted(rates.items()))
    return best, f"measured steps/s by threads, {figures}"


def measure(problem_text: str, recipe: Mapping[str, Any], counts: list[int]) -> dict[int, float]:
    """Steps per second at each number of threads, each in a process of its own."""
    rates = {}
    for count in counts:
        request = json.dumps({"problem": problem_text, "recipe": recipe, "threads": count})
        done = subprocess.run(
            [sys.executable, "-m", "poise.training.trial"],
            input=request,
            capture_output=True,
            text=True,
        )
        if done.returncode == 0:
            rates[count] = float(done.stdout.split()[-1])
    return rates


def _remembered(memory: Path) -> dict[int, float] | None:
    try:
        rates = json.loads(memory.read_text())
        return {int(count): float(rate) for count, rate in rates.items()} or None
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _processor_count() -> int:
    return os.cpu_count() or 1


def _idlest_first(cores: list[int], seconds: float = 0.05) -> list[int]:
    """Cores by how idle they have been over a moment, where the system tells."""
    before = _idle_ticks()
    if before is None or len(cores) == 1:
        return cores
    time.sleep(seconds)
    after = _idle_ticks() or before
    return sorted(cores, key=lambda core: before.get(core, 0) - after.get(core, 0))


def _idle_ticks() -> dict[int, int] | None:
    try:
        with open("/proc/stat") as stream:
            lines = [line.split() for line in stream if line.startswith("cpu")]
    except OSError:
        return None
    return {int(line[0][3:]): int(line[4]) for line in lines if line[0] != "cpu"}
