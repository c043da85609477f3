"""What all benchmarks share: where results lie, and on what they were measured."""

from __future__ import annotations

import datetime
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poise.comparison.compare import Comparison

HERE = Path(__file__).parent
DATA = HERE / "data"


def _commit() -> str:
    """The commit of the code, "-dirty" if the code (not data or words) differs from it."""

    def git(*words: str) -> str:
        found = subprocess.run(["git", *words], capture_output=True, text=True, cwd=HERE.parent)
        return found.stdout.strip()

    commit = git("rev-parse", "--short=12", "HEAD")
    changed = git("status", "--porcelain", "--", "src", "benchmarks/*.py", "pyproject.toml")
    return (commit or "unknown") + ("-dirty" if changed else "")


COMMIT = _commit()
"""Of the code as it was when the benchmark began, which may be hours ago."""


def environment() -> dict:
    """Machine, versions, commit and date."""
    from poise.training.record import machine, versions

    return {
        "date": datetime.date.today().isoformat(),
        "commit": COMMIT,
        "machine": machine(),
        "versions": versions(),
    }


def run_all(comparison: Comparison) -> None:
    """Run a comparison with its display. Nothing is saved of one that was interrupted."""
    from poise.comparison.compare import length
    from poise.comparison.display import ComparisonDisplay

    with ComparisonDisplay({job.label: length(job) for job in comparison.jobs}) as display:
        if not comparison.run(lambda job, kind, what: display.update(job.label, kind, what)):
            raise SystemExit("interrupted; the same command goes on where it stopped")


def save(name: str, result: dict) -> None:
    DATA.mkdir(exist_ok=True)
    (DATA / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")


def load(name: str) -> dict | None:
    path = DATA / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def measured(found: dict) -> str:
    """One line on when, where and with what something was measured."""
    machine, versions = found["machine"], found["versions"]
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"Measured {found['date']} at commit `{found['commit']}` on {machine['processor']}, "
        f"{machine['cores']} cores, {machine['device']}; {packages}."
    )


def measured_each(environments: dict[str, dict]) -> list[str]:
    """`measured` for figures by problem: a line for those that were measured alike."""
    lines: dict[str, list[str]] = {}
    for problem, found in environments.items():
        lines.setdefault(measured(found), []).append(problem)
    if len(lines) == 1:
        return list(lines)
    return [f"{', '.join(problems)}: {line}" for line, problems in lines.items()]
