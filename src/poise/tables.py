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


def comparison(rows: list[dict[str, Any]]) -> Table:
    """The rows that `Comparison.summarize` makes."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("recipe")
    for heading in (
        "relative L2, chosen: median (quartiles)",
        "at last step: median",
        "reduction",
        "better",
        "seconds",
        "steps/s",
        "overhead",
        "runs",
    ):
        table.add_column(heading, justify="right", overflow="fold")

    def median(spread: dict[str, float] | None, form: str) -> str:
        return format(spread["median"], form) if spread else "-"

    def percent(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form) + " %"

    for row in rows:
        chosen = row["best_relative_l2"]
        span = f" ({chosen['lower']:.2e} to {chosen['upper']:.2e})" if chosen else ""
        against = row["against"]
        table.add_row(
            row["recipe"],
            median(chosen, ".2e") + span,
            median(row["relative_l2"], ".2e"),
            percent(row["reduction_percent"], ".1f"),
            "{wins}/{pairs}, p = {p:.3f}".format(**against) if against else "-",
            median(row["train_seconds"], ".1f"),
            median(row["steps_per_second"], ".0f"),
            percent(row["overhead_percent"], "+.1f"),
            f"{row['completed']}/{row['runs']}",
        )
    return table
