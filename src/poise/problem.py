"""The problem: coordinates, fields, and the terms that must vanish."""

from __future__ import annotations

import keyword
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from poise.block import Block, Names, build_block
from poise.derivatives.field import RESERVED
from poise.geometry import Box, Patch
from poise.terms import Condition, argument_names

_GRID = {1: 1000, 2: 100, 3: 40, 4: 16}
"""Points along each coordinate of the evaluation grid, by the number of coordinates."""


class Problem:
    """A differential equation with its conditions, as a sum of named loss terms.

    The loss is L(θ) = Σₖ λₖ Lₖ(θ) over the terms k. The loss of a term is the mean square of
    its residual over its points; where a term has several conditions, equations or sides, their
    means are added.

    Parameters
    ----------
    coordinates
        Interval (lower, upper) of every coordinate, by name; `poise.periodic` (lower, upper)
        of a periodic one.
    fields
        Names of the unknown functions.
    terms
        For each name a condition or a list of them. A name has one loss weight; a list shares it.
    exact
        Known solution for some or all fields, functions of coordinates by name that take arrays.
        It scores a run and has no other use.
        One with an attribute ``lazy = True``, for a reference that takes seconds to
        prepare, is not tried out when the problem is built.
    time
        Which coordinate is time; the one named "t" if there is one. Pass None for none.
    coefficients
        Unknown numbers in the equations, by name, with their initial guesses. They are trained
        together with the network.
    grid
        Points along each coordinate of the grid on which errors are computed: one number, or
        one for each coordinate. By default 1000, 100, 40 or 16 for one to four coordinates, 10
        beyond.
    name, equation
        For reports.

    Raises
    ------
    ValueError
        For anything that does not fit together, with the name of the term or coordinate and
        the offending value. Nothing is trained on a problem that has not passed.
    """

    def __init__(
        self,
        coordinates: Mapping[str, tuple[float, float]],
        fields: Sequence[str],
        terms: Mapping[str, Condition | Sequence[Condition]],
        *,
        exact: Mapping[str, Callable[..., Any]] | None = None,
        time: str | None = "t",
        coefficients: Mapping[str, float] | None = None,
        grid: int | Mapping[str, int] | None = None,
        name: str = "problem",
        equation: str = "",
    ) -> None:
        self.name = name
        self.equation = equation
        if not isinstance(coordinates, Mapping) or not coordinates:
            raise ValueError(
                f"coordinates={coordinates!r}: give at least one, such as {{'x': (0, 1)}}"
            )
        if isinstance(fields, str) or not isinstance(fields, Sequence) or not fields:
            raise ValueError(f"fields={fields!r}: give a list of names, such as ['u']")
        self.coefficients = _numbers(coefficients or {})
        _check_identifiers(coordinates, fields, self.coefficients)
        self.domain = Box.from_intervals(coordinates)
        if time is not None and time != "t" and time not in self.domain.names:
            raise ValueError(
                f"time={time!r}: no such coordinate; "
                f"the coordinates are {', '.join(self.domain.names)}"
            )
        self.time = time if time in self.domain.names else None
        self.names = Names(
            self.domain.names,
            tuple(name for name in self.domain.names if name != self.time),
            tuple(fields),
            tuple(self.coefficients),
        )
        self.blocks = self._build(terms)
        self._check_coefficients()
        self.exact = self._check_exact(exact or {})
        self.grid = self._check_grid(grid)

    @property
    def coordinates(self) -> tuple[str, ...]:
        """Names of the coordinates, in the order of the network's input."""
        return self.names.coordinates

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields, in the order of the network's output."""
        return self.names.fields

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the loss terms."""
        return tuple(self.blocks)

    def grid_points(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The evaluation grid in float64, ends included.

        Of a periodic coordinate the upper end is left out: it is the lower one again.

        Returns
        -------
        axes
            Values along each coordinate.
        points
            All points, shape (d, N), the last coordinate running fastest.
        """
        axes = {
            name: np.linspace(low, high, self.grid[name], name not in self.domain.periodic)
            for name, low, high in zip(
                self.domain.names, self.domain.lower, self.domain.upper, strict=True
            )
        }
        mesh = np.meshgrid(*axes.values(), indexing="ij")
        return axes, np.stack([part.ravel() for part in mesh])

    def exact_values(self, points: np.ndarray) -> dict[str, np.ndarray]:
        """The exact fields at points of shape (d, N), in float64, shape (N,)."""
        by_name = dict(zip(self.coordinates, points, strict=True))
        values = {}
        for field, function in self.exact.items():
            required, optional = argument_names(function)
            chosen = [*required, *(name for name in optional if name in by_name)]
            with jax.enable_x64(True):
                value = np.asarray(function(**{name: by_name[name] for name in chosen}))
            if value.dtype.kind not in "biuf":
                raise TypeError(f"it returned values of type {value.dtype}, not real numbers")
            values[field] = np.broadcast_to(value.astype(np.float64), points.shape[1:])
        return values

    def _build(
        self, terms: Mapping[str, Condition | Sequence[Condition]]
    ) -> dict[str, tuple[Block, ...]]:
        if not isinstance(terms, Mapping):
            raise ValueError(
                f"terms={terms!r}: expected a dict from names to conditions, such as "
                "{'residual': poise.interior(lambda u: u.xx)}"
            )
        if not terms:
            raise ValueError(
                "terms: give at least one, such as {'residual': poise.interior(lambda u: u.xx)}"
            )
        blocks: dict[str, tuple[Block, ...]] = {}
        for term, conditions in terms.items():
            if not isinstance(term, str) or not term or not set(term).isdisjoint(",\n\"'/"):
                raise ValueError(f"term {term!r}: a name must be plain text without , ' \" or /")
            listed: list[Any] = [conditions]
            if isinstance(conditions, list | tuple):
                listed = list(conditions)
            if not listed:
                raise ValueError(f"term {term!r}: its list of conditions is empty")
            for condition in listed:
                if not isinstance(condition, Condition):
                    raise ValueError(
                        f"term {term!r}: {condition!r} is not a condition; wrap the residual in "
                        "poise.interior, poise.initial, poise.boundary or poise.data"
                    )
            blocks[term] = tuple(self._blocks_of(term, listed))
        return blocks

    def _blocks_of(self, term: str, conditions: Sequence[Condition]) -> list[Block]:
        places: dict[tuple[str, Patch], list[Condition]] = {}
        found = []
        for condition in conditions:
            if condition.kind == "data":
                block = build_block(term, self.names, None, [condition])
                found.append(self._placed(block))
                continue
            try:
                patches = condition.patches(self.domain, self.time)
            except ValueError as error:
                raise ValueError(f"term {term!r}: {error}") from None
            for patch in patches:
                places.setdefault((condition.kind, patch), []).append(condition)
        return found + [
            build_block(term, self.names, patch, group, group[0].partner(self.domain))
            for (_, patch), group in places.items()
        ]

    def _check_coefficients(self) -> None:
        conditions = [c for blocks in self.blocks.values() for b in blocks for c in b.conditions]
        used = {
            name
            for condition in conditions
            if condition.residual is not None
            for names in argument_names(condition.residual)
            for name in names
        }
        for name in self.coefficients:
            if name not in used:
                raise ValueError(
                    f"coefficients[{name!r}]: no term uses it, so nothing would determine it; "
                    f"name it among the arguments of a residual, such as lambda u, {name}: ..."
                )

    def _placed(self, block: Block) -> Block:
        """Measured points, if they lie in the domain; periodic coordinates between their ends."""
        assert block.points is not None
        for name, low, high, row in zip(
            self.domain.names, self.domain.lower, self.domain.upper, block.points, strict=True
        ):
            outside = np.flatnonzero(~self.domain.contains(name, row))
            if outside.size:
                raise ValueError(
                    f"term {block.term!r}: data[{name!r}][{outside[0]}] = {row[outside[0]]:g} "
                    f"lies outside the domain, {name} in ({low:g}, {high:g})"
                )
        rows = zip(self.domain.names, block.points, strict=True)
        return replace(block, points=np.stack([self.domain.wrapped(*row) for row in rows]))

    def _check_exact(self, exact: Mapping[str, Any]) -> dict[str, Callable[..., Any]]:
        if not isinstance(exact, Mapping):
            raise ValueError(
                f"exact={exact!r}: give functions by field, such as "
                f"{{{self.fields[0]!r}: lambda {', '.join(self.coordinates)}: ...}}"
            )
        for field, function in exact.items():
            if field not in self.fields:
                raise ValueError(
                    f"exact[{field!r}]: no such field; the fields are {', '.join(self.fields)}"
                )
            if not callable(function):
                raise ValueError(f"exact[{field!r}] = {function!r} is not a function")
            try:
                required, _ = argument_names(function)
            except ValueError as error:
                raise ValueError(f"exact[{field!r}]: {error}") from None
            for name in required:
                if name not in self.coordinates:
                    raise ValueError(
                        f"exact[{field!r}] asks for {name!r}, which is not a coordinate; "
                        f"the coordinates are {', '.join(self.coordinates)}"
                    )
        self.exact = dict(exact)
        corners = np.array([self.domain.lower, self.domain.upper]).T
        middle = corners.mean(axis=1, keepdims=True)
        probe = np.concatenate([corners, middle], axis=1)
        for field, function in self.exact.items():
            if getattr(function, "lazy", False):  # takes seconds: met when a run is scored
                continue
            try:
                values = self.exact_values(probe)[field]
            except Exception as error:
                raise ValueError(
                    f"exact[{field!r}] failed on arrays of shape (3,) with "
                    f"{type(error).__name__}: {error}"
                ) from error
            if not np.isfinite(values).all():
                bad = int(np.flatnonzero(~np.isfinite(values))[0])
                at = ", ".join(
                    f"{n}={v:g}" for n, v in zip(self.coordinates, probe[:, bad], strict=True)
                )
                raise ValueError(f"exact[{field!r}] is {values[bad]} at {at}; it must be finite")
        return self.exact

    def _check_grid(self, grid: int | Mapping[str, int] | None) -> dict[str, int]:
        if grid is None:
            grid = _GRID.get(self.domain.dimension, 10)
        shared = not isinstance(grid, Mapping)
        chosen = dict.fromkeys(self.coordinates, grid) if shared else dict(grid)
        if set(chosen) != set(self.coordinates):
            raise ValueError(
                f"grid={grid!r}: give one number or one for each of {', '.join(self.coordinates)}"
            )
        for name, count in chosen.items():
            if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 2:
                raise ValueError(f"grid[{name!r}] = {count!r}: give a whole number, at least 2")
        return {name: int(chosen[name]) for name in self.coordinates}


