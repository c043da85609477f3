"""The cache of compiled programs that processes share."""

import os

import pytest
from jax._src import compilation_cache

from poise import cache


@pytest.fixture
def programs(tmp_path):
    cache.write_whole_programs()
    found, _ = compilation_cache.get_file_cache(str(tmp_path))
    return found


def test_a_program_is_given_back_and_stays_as_it_is(programs, tmp_path):
    assert programs.get("one") is None
    programs.put("one", b"a program")
    programs.put("one", b"another")
    assert programs.get("one") == b"a program"
    assert [path.name for path in tmp_path.iterdir()] == ["one-cache"]


def test_a_program_is_there_whole_or_not_at_all(programs, tmp_path, monkeypatch):
    """Nobody finds half a program, though its writer is killed on the way."""
    seen = []

    def killed(beside, path):
        seen.append(programs.get("one"))
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        programs.put("one", b"a program")
    assert seen == [None]
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    programs.put("one", b"a program")
    assert programs.get("one") == b"a program"


def test_it_is_put_in_once():
    cache.write_whole_programs()
    there = compilation_cache.LRUCache
    cache.write_whole_programs()
    assert compilation_cache.LRUCache is there and there.whole
