"""The conditions of a problem: what must vanish, and where.

`interior`, `initial`, `boundary`, `periodic_sides` and `data` make conditions; a `poise.Problem`
collects them in named terms and checks them. The first three take a *residual*: a plain function
whose arguments are filled in by name and whose value should be zero.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from poise.geometry import Box, Patch

Residual = Callable[..., Any]


@dataclass(frozen=True)
class Condition:
    """A residual and where it holds. Made by the functions of this module."""

    kind: str
    residual: Residual | None = None
    coordinate: str | None = None
    at: float | None = None
    values: Mapping[str, Any] | None = None
    order: int = 0
    fields: tuple[str, ...] | None = None

    def patches(self, box: Box, time: str | None) -> tuple[Patch, ...]:
        """The pieces of the domain where the condition holds.

        Raises
        ------
        ValueError
            If the condition names a coordinate or an end that the domain does not have.
        """
        if self.kind == "interior":
            return (box.interior(),)
        if self.kind == "initial":
            if time is None:
                raise ValueError(
                    "initial() needs a time coordinate: name one 't', or say which it is with "
                    f"Problem(..., time=...); the coordinates are {', '.join(box.names)}"
                )
            if time in box.periodic:
                raise ValueError(
                    f"initial(): {time} is periodic and has no beginning; leave the condition out, "
                    f"or give {time!r} an interval, (lower, upper)"
                )
            return (box.side(time, -1),)
        spatial = [name for name in box.names if name != time]
        if self.coordinate is None:
            if not spatial:
                raise ValueError("boundary() has no spatial coordinate to hold on; use initial()")
            sides = [name for name in spatial if name not in box.periodic]
            if not sides:
                raise ValueError(
                    f"boundary() has no side to hold on: {', '.join(spatial)} periodic, and a "
                    "periodic coordinate needs no boundary condition; leave it out"
                )
            return tuple(box.side(name, sign) for name in sides for sign in (-1, 1))
        function = "periodic_sides" if self.kind == "periodic" else "boundary"
        if self.coordinate not in box.names:
            raise ValueError(
                f"{function}({self.coordinate!r}): no such coordinate; "
                f"the coordinates are {', '.join(box.names)}"
            )
        low, high = box.ends(self.coordinate)
        if self.coordinate in box.periodic:
            raise ValueError(
                f"{function}({self.coordinate!r}): {self.coordinate} is declared periodic, so the "
                "network has its period and no condition is needed; leave it out, or give "
                f"{self.coordinate!r} the interval ({low:g}, {high:g})"
            )
        if self.kind == "periodic":
            return (box.side(self.coordinate, -1),)
        if self.at is not None:
            slack = 1e-6 * (high - low)  # an end may have been rounded to float32
            for end, sign in ((low, -1), (high, 1)):
                if abs(self.at - end) <= slack:
                    return (box.side(self.coordinate, sign),)
            raise ValueError(
                f"boundary({self.coordinate!r}, at={self.at!r}): not on the boundary of the "
                f"domain; the ends of {self.coordinate} are {low:g} and {high:g}"
            )
        if self.coordinate == time:
            raise ValueError(
                f"boundary({time!r}): {time} is the time; use initial() for its start, or say "
                f"boundary({time!r}, f, at={high:g}) for its end"
            )
        return (box.side(self.coordinate, -1), box.side(self.coordinate, 1))

    def partner(self, box: Box) -> Patch | None:
        """The side opposite to that of `patches`, for a condition on a pair of sides."""
        if self.kind != "periodic" or self.coordinate is None:
            return None
        return box.side(self.coordinate, 1)


def interior(residual: Residual) -> Condition:
    """The equation: `residual` vanishes everywhere in the domain.

    Parameters
    ----------
    residual
        Function of fields, coordinates and unknown coefficients, filled in by name. It sees one
        point: every argument is a scalar. It returns a scalar, or a tuple for a system.
    """
    return Condition("interior", _checked("interior", residual))


def initial(residual: Residual) -> Condition:
    """A condition at the lower end of the time coordinate.

    Parameters
    ----------
    residual
        As for `interior`.
    """
    return Condition("initial", _checked("initial", residual))


def boundary(*arguments: Any, at: float | None = None) -> Condition:
    """A condition on the sides of the domain: ``boundary([coordinate,] residual, [at=end])``.

    ``boundary(f)`` holds on all spatial sides, ``boundary("x", f)`` on both sides of x,
    ``boundary("x", f, at=1.0)`` on one of them.

    Parameters
    ----------
    coordinate
        Whose sides; all spatial ones if left out.
    residual
        As for `interior`; it may also take ``normal``, the outward unit normal, an array over
        the coordinates that are not time, and ask for ``u.n``, the derivative along it.
    at
        One end of that coordinate.
    """
    match arguments:
        case (str() as coordinate, residual):
            pass
        case (residual,) if not isinstance(residual, str):
            coordinate = None
        case _:
            raise ValueError(
                f"boundary{arguments!r}: write boundary(f), boundary('x', f) or "
                "boundary('x', f, at=1.0)"
            )
    if at is not None and coordinate is None:
        raise ValueError(f"boundary(f, at={at!r}): say which coordinate, boundary('x', f, at=...)")
    try:
        end = None if at is None else float(at)
    except (TypeError, ValueError):
        raise ValueError(
            f"boundary({coordinate!r}, at={at!r}): give one end of {coordinate}, a number"
        ) from None
    return Condition("boundary", _checked("boundary", residual), coordinate, end)


def periodic_sides(
    coordinate: str, *, order: int = 1, fields: Sequence[str] | None = None
) -> Condition:
    """A soft periodic condition: the fields agree on both sides of a coordinate.

    At points of the lower side and those opposite to them the residuals are
    ∂ᵏu/∂xᵏ(lower) - ∂ᵏu/∂xᵏ(upper) for k = 0, ..., order, for each field u: one equation each.
    A coordinate declared with `poise.periodic` is periodic exactly and needs no condition; this
    one serves where the network cannot be made periodic, and where only some fields are. It
    costs a propagation over two points for each point drawn.

    Parameters
    ----------
    coordinate
        Whose two sides; time is allowed.
    order
        Highest derivative along the coordinate that agrees. An equation of order n in the
        coordinate needs n - 1.
    fields
        Which fields; all if left out.

    Raises
    ------
    ValueError
        For arguments of another kind; by `poise.Problem` for unknown names, and for a coordinate
        that is declared periodic.
    """
    if not isinstance(coordinate, str):
        raise ValueError(f"periodic_sides({coordinate!r}): name one coordinate, such as 'x'")
    if isinstance(order, bool) or not isinstance(order, int) or order < 0:
        raise ValueError(
            f"periodic_sides({coordinate!r}, order={order!r}): give the highest derivative that "
            "agrees, a whole number such as 0 or 1"
        )
    if fields is not None and (
        isinstance(fields, str)
        or not isinstance(fields, Sequence)
        or not fields
        or not all(isinstance(name, str) for name in fields)
    ):
        raise ValueError(
            f"periodic_sides({coordinate!r}, fields={fields!r}): give a list of names, such as "
            "['u'], or leave it out for all fields"
        )
    chosen = None if fields is None else tuple(dict.fromkeys(fields))
    return Condition("periodic", coordinate=coordinate, order=order, fields=chosen)


def data(values: Mapping[str, Any]) -> Condition:
    """Measured values: the fields equal them at given points.

    Parameters
    ----------
    values
        An array for every coordinate and for at least one field, all of one length. Entries of
        a field that were not measured have to be left out together with their coordinates: NaN
        is an error.
    """
    if not isinstance(values, Mapping):
        raise ValueError(
            f"data({type(values).__name__}): give a mapping of names to arrays, "
            "data({'t': ..., 'x': ..., 'u': ...})"
        )
    arrays = {}
    for name, array in values.items():
        try:
            arrays[name] = np.asarray(array)
        except ValueError as error:
            raise ValueError(f"data[{name!r}] is not an array of numbers: {error}") from None
    return Condition("data", values=arrays)


def _checked(kind: str, residual: Any) -> Residual:
    if not callable(residual):
        raise ValueError(
            f"{kind}({residual!r}): expected a function such as lambda u, x: u - x, "
            f"got {type(residual).__name__}"
        )
    return residual


def argument_names(residual: Residual) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the arguments that must be filled in, and of those with a default.

    Raises
    ------
    ValueError
        For ``*args``, ``**kwargs`` and positional-only arguments, which have no name to fill,
        and for built-in functions that do not tell their arguments.
    """
    try:
        signature = inspect.signature(residual)
    except (TypeError, ValueError):
        raise ValueError(
            f"the arguments of {residual!r} are not known; wrap it, as in lambda u, x: ..."
        ) from None
    required, optional = [], []
    for name, parameter in signature.parameters.items():
        if parameter.kind in (
            inspect.Parameter.VAR_POSITIONAL,
            inspect.Parameter.VAR_KEYWORD,
            inspect.Parameter.POSITIONAL_ONLY,
        ):
            raise ValueError(
                f"argument {str(parameter)!r} cannot be filled in by name; "
                "list the fields and coordinates that the function uses"
            )
        (required if parameter.default is inspect.Parameter.empty else optional).append(name)
    return tuple(required), tuple(optional)
