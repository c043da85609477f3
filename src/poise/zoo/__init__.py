"""Problems that are ready to run, each with its reference solution and the source of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from poise.problem import Problem
from poise.zoo import klein_gordon


@dataclass(frozen=True)
class Entry:
    """A problem of the zoo.

    Attributes
    ----------
    name
        What a user types.
    title, reference
        One line each: what it is, and where its reference solution comes from.
    build
        Makes the problem.
    """

    name: str
    title: str
    reference: str
    build: Callable[[], Problem]


_ENTRIES = {
    "klein-gordon": Entry(
        "klein-gordon",
        klein_gordon.TITLE,
        klein_gordon.REFERENCE,
        klein_gordon.klein_gordon,
    ),
}


def names() -> tuple[str, ...]:
    """Every name, in alphabetical order."""
    return tuple(sorted(_ENTRIES))


def entry(name: str) -> Entry:
    """The entry of a name.

    Raises
    ------
    ValueError
        If there is no such problem; lists those that exist.
    """
    if name not in _ENTRIES:
        raise ValueError(f"no problem is named {name!r}; the zoo has {', '.join(names())}")
    return _ENTRIES[name]


def load(name: str) -> Problem:
    """Build a problem by name: ``poise.zoo.load("klein-gordon")``."""
    return entry(name).build()
