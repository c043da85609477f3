"""The README's example, as written but for its time."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def test_the_example_runs_as_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (block,) = BLOCKS
    # How far 60 s lead depends on the machine; when an error is reached does not.
    assert 'budget="60s"' in block
    block = block.replace('budget="60s"', 'budget="10min", tol=1e-3')
    names = {}
    exec(compile(block, str(README), "exec"), names)
    solution = names["solution"]
    assert solution.status == "converged"
    assert solution.best_relative_l2["u"] < 1e-2
    assert (tmp_path / "runs/klein-gordon/report.html").exists()
    printed = capsys.readouterr().out.splitlines()
    assert float(printed[0].split(":")[1].strip(" }")) == pytest.approx(
        solution.best_relative_l2["u"]
    )


def test_the_paths_it_names_exist():
    for path in re.findall(r"\]\(((?!https)[^)]+)\)", README.read_text()):
        assert (README.parent / path).exists(), path
