"""What all benchmarks share: where results lie, and on what they were measured."""

from __future__ import annotations

import datetime
import json
import subprocess
from pathlib import Path

DATA = Path(__file__).parent / "data"


def environment() -> dict:
    """Machine, versions, commit and date."""
    from poise.training.record import machine, versions

    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
    ).stdout.strip()
    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit or "unknown",
        "machine": machine(),
        "versions": versions(),
    }


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
