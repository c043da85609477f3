"""Problems that are ready to run, each with its reference solution and the source of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from poise.near import near
from poise.problem import Problem
from poise.zoo import (
    advection,
    allen_cahn,
    burgers,
    cavity,
    heat,
    helmholtz,
    kdv,
    klein_gordon,
    poisson,
    wave,
)


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


def _entries(*rows: tuple[str, str, str, Callable[[], Problem]]) -> dict[str, Entry]:
    return {row[0]: Entry(*row) for row in rows}


_ENTRIES = _entries(
    ("advection", advection.TITLE, advection.REFERENCE, advection.advection),
    ("allen-cahn", allen_cahn.TITLE, allen_cahn.REFERENCE, allen_cahn.allen_cahn),
    ("burgers", burgers.TITLE, burgers.REFERENCE, burgers.burgers),
    ("cavity", cavity.TITLE, cavity.REFERENCE, cavity.cavity),
    ("heat", heat.TITLE, heat.REFERENCE, heat.heat),
    ("helmholtz", helmholtz.TITLE, helmholtz.REFERENCE, helmholtz.helmholtz),
    ("kdv", kdv.TITLE, kdv.REFERENCE, kdv.kdv),
    ("klein-gordon", klein_gordon.TITLE, klein_gordon.REFERENCE, klein_gordon.klein_gordon),
    ("poisson-2d", poisson.TITLE_2D, poisson.REFERENCE_2D, poisson.poisson_2d),
    ("poisson-5d", poisson.TITLE_5D, poisson.REFERENCE_5D, poisson.poisson_5d),
    ("wave", wave.TITLE, wave.REFERENCE, wave.wave),
)


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
        raise ValueError(
            f"no problem is named {name!r}{near(name, names())}; the zoo has {', '.join(names())}"
        )
    return _ENTRIES[name]


def load(name: str) -> Problem:
    """Build a problem by name: ``poise.zoo.load("klein-gordon")``."""
    return entry(name).build()
