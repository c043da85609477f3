"""Shared by all tests: runtime type checks, and a cache of compiled programs for the session."""

import os
import signal

# Whoever starts the tests in the background may have them ignore Ctrl-C, and their children too.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Test processes side by side get a core each: their pools of threads would stand in each other's
# way, and a suite took half as long again.
worker = os.environ.get("PYTEST_XDIST_WORKER", "")
if worker.startswith("gw") and hasattr(os, "sched_setaffinity"):
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(worker[2:]) % len(cores)]})

# What a test compiles runs for a moment: most of the suite's time went into making it fast.
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_backend_optimization_level=0",
        "--xla_cpu_use_fusion_emitters=false",
    ]
)

from jaxtyping import install_import_hook

# Every shape and dtype that an annotation promises is checked while the tests run, in the rooms
# where arrays are. Those that meet a user's input check it themselves, with better words.
CHECKED = [
    "poise.derivatives",
    "poise.losses",
    "poise.networks",
    "poise.optimizers",
    "poise.points",
    "poise.solution",
    "poise.training.evaluate",
    "poise.training.loop",
    "poise.training.selection",
    "poise.training.step",
    "poise.weighting",
]
install_import_hook(CHECKED, "typechecker.check")

import jax
import pytest

import poise
from poise import cache


@pytest.fixture(scope="session", autouse=True)
def compiled_programs(tmp_path_factory):
    """Tests compile many equal programs: keep them for the session."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if worker else base  # of all test processes
    cache.write_whole_programs()
    jax.config.update("jax_compilation_cache_dir", str(shared / "programs"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture
def x64():
    """Float64 for a test that checks numerics."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def klein_gordon():
    return poise.zoo.load("klein-gordon")
