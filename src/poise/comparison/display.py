"""Progress of a comparison: one display for all of its runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from poise.training.display import PLAIN_SECONDS, errors_in


class ComparisonDisplay:
    """One progress display for all runs of a comparison.

    Parameters
    ----------
    lengths
        The runs, in the order in which they will be begun, and what each counts to: steps, or
        seconds of training for a run that ends by the clock.
    """

    def __init__(self, lengths: Mapping[str, float], console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self.lengths = dict(lengths)
        self._said = time.monotonic()
        self._taken: dict[str, float] = dict.fromkeys(lengths, 0)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=self.console,
        )
        self._total = self._bar.add_task("all runs", total=len(lengths), note="")
        self._tasks = {
            label: self._bar.add_task(label, total=1.0, note="waiting") for label in lengths
        }

    def __enter__(self) -> ComparisonDisplay:
        if self.console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.console.is_terminal:
            self._bar.stop()

    def update(self, label: str, kind: str, what: Any) -> None:
        """Show an event of a run: see `poise.comparison.compare.Event`."""
        if kind == "at":
            taken, row = what
            self._taken[label] = min(1.0, taken / self.lengths[label])
            self._bar.update(self._tasks[label], completed=self._taken[label])
            if row:
                self._bar.update(self._tasks[label], note=errors_in(row))
        elif kind == "noted":
            if self.console.is_terminal:
                self._bar.console.print(f"{label}: {what}", markup=False)
        else:
            if kind in ("ended", "there") and what in ("budget spent", "converged", "stalled"):
                self._taken[label] = 1.0
                self._bar.update(self._tasks[label], completed=1.0)
            note = f"failed: {what}" if kind == "failed" else what
            self._bar.update(self._tasks[label], note=note)
        self._bar.update(self._total, completed=sum(self._taken.values()))
        if not self.console.is_terminal:
            self._plain(label, kind, what)

    def _plain(self, label: str, kind: str, what: Any) -> None:
        now = time.monotonic()
        if kind in ("ended", "failed"):
            print(f"{label}: {kind}, {what}", file=sys.stderr, flush=True)
        elif kind == "noted":
            print(f"{label}: {what}", file=sys.stderr, flush=True)
        elif now - self._said >= PLAIN_SECONDS:
            self._said = now
            share = 100 * sum(self._taken.values()) / len(self._taken)
            print(f"all runs: {share:.0f} %", file=sys.stderr, flush=True)