def _numbers(coefficients: Mapping[str, Any]) -> dict[str, float]:
    if not isinstance(coefficients, Mapping):
        raise ValueError(
            f"coefficients={coefficients!r}: give names with initial guesses, such as {{'nu': 0.1}}"
        )
    out = {}
    for name, guess in coefficients.items():
        try:
            out[name] = float(guess)
        except (TypeError, ValueError):
            out[name] = math.nan
        if not math.isfinite(out[name]):
            raise ValueError(f"coefficients[{name!r}] = {guess!r}: give a finite initial guess")
    return out


def _check_identifiers(*groups: Any) -> None:
    seen: set[str] = set()
    for kind, names in zip(("coordinate", "field", "coefficient"), groups, strict=True):
        for name in names:
            if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
                raise ValueError(f"{kind} {name!r}: a name must be a Python identifier")
            if name.startswith("_") or name in RESERVED:
                raise ValueError(
                    f"{kind} {name!r}: this name is taken; avoid a leading underscore and "
                    f"{', '.join(sorted(RESERVED))}"
                )
            if name in seen:
                raise ValueError(f"{kind} {name!r}: the name is used twice")
            seen.add(name)
    coordinates = tuple(groups[0])
    for name in coordinates:
        if len(name) > 1 and set(name) <= set(coordinates):
            raise ValueError(
                f"coordinate {name!r}: it could be mistaken for a derivative by "
                f"{', '.join(dict.fromkeys(name))}, as in u.{name}; choose another name"
            )
