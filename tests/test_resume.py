"""Runs of the real program, killed at awkward moments: resumed, they end at the same numbers."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

PROBLEM = """
import jax.numpy as jnp
import poise

problem = poise.Problem(
    coordinates={"t": (0, 1), "x": (0, 1)},
    fields=["u"],
    terms={
        "residual": poise.interior(lambda u: u.t - 0.1 * u.xx),
        "initial": poise.initial(lambda u, x: u - jnp.sin(jnp.pi * x)),
        "boundary": poise.boundary("x", lambda u: u),
    },
    exact={"u": lambda t, x: jnp.exp(-0.1 * jnp.pi**2 * t) * jnp.sin(jnp.pi * x)},
    grid={"t": 6, "x": 8},
)
"""
SIZE = ["--width", "8", "--depth", "2", "--points", "16", "--steps", "300", "--record-every", "15"]


@dataclass
class Program:
    """`python -m poise` in a folder of its own."""

    home: Path
    cache: Path

    def start(self, name, *arguments):
        with (self.home / f"{name}.log").open("a") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "poise", *arguments],
                cwd=self.home,
                env={
                    **os.environ,
                    "JAX_PLATFORMS": "cpu",
                    "XDG_CACHE_HOME": str(self.cache),
                },
                stdout=log,
                stderr=log,
            )

    def train(self, name, *options):
        return self.start(name, "train", "heat.py", "--no-report", *SIZE, "--out", name, *options)

    def log(self, name):
        return (self.home / f"{name}.log").read_text()


def rows(folder):
    """Lines of history.csv so far."""
    path = folder / "history.csv"
    return max(0, path.read_text().count("\n") - 1) if path.exists() else 0


def compiling(folder):
    return (folder / "config.json").exists()


def writing_a_checkpoint(folder):
    return rows(folder) >= 5 and any(folder.glob("checkpoints/*.orbax-checkpoint-tmp*"))


def eight_rows(folder):
    return rows(folder) >= 8


KILLED = {"compiling": compiling, "writing-a-checkpoint": writing_a_checkpoint}
MOMENTS = {**KILLED, "ctrl-c": eight_rows}


@dataclass
class Outcome:
    """Exit codes of an interrupted run and of its resumption, and what lay there in between."""

    stopped: int
    resumed: int
    files: set
    rows: int
    metrics: dict | None


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    home = tmp_path_factory.mktemp("resume")
    (home / "heat.py").write_text(PROBLEM)
    # Shared with the processes of test_cli.py, which compile the same programs.
    return Program(home, tmp_path_factory.getbasetemp() / "cache")


@pytest.fixture(scope="module")
def whole(program):
    """The run that nobody disturbed, with no checkpoint before its end."""
    assert program.train("whole").wait(120) == 0, program.log("whole")
    return program.home / "whole"


@pytest.fixture(scope="module")
def outcomes(program, whole):
    """All victims at once, then all resumptions: half the time on two cores."""
    living = {name: program.train(name, "--checkpoint-seconds", "0") for name in MOMENTS}
    codes, deadline = {}, time.monotonic() + 120
    while living:
        assert time.monotonic() < deadline, f"{list(living)} never came so far"
        for name, process in list(living.items()):
            if process.poll() is not None:
                codes[name] = process.returncode
                del living[name]
            elif name not in codes and MOMENTS[name](program.home / name):
                process.send_signal(signal.SIGINT if name == "ctrl-c" else signal.SIGKILL)
                codes[name] = None
        time.sleep(0.0005)
    between = {}
    for name in MOMENTS:
        folder = program.home / name
        path = folder / "metrics.json"
        metrics = json.loads(path.read_text()) if path.exists() else None
        between[name] = ({each.name for each in folder.iterdir()}, rows(folder), metrics)
    again = {name: program.start(name, "resume", name, "--no-report") for name in MOMENTS}
    return {
        name: Outcome(codes[name], process.wait(120), *between[name])
        for name, process in again.items()
    }


def history_without_seconds(folder):
    with (folder / "history.csv").open(newline="") as stream:
        table = list(csv.reader(stream))
    column = table[0].index("seconds")
    return [row[:column] + row[column + 1 :] for row in table]


@pytest.mark.parametrize("moment", KILLED)
def test_the_kill_came_before_the_end(program, outcomes, moment):
    outcome = outcomes[moment]
    assert outcome.stopped == -signal.SIGKILL, program.log(moment)
    assert outcome.metrics is None
    assert outcome.rows < 20
    if moment == "compiling":
        assert outcome.rows == 0
    if moment == "writing-a-checkpoint":
        assert outcome.rows >= 5


def test_ctrl_c_ends_in_order(program, outcomes):
    outcome = outcomes["ctrl-c"]
    assert outcome.stopped == 130, program.log("ctrl-c")
    assert outcome.files >= {
        "config.json",
        "history.csv",
        "metrics.json",
        "solution.nc",
        "gradients.nc",
        "problem.py",
        "checkpoints",
    }
    assert outcome.metrics["status"] == "interrupted"
    assert 8 <= outcome.rows < 20
    assert outcome.metrics["steps"] >= 15 * outcome.rows
    told = program.log("ctrl-c")
    assert "interrupted: stopped by the user at step" in told
    assert "go on with: poise resume ctrl-c" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("moment", MOMENTS)
def test_resumed_runs_end_at_the_same_numbers(program, whole, outcomes, moment):
    folder = program.home / moment
    assert outcomes[moment].resumed == 0, program.log(moment)
    assert history_without_seconds(folder) == history_without_seconds(whole)
    assert len(history_without_seconds(folder)) == 21
    metrics, expected = (
        json.loads((each / "metrics.json").read_text()) for each in (folder, whole)
    )
    for name in expected:
        if not name.endswith(("_seconds", "_per_second", "_mb")):
            assert metrics[name] == expected[name], name
    for name in ("solution.nc", "gradients.nc"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
    assert not list(folder.glob("checkpoints/*tmp*"))
    assert not list(folder.glob(".*"))


def test_seconds_go_on_counting(program, outcomes):
    """The time of all parts of a run is its time."""
    with (program.home / "ctrl-c" / "history.csv").open(newline="") as stream:
        seconds = [float(row["seconds"]) for row in csv.DictReader(stream)]
    assert seconds == sorted(seconds)
    total = json.loads((program.home / "ctrl-c" / "metrics.json").read_text())["train_seconds"]
    assert total >= seconds[-1] > outcomes["ctrl-c"].metrics["train_seconds"] > 0
