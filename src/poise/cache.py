"""The user's cache folder: compiled programs, and what was measured about this machine."""

from __future__ import annotations

import os
from pathlib import Path

import jax


def folder() -> Path:
    """``$XDG_CACHE_HOME/poise``, by default ``~/.cache/poise``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "poise"


def keep_compiled_programs() -> None:
    """Let this process reuse programs that an earlier one compiled.

    Process-wide, so only the command line calls it; a script may. Where the folder cannot be
    written JAX compiles afresh.
    """
    jax.config.update("jax_compilation_cache_dir", str(folder() / "programs"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    jax.config.update("jax_raise_persistent_cache_errors", False)
