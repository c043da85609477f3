"""Conditions of one term that hold in the same place: one sample of points, one propagation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from poise.derivatives import Field, Operator, plan_operators, requested
from poise.derivatives.operator import Entry
from poise.geometry import Patch
from poise.terms import Condition, argument_names


@dataclass(frozen=True)
class Names:
    """Every name a residual can ask for."""

    coordinates: tuple[str, ...]
    spatial: tuple[str, ...]
    fields: tuple[str, ...]
    coefficients: tuple[str, ...]

    def available(self, on_boundary: bool) -> tuple[str, ...]:
        normal = ("normal",) if on_boundary else ()
        return self.fields + self.coordinates + self.coefficients + normal


@dataclass(frozen=True)
class Block:
    """Residuals that share their points.

    Attributes
    ----------
    term
        The loss term they belong to.
    patch
        Where points are drawn; None for measured points.
    entries
        Derivatives of fields that the residuals ask for.
    equations
        Number of residuals at a point.
    operator
        What to propagate through the network for them.
    points, targets
        Measured points, shape (d, N), and the fields' values there, shape (N,).
    partner
        On a pair of opposite sides, the other one: the residual at a point is then what the
        conditions give there less what they give at the point opposite.
    """

    term: str
    names: Names
    patch: Patch | None
    conditions: tuple[Condition, ...]
    entries: frozenset[Entry] = frozenset()
    equations: int = 0
    operator: Operator = field(default_factory=lambda: Operator((), frozenset(), ()))
    points: np.ndarray | None = None
    targets: Mapping[str, np.ndarray] = field(default_factory=dict)
    partner: Patch | None = None

    def places(self, points: Float[Array, "d N"]) -> tuple[Float[Array, "d N"], ...]:
        """The points themselves and, on a pair of sides, those opposite to them."""
        if self.partner is None or self.partner.normal is None:
            return (points,)
        axis = self.names.coordinates.index(self.partner.normal[0])
        return points, points.at[axis].set(self.partner.lower[axis])

    def residual(self, entries: Mapping[Entry, Array], others: Mapping[str, Any]) -> list[Array]:
        """What the conditions give at one point.

        Parameters
        ----------
        entries
            Value or derivative, a scalar, by (field, multi-index).
        others
            Scalars by name: "coordinates", "coefficients", "targets".
        """
        fields = {
            name: self._field(name, lambda alpha, name=name: entries[name, alpha])
            for name in self.names.fields
        }
        return self._evaluate(fields, others)

    def _field(self, name: str, lookup: Any) -> Field:
        return Field(name, self.names.coordinates, self.names.spatial, lookup, self._normal)

    @property
    def _normal(self) -> tuple[str, int] | None:
        """Coordinate and sign of the outward normal, where there is one to speak of."""
        if self.patch is None or self.conditions[0].kind != "boundary":
            return None
        return self.patch.normal

    def _evaluate(self, fields: Mapping[str, Field], others: Mapping[str, Any]) -> list[Array]:
        if self.patch is None:
            return [fields[name].value - others["targets"][name] for name in self.targets]
        available = {**fields, **others["coordinates"], **others["coefficients"]}
        if self._normal:
            side, sign = self._normal
            if side in self.names.spatial:
                entries = [float(sign) if name == side else 0.0 for name in self.names.spatial]
                available["normal"] = jnp.asarray(entries)
        out: list[Any] = []
        for condition in self.conditions:
            if condition.kind == "periodic":
                out += self._agreeing(condition, fields)
                continue
            assert condition.residual is not None
            required, optional = argument_names(condition.residual)
            chosen = [*required, *(name for name in optional if name in available)]
            value = condition.residual(**{name: available[name] for name in chosen})
            out += value if isinstance(value, tuple | list) else [value]
        return [item.value if isinstance(item, Field) else item for item in out]

    def _agreeing(self, condition: Condition, fields: Mapping[str, Field]) -> list[Array]:
        """What must be the same on both sides: each field with its derivatives across them."""
        assert condition.coordinate is not None
        found = []
        for name in condition.fields or self.names.fields:
            found.append(fields[name].value)
            for order in range(1, condition.order + 1):
                found.append(fields[name].d(*[condition.coordinate] * order))
        return found


def build_block(
    term: str,
    names: Names,
    patch: Patch | None,
    conditions: Sequence[Condition],
    partner: Patch | None = None,
) -> Block:
    """Check the conditions of a term on one patch and find out what they ask for.

    Parameters
    ----------
    partner
        The opposite side, for conditions on a pair of sides.

    Raises
    ------
    ValueError
        With the term's name, where a residual asks for an unknown name, fails, or returns
        something that is not a number at each point.
    """
    points, targets = None, {}
    if patch is None:
        (condition,) = conditions
        points, targets = _measured(term, names, condition.values or {})
    block = Block(
        term, names, patch, tuple(conditions), points=points, targets=targets, partner=partner
    )
    others = _shapes(names, targets)
    entries: frozenset[Entry] = frozenset()
    equations = 0
    with jax.enable_x64(True):
        for condition in conditions:
            if condition.residual is not None:
                _check_names(term, names, patch, condition)
            for name in condition.fields or ():
                if name not in names.fields:
                    raise ValueError(
                        f"term {term!r}: {_describe(condition)} has the field {name!r}, which "
                        f"does not exist; the fields are {', '.join(names.fields)}"
                    )
            asked, outputs = _run(replace(block, conditions=(condition,)), condition, others)
            entries, equations = entries | asked, equations + outputs
        operator = plan_operators(block.residual, entries, others, equations)
    return replace(block, entries=entries, equations=equations, operator=operator)


def _run(block: Block, condition: Condition, others: Any) -> tuple[frozenset[Entry], int]:
    """The derivatives that a condition asks for, and how many residuals it returns."""
    names, where = block.names, f"term {block.term!r}: the residual of {_describe(condition)}"
    outputs: list[Any] = []

    def run(fields: dict[str, Field], number: Array) -> None:
        scalars = jax.tree.map(lambda shape: number.astype(shape.dtype), others)
        outputs[:] = block._evaluate(fields, scalars)

    try:
        asked = requested(names.fields, block._field, run)
    except Exception as error:
        raise ValueError(
            f"{where} failed with {type(error).__name__}: {_first_line(error)}{_hint(error)}"
        ) from error
    _check_outputs(where, outputs)
    entries = frozenset((name, alpha) for name, found in asked.items() for alpha in found)
    if not entries:
        raise ValueError(f"{where} uses no field; the fields are {', '.join(names.fields)}")
    return entries, len(outputs)


def _shapes(names: Names, targets: Mapping[str, Any]) -> dict[str, Any]:
    with jax.enable_x64(True):
        scalar = jax.ShapeDtypeStruct((), jnp.float64)
    return {
        "coordinates": dict.fromkeys(names.coordinates, scalar),
        "coefficients": dict.fromkeys(names.coefficients, scalar),
        "targets": dict.fromkeys(targets, scalar),
    }


def _check_names(term: str, names: Names, patch: Patch | None, condition: Condition) -> None:
    try:
        required, _ = argument_names(condition.residual)  # type: ignore[arg-type]
    except ValueError as error:
        raise ValueError(f"term {term!r}: {error}") from None
    side = patch.normal[0] if patch and patch.normal else None
    available = names.available(condition.kind == "boundary" and side in names.spatial)
    for name in required:
        if name not in available:
            also = " (only a boundary in space has a normal)" if name == "normal" else ""
            raise ValueError(
                f"term {term!r}: the residual of {_describe(condition)} asks for {name!r}, "
                f"which is not a name of this problem{also}; "
                f"the names are {', '.join(available)}"
            )


def _check_outputs(where: str, outputs: list[Any]) -> None:
    if not outputs:
        raise ValueError(f"{where} returned an empty tuple")
    for item in outputs:
        if item is None:
            raise ValueError(f"{where} returned None; does it lack a return?")
        if not isinstance(item, jax.Array | np.ndarray | np.generic | int | float | complex):
            raise ValueError(
                f"{where} returned {item!r}; it must return one number, or a tuple of numbers "
                "for several equations"
            )
        if np.shape(item) != ():
            raise ValueError(
                f"{where} returned an array of shape {np.shape(item)}; it sees one point and "
                "must return one number, or a tuple of numbers for several equations"
            )
        kind = jnp.result_type(item)
        if not jnp.issubdtype(kind, jnp.floating) and not jnp.issubdtype(kind, jnp.integer):
            raise ValueError(f"{where} returned a value of type {kind}; it must be a real number")


def _measured(
    term: str, names: Names, values: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    known = names.coordinates + names.fields
    for name, array in values.items():
        if name not in known:
            raise ValueError(
                f"term {term!r}: data has {name!r}, which is not a name of this problem; "
                f"the names are {', '.join(known)}"
            )
        if array.ndim != 1 or array.dtype.kind not in "iuf":
            raise ValueError(
                f"term {term!r}: data[{name!r}] has shape {array.shape} and type {array.dtype}; "
                "it must be a one-dimensional array of real numbers"
            )
    missing = [name for name in names.coordinates if name not in values]
    if missing:
        raise ValueError(f"term {term!r}: data lacks the coordinate {', '.join(missing)}")
    measured = [name for name in names.fields if name in values]
    if not measured:
        raise ValueError(
            f"term {term!r}: data measures no field; the fields are {', '.join(names.fields)}"
        )
    lengths = {name: len(array) for name, array in values.items()}
    if len(set(lengths.values())) > 1 or not min(lengths.values()):
        raise ValueError(
            f"term {term!r}: data arrays must have one length, at least 1; they have {lengths}"
        )
    for name, array in values.items():
        bad = np.flatnonzero(~np.isfinite(array))
        if bad.size:
            raise ValueError(
                f"term {term!r}: data[{name!r}][{bad[0]}] is {array[bad[0]]} "
                f"({bad.size} of {array.size} entries are not finite); leave such points out"
            )
    points = np.stack([np.asarray(values[name], np.float64) for name in names.coordinates])
    return points, {name: np.asarray(values[name], np.float64) for name in measured}


def _describe(condition: Condition) -> str:
    inside = repr(condition.coordinate) if condition.coordinate else ""
    return f"{_CALLED.get(condition.kind, condition.kind)}({inside})"


_CALLED = {"periodic": "periodic_sides"}
"""Functions that make conditions of another name."""


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "").rstrip(".")


def _hint(error: Exception) -> str:
    if isinstance(error, jax.errors.TracerBoolConversionError):
        return ". Use jnp.where: a residual cannot branch on a value."
    if isinstance(error, jax.errors.JAXTypeError | jax.errors.ConcretizationTypeError):
        return ". Use functions of jax.numpy rather than of math or numpy."
    if "__jax_array__" in str(error) or "pytree structure" in str(error):
        return ". This function takes arrays only: give it u.value rather than u."
    return ""
