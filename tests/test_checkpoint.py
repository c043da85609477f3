"""Checkpoints: the same bits back, and never half a checkpoint."""

import json
import shutil
from typing import NamedTuple

import jax
import numpy as np
import pytest

from poise.training.checkpoint import ANY_LENGTH, Checkpoints


class State(NamedTuple):
    step: object
    params: object
    skipped: None = None


def make_tree(step=3):
    third = np.float64(1) / 3
    return {
        "state": State(
            np.int32(step),
            {"w": np.float32([[0.1, -np.inf], [np.nan, 1e-45]]), "key": np.uint32([1, 2**32 - 1])},
        ),
        # Float64 that float32 cannot hold: history, clock and best value are kept so.
        "history": {"loss": third + np.arange(3) * 2.0**-50, "a.b['c'] λ": np.float64([np.pi])},
        "best": {"value": third, "step": 7, "half": np.float16(0.1), "flag": np.array(True)},
        "clock": (0.1, 0.2),
    }


def assert_same_bits(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        b = np.asarray(b)
        assert isinstance(a, np.ndarray)
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert a.tobytes() == b.tobytes()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run" / "checkpoints"


@pytest.mark.parametrize("wide", [False, True], ids=["x64-off", "x64-on"])
def test_round_trip_keeps_bits_and_types(folder, wide):
    with jax.enable_x64(wide):
        written = Checkpoints(folder)
        assert written.latest() is None
        written.save(3, make_tree())
        assert written.latest() == 3
        written.close()
        read = Checkpoints(folder)
        assert read.latest() == 3
        assert_same_bits(read.restore(3, make_tree()), make_tree())
        read.close()


def test_jax_arrays_come_back_as_numpy(folder):
    checkpoints = Checkpoints(folder)
    tree = {"w": jax.numpy.linspace(0, 1, 5), "key": jax.random.PRNGKey(1)}
    checkpoints.save(1, tree)
    assert_same_bits(checkpoints.restore(1, tree), tree)


def test_arrays_without_entries(folder):
    """A run that stops before the first row of its history has empty columns."""
    checkpoints = Checkpoints(folder)
    tree = {"a": np.ones(2), "history": {"loss": np.zeros(0), "step": np.zeros(0)}}
    checkpoints.save(1, tree)
    assert_same_bits(checkpoints.restore(1, tree), tree)
    like = {"a": np.ones(2), "history": {"loss": ANY_LENGTH, "step": ANY_LENGTH}}
    assert_same_bits(checkpoints.restore(1, like), tree)


def test_any_length_takes_what_is_there(folder):
    checkpoints = Checkpoints(folder)
    checkpoints.save(1, {"loss": np.arange(4.0), "w": np.ones(2)})
    found = checkpoints.restore(1, {"loss": ANY_LENGTH, "w": np.zeros(2)})
    assert found["loss"].tolist() == [0, 1, 2, 3]


def test_the_two_newest_are_kept(folder):
    checkpoints = Checkpoints(folder)
    for step in (5, 10, 15, 20):
        checkpoints.save(step, make_tree(step))
    assert sorted(path.name for path in folder.iterdir()) == ["15", "20"]
    assert checkpoints.latest() == 20
    assert int(checkpoints.restore(15, make_tree())["state"].step) == 15


def test_a_step_is_written_once(folder):
    checkpoints = Checkpoints(folder)
    checkpoints.save(5, {"w": np.zeros(2)})
    checkpoints.save(5, {"w": np.ones(2)})
    assert checkpoints.restore(5, {"w": np.zeros(2)})["w"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("like", "words"),
    [
        ({"w": np.zeros((3, 2)), "b": np.zeros(2)}, r"\['w'\] has shape \(2, 3\), expected \(3, 2"),
        ({"w": np.zeros((2, 3))}, r"\['b'\] only in the checkpoint"),
        (
            {"w": np.zeros((2, 3)), "b": np.zeros(2), "c": np.zeros(1)},
            r"\['c'\] missing from the checkpoint",
        ),
    ],
)
def test_another_problem_is_refused_by_name(folder, like, words):
    checkpoints = Checkpoints(folder)
    checkpoints.save(8, {"w": np.zeros((2, 3)), "b": np.zeros(2)})
    with pytest.raises(ValueError, match=f"(?s)checkpoint of step 8 does not fit.*{words}"):
        checkpoints.restore(8, like)


def uncommit(place):
    """Turn a whole checkpoint into one whose writing was cut short."""
    (place / "commit_success.txt").unlink(missing_ok=True)
    notes = json.loads((place / "_CHECKPOINT_METADATA").read_text())
    (place / "_CHECKPOINT_METADATA").write_text(
        json.dumps({**notes, "commit_timestamp_nsecs": None})
    )


def empty(folder):
    (folder / "30").mkdir()


def temporary(folder):
    shutil.copytree(folder / "20", folder / "30.orbax-checkpoint-tmp")


def temporary_with_time(folder):
    shutil.copytree(folder / "20", folder / "30.orbax-checkpoint-tmp-1700000000000")


def truncated(folder):
    shutil.copytree(folder / "20", folder / "30")
    uncommit(folder / "30")
    for path in (folder / "30").rglob("*"):
        if path.is_file() and path.name != "_CHECKPOINT_METADATA":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without_notes(folder):
    shutil.copytree(folder / "20", folder / "30")
    (folder / "30" / "_CHECKPOINT_METADATA").unlink()


def torn_notes(folder):
    shutil.copytree(folder / "20", folder / "30")
    (folder / "30" / "_CHECKPOINT_METADATA").write_text('{"item_handlers": {"def')


def a_file(folder):
    (folder / "30").write_text("not a folder")


@pytest.mark.parametrize(
    "damage",
    [empty, temporary, temporary_with_time, truncated, without_notes, torn_notes, a_file],
)
def test_half_a_checkpoint_is_never_taken(folder, damage):
    """And the run goes on writing checkpoints past it."""
    before = Checkpoints(folder)
    before.save(10, make_tree(10))
    before.save(20, make_tree(20))
    before.close()
    damage(folder)
    after = Checkpoints(folder)
    assert after.latest() == 20
    assert_same_bits(after.restore(20, make_tree()), make_tree(20))
    for step in (25, 30):
        after.save(step, make_tree(step))
        assert after.latest() == step
        assert_same_bits(after.restore(step, make_tree()), make_tree(step))


def test_only_half_a_checkpoint_is_none(folder):
    first = Checkpoints(folder)
    first.save(20, make_tree(20))
    first.close()
    uncommit(folder / "20")
    assert Checkpoints(folder).latest() is None
