"""The run folder: whole files or none, exact numbers, and clear words about what is missing."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import xarray

from poise import runs
from poise.training.history import History


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_write_bytes_makes_folders_and_replaces(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    runs.write_bytes(path, b"one")
    runs.write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert names_in(path.parent) == ["file"]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=repr)
def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch, failing, error):
    path = tmp_path / "metrics.json"
    runs.write_json(path, {"old": 1})

    def fail(*_):
        raise error

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(type(error)):
        runs.write_json(path, {"new": 2})
    monkeypatch.undo()
    assert json.loads(path.read_text()) == {"old": 1}
    assert names_in(tmp_path) == ["metrics.json"]


def test_the_new_file_is_complete_before_it_gets_its_name(tmp_path, monkeypatch):
    path, seen = tmp_path / "file", []
    replace = os.replace

    def watch(source, target):
        seen.append((Path(source).read_bytes(), Path(source).parent, path.exists()))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watch)
    runs.write_bytes(path, b"x" * 100_000)
    assert seen == [(b"x" * 100_000, tmp_path, False)]


def test_unserializable_content_leaves_the_old_file(tmp_path):
    path = tmp_path / "metrics.json"
    runs.write_json(path, {"old": 1})
    with pytest.raises(TypeError):
        runs.write_json(path, {"new": object()})
    assert json.loads(path.read_text()) == {"old": 1}
    assert names_in(tmp_path) == ["metrics.json"]


def test_json_has_its_own_types_only(tmp_path):
    path = tmp_path / "x.json"
    content = {
        "nan": math.nan,
        "inf": np.float32("inf"),
        "nested": [{"deep": (-math.inf, 1.5, np.int64(3))}],
        "array": np.array([1.0, np.nan]),
        "flag": np.bool_(True),
        "path": Path("a/b"),
        "λ": "ünicode",
        5: None,
    }
    runs.write_json(path, content)

    def refuse(token):
        raise AssertionError(f"{token} is not JSON")

    assert json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse) == {
        "nan": None,
        "inf": None,
        "nested": [{"deep": [None, 1.5, 3]}],
        "array": [1.0, None],
        "flag": True,
        "path": "a/b",
        "λ": "ünicode",
        "5": None,
    }


AWKWARD = [0.1, 1 / 3, math.pi * 1e-300, 5e-324, 1.7976931348623157e308, -0.0, 2**53 + 2.0]


def written(folder, columns):
    runs.write_history(folder / runs.HISTORY, columns)
    return runs.Run(folder)


def test_history_comes_back_bit_by_bit(tmp_path):
    columns = {
        "step": list(range(7)),
        "loss.a b": AWKWARD,
        "error.u": [math.nan, math.inf] * 3 + [1],
    }
    found = written(tmp_path, columns).history
    assert list(found) == list(columns)
    for name, values in columns.items():
        assert found[name].tobytes() == np.asarray(values, np.float64).tobytes()
    first = (tmp_path / runs.HISTORY).read_text().splitlines()[1]
    assert first.startswith("0,0.1,")


def test_rows_appended_one_by_one_are_the_same_file(tmp_path):
    history = History(["step", "seconds", "loss"])
    history.append({"step": 1, "seconds": 0.5, "loss": AWKWARD[0]})
    history.write_to(tmp_path / "a.csv")
    for n, value in enumerate(AWKWARD):
        history.append({"seconds": n / 7, "loss": value, "step": n})
    runs.write_history(tmp_path / "b.csv", history.columns)
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()
    with pytest.raises(KeyError, match="loss"):
        history.append({"step": 1, "seconds": 2})
    assert len({len(column) for column in history.columns.values()}) == 1
    assert len(history) == 8


def test_history_restored_from_a_checkpoint(tmp_path):
    history = History(["step", "loss"])
    history.append({"step": 10, "loss": AWKWARD[1]})
    other = History(["step", "loss"])
    other.append({"step": 99, "loss": 0})
    other.restore(history.arrays())
    assert other.columns == history.columns


@pytest.mark.parametrize("keep", range(1, 22))
def test_a_torn_last_line_is_ignored(tmp_path, keep):
    """A kill may cut a line anywhere: also in the middle of its last number."""
    written(tmp_path, {"step": [10, 20], "loss": [0.5, 0.25], "error.u": [1.5, 1.25e-07]})
    path = tmp_path / runs.HISTORY
    *head, last = path.read_text().splitlines(keepends=True)
    assert last == "20,0.25,1.25e-07\n"
    path.write_text("".join(head) + last[:keep])
    found = runs.Run(tmp_path).history
    rows = 2 if keep >= len(last) else 1
    assert found["step"].tolist() == [10, 20][:rows]
    assert found["error.u"].tolist() == [1.5, 1.25e-07][:rows]


@pytest.mark.parametrize("content", ["", "step,lo", "step,loss\n"])
def test_a_history_without_rows(tmp_path, content):
    (tmp_path / runs.HISTORY).write_text(content)
    assert all(column.shape == (0,) for column in runs.Run(tmp_path).history.values())


def test_a_history_of_words_is_refused(tmp_path):
    (tmp_path / runs.HISTORY).write_text("step,loss\n1,two\n")
    with pytest.raises(runs.RunFolderError, match=r"history.csv holds something that is not a n"):
        _ = runs.Run(tmp_path).history


def test_dataset_round_trip(tmp_path):
    path = tmp_path / runs.SOLUTION
    values = np.array([[1 / 3, np.nan], [np.inf, -0.0]])
    dataset = xarray.Dataset({"u": (("t", "x"), values)}, coords={"t": [0.0, 1.0], "x": [0.1, 0.2]})
    runs.write_dataset(path, dataset)
    xarray.testing.assert_identical(runs.Run(tmp_path).solution, dataset)
    assert runs.Run(tmp_path).gradients is None


def test_read_tells_runs_from_comparisons(tmp_path):
    config = {"problem": {"terms": ["a"], "fields": ["u"]}, "recipe": {}}
    runs.write_json(tmp_path / "run" / runs.CONFIG, config)
    runs.write_json(
        tmp_path / "both" / runs.COMPARISON, {"runs": {"fixed": ["runs/f-0", "runs/f-1"]}}
    )
    run = runs.read(tmp_path / "run")
    assert isinstance(run, runs.Run)
    assert (run.terms, run.fields) == (["a"], ["u"])
    both = runs.read(str(tmp_path / "both"))
    assert isinstance(both, runs.Comparison)
    assert [each.path for each in both.runs["fixed"]] == [
        tmp_path / "both" / "runs" / "f-0",
        tmp_path / "both" / "runs" / "f-1",
    ]


@pytest.mark.parametrize(
    ("status", "finished"),
    [("budget spent", True), ("diverged", True), ("interrupted", False), (None, False)],
)
def test_finished_means_that_nothing_is_left_to_do(tmp_path, status, finished):
    if status:
        runs.write_json(tmp_path / runs.METRICS, {"status": status})
    assert runs.Run(tmp_path).finished is finished


def test_folders_that_are_no_runs(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(runs.RunFolderError, match="nowhere does not exist"):
        runs.read(tmp_path / "nowhere")
    with pytest.raises(runs.RunFolderError, match="file does not exist or is not a folder"):
        runs.read(tmp_path / "file")
    with pytest.raises(runs.RunFolderError, match=r"neither config.json nor comparison.json"):
        runs.read(tmp_path)


@pytest.mark.parametrize("name", ["config", "metrics", "history", "solution"])
def test_missing_files_are_named(tmp_path, name):
    with pytest.raises(runs.RunFolderError, match=rf"{tmp_path} has no {name}\."):
        getattr(runs.Run(tmp_path), name)


@pytest.mark.parametrize(("name", "file"), [("config", runs.CONFIG), ("solution", runs.SOLUTION)])
def test_damaged_files_are_named(tmp_path, name, file):
    (tmp_path / file).write_text('{"half": ')
    with pytest.raises(runs.RunFolderError, match=rf"{file} is not"):
        getattr(runs.Run(tmp_path), name)


def test_folders_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    runs.check_writable(tmp_path / "new" / "deeper")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]  # nothing is left behind
    with pytest.raises(ValueError, match="file is not a folder"):
        runs.check_writable(tmp_path / "file" / "run")
    with pytest.raises(ValueError, match="cannot write to /proc/run"):
        runs.check_writable(Path("/proc/run"))
