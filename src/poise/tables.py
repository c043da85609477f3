"""Tables for the terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from poise import zoo


def problems() -> Table:
    """The problems of the zoo."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for heading in ("name", "equation", "domain", "loss terms", "reference solution"):
        table.add_column(heading, overflow="fold")
    for name in zoo.names():
        entry, problem = zoo.entry(name), zoo.load(name)
        terms = ", ".join(problem.terms)
        table.add_row(name, problem.equation, str(problem.domain), terms, entry.reference)
    return table


COLUMNS = {
    "recipe": 0,
    "relative L2": 0,
    "quartiles": 1,
    "at last step": 4,
    "reduction": 2,
    "better": 2,
    "seconds": 3,
    "steps/s": 5,
    "overhead": 3,
    "runs": 1,
}
"""Columns of a comparison; where the terminal is narrow, those of the highest number go first."""


def comparison(rows: list[dict[str, Any]], width: int) -> Table:
    """The rows that `Comparison.summarize` makes, a line each, in so many characters.

    Relative L2 errors are medians over seeds, of the chosen parameters but for "at last step".
    """

    def median(spread: dict[str, float] | None, form: str) -> str:
        return format(spread["median"], form) if spread else "-"

    def percent(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form) + " %"

    cells = []
    for row in rows:
        chosen, against = row["best_relative_l2"], row["against"]
        figures = (
            row["recipe"],
            median(chosen, ".2e"),
            "{lower:.2e} to {upper:.2e}".format(**chosen) if chosen else "-",
            median(row["relative_l2"], ".2e"),
            percent(row["reduction_percent"], "z.1f"),
            "{wins}/{pairs}, p = {p:.3f}".format(**against) if against else "-",
            median(row["train_seconds"], ".1f"),
            median(row["steps_per_second"], ".0f"),
            percent(row["overhead_percent"], "+.1f"),
            f"{row['completed']}/{row['runs']}",
        )
        cells.append(dict(zip(COLUMNS, figures, strict=True)))
    wide = {name: max(len(name), *(len(row[name]) for row in cells)) + 3 for name in COLUMNS}
    shown = list(COLUMNS)
    for rank in range(max(COLUMNS.values()), 0, -1):
        if sum(wide[name] for name in shown) > width:
            shown = [name for name in shown if COLUMNS[name] < rank]
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for name in shown:
        table.add_column(name, justify="left" if name == "recipe" else "right", no_wrap=True)
    for row in cells:
        table.add_row(*(row[name] for name in shown))
    return table
