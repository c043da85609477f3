"""Checkpoints: everything a run goes on from, written by orbax.

A checkpoint is written under another name and renamed when it is whole, so a run killed in the
middle of it finds the one before. Two are kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np


class Checkpoints:
    """The checkpoints of a run folder.

    Parameters
    ----------
    folder
        Made if it does not exist.
    """

    def __init__(self, folder: Path) -> None:
        import orbax.checkpoint as ocp  # half a second: only where checkpoints are used

        self._ocp = ocp
        self._manager = ocp.CheckpointManager(
            folder.resolve(),
            options=ocp.CheckpointManagerOptions(
                max_to_keep=2, create=True, enable_async_checkpointing=False
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
    """Leaves by the path that leads to them: independent of Python classes."""
    paths, _ = jax.tree.flatten_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in paths}
