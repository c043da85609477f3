"""The user's cache folder: compiled programs, and what was measured about this machine."""

from __future__ import annotations

import importlib
import os
import uuid
from pathlib import Path
from typing import Any

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
    write_whole_programs()
    jax.config.update("jax_compilation_cache_dir", str(folder() / "programs"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    jax.config.update("jax_raise_persistent_cache_errors", False)


def write_whole_programs() -> None:
    """Let JAX put a compiled program into its cache whole or not at all.

    JAX 0.10 writes the file in its place. Another process may then read half of it, and one that is
    killed leaves half of it for good: every later run warns of it and compiles afresh. Here it is
    written beside its place and moved there, so that nobody ever reads half a program. This reaches
    into JAX; where a later JAX is made otherwise, its own way is left as it is.
    """
    try:
        home: Any = importlib.import_module("jax._src.compilation_cache")
        plain: Any = home.LRUCache
        suffix: str = importlib.import_module("jax._src.lru_cache")._CACHE_SUFFIX
    except (ImportError, AttributeError):
        return
    if getattr(plain, "whole", False):
        return

    class WholeFiles(plain):
        whole = True

        def put(self, key: str, value: bytes) -> None:
            # Where a size was set, JAX locks the cache.
            if not hasattr(self, "path") or getattr(self, "eviction_enabled", True):
                super().put(key, value)
                return
            path = Path(self.path) / f"{key}{suffix}"
            if not path.exists():
                beside = path.with_name(f".{uuid.uuid4().hex}")
                try:
                    beside.write_bytes(value)
                    os.replace(beside, path)
                except BaseException:
                    beside.unlink(missing_ok=True)
                    raise

    home.LRUCache = WholeFiles
