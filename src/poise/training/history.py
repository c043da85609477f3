"""What a run records as it goes: one row at regular steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from poise.runs import format_row, write_history


class History:
    """Columns of numbers, kept in memory and, where there is a run folder, in history.csv.

    Parameters
    ----------
    names
        The columns: "step", "seconds", "loss", "held_out", then "loss.<term>", "held_out.<term>",
        "weight.<term>" and "error.<field>".
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.columns: dict[str, list[float]] = {name: [] for name in names}
        self._path: Path | None = None

    def __len__(self) -> int:
        return len(self.columns["step"])

    def __getitem__(self, name: str) -> np.ndarray:
        return np.asarray(self.columns[name], np.float64)

    def write_to(self, path: Path) -> None:
        """Write all rows to a file, and every later one as it comes."""
        write_history(path, self.columns)
        self._path = path

    def append(self, row: Mapping[str, float]) -> None:
        """Add a row; every column must be there."""
        values = [float(row[name]) for name in self.columns]
        for column, value in zip(self.columns.values(), values, strict=True):
            column.append(value)
        if self._path is not None:
            with self._path.open("a") as stream:
                stream.write(format_row(self.columns, values) + "\n")

    def arrays(self) -> dict[str, np.ndarray]:
        """All columns, float64."""
        return {name: self[name] for name in self.columns}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Replace all rows by those of a checkpoint."""
        self.columns = {name: np.asarray(arrays[name]).tolist() for name in self.columns}
