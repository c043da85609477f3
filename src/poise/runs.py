"""The run folder: what a run leaves behind, and the only thing a report reads.

Layout of one run::

    config.json      everything needed to repeat the run, with versions and machine
    history.csv      step, seconds, loss, held_out, loss.<term>, weight.<term>, error.<field>
    metrics.json     the run's figures: errors, times, memory, status
    solution.nc      prediction, exact solution and error on the evaluation grid
    gradients.nc     per-term gradients of the loss at the end of training
    problem.py       the user's file, where the problem came from one
    checkpoints/     what `poise resume` goes on from
    figures/         PNG and SVG
    report.html      figures and numbers, self-contained

A comparison is a folder with ``comparison.json``, ``comparison.csv`` and one run folder for each
recipe and seed in ``runs/``. Every file is written beside its final name and then renamed, so a
reader never meets half a file.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # importing xarray takes most of a second: only where a file is opened
    import xarray

CONFIG, HISTORY, METRICS = "config.json", "history.csv", "metrics.json"
SOLUTION, GRADIENTS, REPORT = "solution.nc", "gradients.nc", "report.html"
CHECKPOINTS, FIGURES, COMPARISON = "checkpoints", "figures", "comparison.json"


class RunFolderError(ValueError):
    """A folder that is not a run folder, or is one that lacks something."""


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text(path: Path, content: str) -> None:
    """`write_bytes` for text, in UTF-8."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file atomically. NaN and infinities, which JSON lacks, become null."""
    write_text(path, json.dumps(plain(content), indent=2, allow_nan=False) + "\n")


def write_history(path: Path, columns: Mapping[str, Sequence[float]]) -> None:
    """Write the whole of a history.csv atomically."""
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(columns), *(format_row(columns, row) for row in rows)]
    write_text(path, "\n".join(lines) + "\n")


def format_row(names: Sequence[str] | Mapping[str, Any], values: Sequence[float]) -> str:
    """One line of history.csv. Digits are enough to get the same number back."""
    cells = []
    for name, value in zip(names, values, strict=True):
        cells.append(str(int(value)) if name == "step" else repr(float(value)))
    return ",".join(cells)


def write_dataset(path: Path, dataset: xarray.Dataset) -> None:
    """Write a netCDF file atomically."""
    write_bytes(path, bytes(dataset.to_netcdf(engine="scipy")))


def check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be made or written to, before any work.

    Raises
    ------
    ValueError
        If so; says why.
    """
    there = folder
    while not there.exists() and there.parent != there:
        there = there.parent
    if not there.is_dir():
        raise ValueError(f"cannot write to {folder}: {there} is not a folder")
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise ValueError(f"cannot write to {folder}: {error.strerror or error}") from None


def write_start(folder: Path, config: Mapping[str, Any]) -> None:
    """Begin a run folder.

    Raises
    ------
    ValueError
        If it already holds a run.
    """
    if (folder / CONFIG).exists():
        raise ValueError(
            f"{folder} already holds a run: choose another folder, or go on with it by "
            f"`poise resume {folder}` (in a script: out=... and resume=True)"
        )
    write_json(folder / CONFIG, config)


def write_results(
    folder: Path,
    metrics: Mapping[str, Any],
    fields: xarray.Dataset,
    gradients: xarray.Dataset,
) -> None:
    """End a run folder. metrics.json comes last: where it is, the rest is."""
    write_dataset(folder / SOLUTION, fields)
    write_dataset(folder / GRADIENTS, gradients)
    write_json(folder / METRICS, metrics)


@dataclass(frozen=True)
class Run:
    """A run folder, read lazily."""

    path: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        config = _read_json(self.path / CONFIG)
        for entry in ("problem", "recipe"):  # many programs have a config.json
            if not isinstance(config, dict) or entry not in config:
                raise RunFolderError(f"{self.path / CONFIG} has no {entry!r}: it is not poise's")
        return config

    @cached_property
    def metrics(self) -> dict[str, Any]:
        return _read_json(self.path / METRICS)

    @cached_property
    def history(self) -> dict[str, np.ndarray]:
        """Columns of history.csv by name, float64, in the order of the file."""
        path = self.path / HISTORY
        if not path.exists():
            raise RunFolderError(f"{self.path} has no {HISTORY}: the run recorded nothing")
        text = path.read_text()
        # A run killed while it wrote a line leaves part of one, without its end.
        whole = text[: text.rfind("\n") + 1]
        header, *rows = list(csv.reader(io.StringIO(whole))) or [[]]
        complete = [row for row in rows if len(row) == len(header)]
        try:
            table = np.array(complete, dtype=np.float64).reshape(len(complete), len(header))
        except ValueError as error:
            raise RunFolderError(f"{path} holds something that is not a number: {error}") from None
        return {name: table[:, column] for column, name in enumerate(header)}

    @cached_property
    def solution(self) -> xarray.Dataset:
        return _read_dataset(self.path / SOLUTION)

    @cached_property
    def gradients(self) -> xarray.Dataset | None:
        path = self.path / GRADIENTS
        return _read_dataset(path) if path.exists() else None

    @property
    def terms(self) -> list[str]:
        return list(self.config["problem"]["terms"])

    @property
    def fields(self) -> list[str]:
        return list(self.config["problem"]["fields"])

    @property
    def finished(self) -> bool:
        """Whether the run has ended, and not only stopped: an interrupted one can go on."""
        return (self.path / METRICS).exists() and self.metrics.get("status") != "interrupted"


@dataclass(frozen=True)
class Comparison:
    """A comparison folder: runs of several recipes and seeds on one problem."""

    path: Path

    @cached_property
    def summary(self) -> dict[str, Any]:
        return _read_json(self.path / COMPARISON)

    @cached_property
    def runs(self) -> dict[str, list[Run]]:
        """Runs by recipe, in the order of the seeds."""
        return {
            recipe: [Run(self.path / folder) for folder in folders]
            for recipe, folders in self.summary["runs"].items()
        }


def read(path: str | os.PathLike[str]) -> Run | Comparison:
    """Open a run folder or a comparison folder.

    Raises
    ------
    RunFolderError
        If `path` is neither.
    """
    folder = Path(path)
    if (folder / COMPARISON).exists():
        return Comparison(folder)
    if (folder / CONFIG).exists():
        return Run(folder)
    if not folder.is_dir():
        raise RunFolderError(f"{folder} does not exist or is not a folder")
    raise RunFolderError(
        f"{folder} is not a run folder: it has neither {CONFIG} nor {COMPARISON}. "
        "Name the folder that `poise train`, `poise solve` or `poise compare` printed."
    )


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise RunFolderError(f"{path.parent} has no {path.name}: the run did not get that far")
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise RunFolderError(f"{path} is not valid JSON: {error}") from error


def _read_dataset(path: Path) -> xarray.Dataset:
    import xarray

    if not path.exists():
        raise RunFolderError(f"{path.parent} has no {path.name}: the run did not get that far")
    try:
        with xarray.open_dataset(path, engine="scipy") as dataset:
            return dataset.load()
    except (TypeError, OSError, ValueError) as error:
        raise RunFolderError(f"{path} is not a netCDF file: {error}") from error


def plain(value: Any) -> Any:
    """A value in JSON's own types; numbers that are not finite become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic) or (hasattr(value, "ndim") and value.ndim == 0):
        value = value.item()
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    return value
