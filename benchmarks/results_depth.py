"""The part of RESULTS.md on `poise.solve`."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from types import MappingProxyType

from common import measured
from depth import TARGETS, error_at, seconds_to


def depth_part(data: dict, alone: dict | None, firsts: dict[str, dict | None]) -> list[str]:
    """`solve` by itself, and first-order recipes in the same time beside it."""
    beside = {name: found["runs"] for name, found in firsts.items() if found}
    lines = [
        "## How deep `poise.solve` goes",
        "",
        "`benchmarks/depth.py`: every run a process of its own on one core, with an empty cache of "
        "compiled programs. Seconds are counted from the start of the process. *Error*: relative "
        "L2 error on the problem's grid of the parameters with the smallest held-out criterion "
        "when the time is over, median over seeds (smallest to largest). *Seconds to*: median "
        "time at which the parameters chosen so far had that error (a seed that does not reach it "
        "counts as infinite), and how many of the seeds reach it. *Estimate/error*: the error as "
        "`Solution.check` estimates it, from the difference to the solve of the next seed, "
        "divided by the true one, smallest to largest.",
        "",
        measured(data["environment"]),
        "",
        *depth_table(data["runs"], beside),
    ]
    for name, found in firsts.items():
        if found:
            seeds = len({r["seed"] for r in found["runs"]})
            lines += [
                "",
                f"*{name}*: the same with Adam and {name} weights (float32, 5 × 50 tanh network, "
                f"128 fresh points) for the same time; {seeds} seeds. "
                + measured(found["environment"]),
            ]
    ratios = [r["estimate"] / r["error"] for r in data["runs"] if "estimate" in r]
    within = sum(0.1 <= ratio <= 10 for ratio in ratios)
    if ratios:
        lines += ["", f"The estimate is within a factor of 10 in {within} of {len(ratios)} runs."]
    if alone:
        lines += [
            "",
            "The same where a run has all cores to itself:",
            "",
            measured(alone["environment"]),
            "",
            *depth_table(alone["runs"]),
        ]
    return [*lines, ""]


def depth_table(runs: list[dict], beside: Mapping[str, list[dict]] = MappingProxyType({})) -> list:
    """A line for each problem; `beside` are runs of other recipes, for as long."""
    lines = [
        "| problem | seeds | time, s | error: median (range) "
        f"{''.join(f'| {name} weights ' for name in beside)}"
        "| seconds to | estimate/error | parameters | peak memory, MB |",
        f"|---|---:|---:|---:|{'---:|' * len(beside)}---|---:|---:|---:|",
    ]
    for problem, targets in TARGETS.items():
        group = [r for r in runs if r["problem"] == problem]
        if not group:
            continue
        errors = [r["error"] for r in group]
        reached = []
        for target, _ in targets:
            times = [seconds_to(r["rows"], target) or math.inf for r in group]
            middle = statistics.median(times)
            count = sum(map(math.isfinite, times))
            shown = f"{middle:.0f} s" if math.isfinite(middle) else "not reached"
            reached.append(f"{target:.0e}: {shown} ({count}/{len(group)})")
        others = []
        for found in beside.values():
            theirs = [
                error_at(r["rows"], group[0]["budget"])
                for r in found
                if r["problem"] == problem and r["budget"] == group[0]["budget"]
            ]
            others.append(spread(theirs) if theirs else "")
        own = [r["estimate"] / r["error"] for r in group if "estimate" in r]
        sizes = sorted({r["parameters"] for r in group})
        memory = max(r["peak_memory_mb"] for r in group)
        lines.append(
            f"| {problem} | {len(group)} | {group[0]['budget']:g} "
            f"| {spread(errors)} "
            f"{''.join(f'| {cell} ' for cell in others)}"
            f"| {', '.join(reached)} | {f'{min(own):.2g} to {max(own):.2g}' if own else ''} "
            f"| {' to '.join(map(str, sizes))} | {memory:.0f} |"
        )
    return lines


def spread(errors: list[float]) -> str:
    """Median (smallest to largest)."""
    return f"{statistics.median(errors):.1e} ({min(errors):.1e} to {max(errors):.1e})"
