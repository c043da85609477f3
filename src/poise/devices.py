"""Which device JAX computes on, without taking hold of it."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from importlib.metadata import entry_points


@cache
def accelerated() -> bool:
    """Whether JAX computes on something else than the CPU.

    To ask JAX itself would reserve most of an accelerator's memory for this process, which the
    processes that compute would then lack. Where no plugin for one is installed the answer is
    clear; else a process that ends at once is asked.
    """
    if not entry_points(group="jax_plugins"):
        return False
    question = [sys.executable, "-c", "import jax; print(jax.default_backend())"]
    answer = subprocess.run(question, capture_output=True, text=True)
    return answer.returncode == 0 and answer.stdout.split()[-1:] != ["cpu"]
