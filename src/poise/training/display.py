"""Progress of a run: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

PLAIN_SECONDS = 10.0
"""Time between plain lines."""


class Display:
    """Shows how a run gets on.

    Parameters
    ----------
    steps
        Steps of the whole run.
    title
        What is being trained.
    """

    def __init__(self, steps: int, title: str = "training", console: Console | None = None) -> None:
        self.steps = steps
        self.title = title
        self.console = console or Console(stderr=True, highlight=False)
        self._live: Live | None = None
        self._row: dict[str, float] = {}
        self._started = self._said = time.monotonic()
        self._first: int | None = None
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=self.console,
        )
        self._task = self._bar.add_task(title, total=steps, rate="")

    def __enter__(self) -> Display:
        self._started = self._said = time.monotonic()
        if self.console.is_terminal:
            self._live = Live(console=self.console, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def say(self, text: str) -> None:
        """Show what is going on before there are steps."""
        if self._live:
            self._bar.update(self._task, rate=text)
            self._live.update(self._bar)
        else:
            self._print(f"{self.title}: {text}")

    def update(self, taken: int, row: dict[str, float] | None) -> None:
        """Show the number of steps taken and, if there is a new one, the row of the history."""
        now = time.monotonic()
        if self._first is None:
            self._first, self._started = taken, now
        elapsed = now - self._started
        rate = (taken - self._first) / elapsed if elapsed > 0.2 else 0.0
        if row is not None:
            self._row = row
        if self._live:
            text = f"{rate:.0f} steps/s" if rate else ""
            self._bar.update(self._task, completed=taken, rate=text)
            self._live.update(Group(self._bar, self._table(), self._scores()))
        elif now - self._said >= PLAIN_SECONDS or taken >= self.steps:
            self._said = now
            self._print(self._line(taken, rate))

    def _print(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def _line(self, taken: int, rate: float) -> str:
        left = f", {(self.steps - taken) / rate:.0f} s left" if rate and taken < self.steps else ""
        parts = [f"step {taken}/{self.steps}"]
        if rate:
            parts.append(f"{rate:.0f} steps/s{left}")
        parts += [f"{name} {value:.3g}" for name, value in self._row.items() if _worth(name)]
        return f"{self.title}: " + "  ".join(parts)

    def _table(self) -> Table:
        terms = [name.removeprefix("loss.") for name in self._row if name.startswith("loss.")]
        table = Table(box=None, padding=(0, 2), show_edge=False)
        for heading in ("", *terms):
            table.add_column(heading, justify="right" if heading else "left")
        for label, prefix in (("loss", "loss."), ("weight λ", "weight.")):
            table.add_row(label, *(f"{self._row[prefix + term]:.3e}" for term in terms))
        return table

    def _scores(self) -> Text:
        if not self._row:
            return Text()
        errors = [
            f"relative L2 error of {name.removeprefix('error.')} {value:.3e}"
            for name, value in self._row.items()
            if name.startswith("error.")
        ]
        errors += [
            f"{name.removeprefix('coefficient.')} {value:.5g}"
            for name, value in self._row.items()
            if name.startswith("coefficient.")
        ]
        return Text("   ".join([f"  held-out criterion {self._row['held_out']:.3e}", *errors]))


def _worth(name: str) -> Any:
    return name == "loss" or name.startswith(("loss.", "weight.", "error.", "coefficient."))


class SolveDisplay:
    """Shows the choices of a solve, a line each, and how far it has come.

    Parameters
    ----------
    budget
        Seconds that it may take.
    title
        What is being solved.

    Attributes
    ----------
    spent
        Seconds taken before, by the part of the solve that was interrupted.
    """

    def __init__(self, budget: float, title: str = "", console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self.title = title
        self.spent = 0.0
        self._started = self._said = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )
        self._task = self._bar.add_task(title, total=budget, note="compiling")

    def __enter__(self) -> SolveDisplay:
        self._started = self._said = time.monotonic()
        if self.console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.console.is_terminal:
            self._bar.stop()

    def choice(self, line: str) -> None:
        """Print a choice: it stays on the screen."""
        if self.console.is_terminal:
            self.console.print(f"  {line}")
        else:
            print(f"  {line}", file=sys.stderr, flush=True)

    def update(self, taken: int, row: dict[str, float] | None) -> None:
        """Show the newest row of the history."""
        now = time.monotonic()
        elapsed = self.spent + now - self._started
        note = f"step {taken}"
        if row is not None:
            note += f", held-out criterion {row['held_out']:.1e}"
            if any(name.startswith("error.") for name in row):
                note += f", {errors_in(row)}"
        if self.console.is_terminal:
            self._bar.update(self._task, completed=elapsed)
            if row is not None:
                self._bar.update(self._task, note=note)
        elif row is not None and now - self._said >= PLAIN_SECONDS / 2:
            self._said = now
            print(f"{self.title}: {elapsed:.0f} s, {note}", file=sys.stderr, flush=True)


def errors_in(row: dict[str, float]) -> str:
    """The errors in a row of the history, or the held-out criterion, in words."""
    errors = [
        f"{name.removeprefix('error.')} {value:.2e}"
        for name, value in row.items()
        if name.startswith("error.")
    ]
    return "error " + ", ".join(errors) if errors else f"held-out {row['held_out']:.2e}"
