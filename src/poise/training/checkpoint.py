"""Checkpoints: everything a run goes on from, written by orbax.

A checkpoint is written under another name and renamed when it is whole, so a run killed in the
middle of it finds the one before. Two are kept.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np


class Checkpoints:
    """The checkpoints of a run folder.

    Parameters
    ----------
    folder
        Made if it does not exist. What somebody left in it half-written is removed.
    """

    def __init__(self, folder: Path) -> None:
        import orbax.checkpoint as ocp  # half a second: only where checkpoints are used

        self._ocp = ocp
        _remove_unfinished(folder)
        self._manager = ocp.CheckpointManager(
            folder.resolve(),
            options=ocp.CheckpointManagerOptions(
                max_to_keep=2,
                create=True,
                enable_async_checkpointing=False,
                cleanup_tmp_directories=True,
            ),
        )

    def save(self, step: int, tree: Any) -> None:
        """Write a pytree of arrays as the checkpoint of a step. Does nothing if it exists."""
        if step in self._manager.all_steps():
            return
        self._manager.save(step, args=self._ocp.args.StandardSave(_to_names(tree)))
        self._manager.wait_until_finished()

    def latest(self) -> int | None:
        """Step of the newest whole checkpoint, or None."""
        self._manager.reload()
        return self._manager.latest_step()

    def restore(self, step: int, like: Any) -> Any:
        """Read a checkpoint into the structure of `like`; leaves become NumPy arrays.

        Raises
        ------
        ValueError
            If the checkpoint does not hold exactly the arrays of `like`, in their shapes: the
            problem or the recipe has changed since.
        """
        stored = self._manager.restore(step, args=self._ocp.args.StandardRestore())
        paths, structure = jax.tree.flatten_with_path(like)
        wanted = {jax.tree_util.keystr(path): leaf for path, leaf in paths}
        empty = {n: np.asarray(leaf) for n, leaf in wanted.items() if not np.size(leaf)}
        stored = {**empty, **stored}
        for name in sorted(wanted.keys() ^ stored.keys()):
            where = "only in the checkpoint" if name in stored else "missing from the checkpoint"
            raise ValueError(f"the checkpoint of step {step} does not fit this run: {name} {where}")
        for name, leaf in wanted.items():
            found = stored[name]
            if leaf is not ANY_LENGTH and np.shape(leaf) != np.shape(found):
                raise ValueError(
                    f"the checkpoint of step {step} does not fit this run: {name} has shape "
                    f"{np.shape(found)}, expected {np.shape(leaf)}"
                )
        return jax.tree.unflatten(structure, [stored[name] for name in wanted])

    def close(self) -> None:
        self._manager.close()


ANY_LENGTH = np.zeros(0)
"""Stands in `like` for an array whose shape is not known beforehand."""


def _to_names(tree: Any) -> dict[str, np.ndarray]:
    """Leaves by the path that leads to them: independent of Python classes.

    Arrays without entries, such as the columns of a history that has no row yet, are left out:
    orbax refuses them.
    """
    paths, _ = jax.tree.flatten_with_path(tree)
    leaves = {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in paths}
    return {name: leaf for name, leaf in leaves.items() if leaf.size}


def _remove_unfinished(folder: Path) -> None:
    """Remove numbered folders that hold no whole checkpoint.

    orbax goes by the number alone: it would take such a folder for the newest checkpoint, and
    write no other with a smaller number.
    """
    for place in folder.glob("[0-9]*"):
        if place.is_dir() and place.name.isdigit() and not _whole(place):
            shutil.rmtree(place)


def _whole(place: Path) -> bool:
    """Whether orbax has noted the time at which it ended the checkpoint, its last act."""
    try:
        notes = json.loads((place / "_CHECKPOINT_METADATA").read_text())
        return notes["commit_timestamp_nsecs"] is not None
    except (OSError, ValueError, KeyError, TypeError):
        return False
