"""The box: a product of intervals, one a coordinate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class Periodic(NamedTuple):
    """The ends of a periodic coordinate, which are one point. Made by `periodic`."""

    lower: float
    upper: float

    def __repr__(self) -> str:
        return f"periodic({self.lower!r}, {self.upper!r})"


def periodic(lower: float, upper: float) -> Periodic:
    """Declare a coordinate periodic: ``coordinates={"t": (0, 1), "x": poise.periodic(-1, 1)}``.

    The network gets it through sines and cosines, so that the fields repeat with the period
    upper - lower, all their derivatives included, and no term of the loss is needed for it. Give
    it no boundary condition; for a periodic time there is no initial condition either.

    Parameters
    ----------
    lower, upper
        Ends of one period, finite numbers, the lower one first. They are checked where they are
        used, with the name of the coordinate: by `poise.Problem`.
    """
    return Periodic(lower, upper)


def gathered(share: Float[Array, " N"], edges: float) -> Float[Array, " N"]:
    """Evenly spread numbers of [0, 1] moved towards both ends: (1 - e) s + e (1 - cos πs)/2.

    At the ends they lie 1/(1 - e) times as densely as evenly spread ones; with e = 1 they have
    the arcsine density of Chebyshev's points.
    """
    return (1 - edges) * share + edges * (0.5 - 0.5 * jnp.cos(jnp.pi * share))


@dataclass(frozen=True)
class Patch:
    """A piece of a box: the whole of it, or a side, on which one coordinate is fixed.

    Attributes
    ----------
    lower, upper
        Ends for each coordinate; equal where the coordinate is fixed.
    normal
        On a side, the coordinate that is fixed and the sign of the outward normal along it.
    around
        Positions of the periodic coordinates, which have no ends.
    """

    lower: tuple[float, ...]
    upper: tuple[float, ...]
    normal: tuple[str, int] | None = None
    around: tuple[int, ...] = ()

    @property
    def free(self) -> tuple[int, ...]:
        """Positions of the coordinates that vary."""
        ends = zip(self.lower, self.upper, strict=True)
        return tuple(i for i, (low, high) in enumerate(ends) if low < high)

    @property
    def inside(self) -> bool:
        """Whether all coordinates vary: no side, nor the initial time."""
        return len(self.free) == len(self.lower)

    def from_unit(self, unit: Float[Array, "free N"], edges: float = 0.0) -> Float[Array, "d N"]:
        """Map points of the unit cube onto the patch, one point a column.

        The dtype is kept. Ends are hit exactly: fixed coordinates are exact, and 0 maps to
        `lower`. With `edges` above 0 points gather at the ends (`gathered`), but for those of
        periodic coordinates.
        """
        rows, taken = [], 0
        for axis, (low, high) in enumerate(zip(self.lower, self.upper, strict=True)):
            if low < high:
                share = unit[taken]
                if edges and axis not in self.around:
                    share = gathered(share, edges)
                rows.append(low + (high - low) * share)
                taken += 1
            else:
                rows.append(jnp.full(unit.shape[1:], low, unit.dtype))
        return jnp.stack(rows)


@dataclass(frozen=True)
class Box:
    """A product of intervals.

    Attributes
    ----------
    names
        Of the coordinates, in the order of a point's entries.
    lower, upper
        Ends for each coordinate.
    periodic
        Names of the periodic coordinates. Their two ends are one point, and they may take any
        finite value.

    Raises
    ------
    ValueError
        If an interval is empty, reversed or not finite.
    """

    names: tuple[str, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    periodic: tuple[str, ...] = ()

    @classmethod
    def from_intervals(cls, intervals: Mapping[str, tuple[float, float]]) -> Box:
        """Build from ``{"t": (0, 1), "x": periodic(-1, 1)}``."""
        lower, upper = [], []
        for name, interval in intervals.items():
            try:
                low, high = (float(end) for end in interval)
                if any(isinstance(part, str) for part in (interval, *interval)):
                    raise TypeError  # "01" and ("0", "1") have two numbers in them
            except (TypeError, ValueError, OverflowError):
                raise ValueError(
                    f"coordinate {name!r}: {interval!r} is not an interval; "
                    "give its two ends, (lower, upper)"
                ) from None
            if not (math.isfinite(low) and math.isfinite(high)):
                raise ValueError(f"coordinate {name!r}: the ends of {interval!r} must be finite")
            if low >= high:
                hint = f"; did you mean ({high:g}, {low:g})?" if low > high else ""
                raise ValueError(
                    f"coordinate {name!r}: the interval ({low:g}, {high:g}) must have its lower "
                    f"end first and be longer than zero{hint}"
                )
            lower.append(low)
            upper.append(high)
        repeating = tuple(name for name, ends in intervals.items() if isinstance(ends, Periodic))
        return cls(tuple(intervals), tuple(lower), tuple(upper), repeating)

    @property
    def dimension(self) -> int:
        return len(self.names)

    @property
    def _around(self) -> tuple[int, ...]:
        return tuple(self.names.index(name) for name in self.periodic)

    def interior(self) -> Patch:
        """The whole box."""
        return Patch(self.lower, self.upper, around=self._around)

    def side(self, name: str, sign: int) -> Patch:
        """The side at the upper (`sign` = 1) or lower (-1) end of a coordinate."""
        axis = self.names.index(name)
        end = self.upper[axis] if sign > 0 else self.lower[axis]
        lower, upper = list(self.lower), list(self.upper)
        lower[axis] = upper[axis] = end
        return Patch(tuple(lower), tuple(upper), (name, sign), self._around)

    def ends(self, name: str) -> tuple[float, float]:
        axis = self.names.index(name)
        return self.lower[axis], self.upper[axis]

    def contains(self, name: str, values: np.ndarray) -> np.ndarray:
        """Whether values of a coordinate belong to the box, ends included; of any shape.

        An end may have been rounded to float32. A periodic coordinate takes any finite value.
        """
        if name in self.periodic:
            return np.isfinite(values)
        low, high = self.ends(name)
        slack = 1e-6 * (high - low)
        return (values >= low - slack) & (values <= high + slack)

    def wrapped(self, name: str, values: np.ndarray) -> np.ndarray:
        """The same points with a periodic coordinate between its ends; of any shape, float64.

        Values between the ends, and all values of other coordinates, are left as they are. To
        be done before rounding to float32, where many periods away little of the phase is left.
        """
        low, high = self.ends(name)
        if name not in self.periodic:
            return values
        inside = (values >= low) & (values <= high)
        return np.where(inside, values, low + np.mod(values - low, high - low))

    def __str__(self) -> str:
        """In words: ``t in (0, 1), x in [-1, 1), periodic``."""
        parts = []
        for name, low, high in zip(self.names, self.lower, self.upper, strict=True):
            around = "[{:g}, {:g}), periodic" if name in self.periodic else "({:g}, {:g})"
            parts.append(f"{name} in {around.format(low, high)}")
        return ", ".join(parts)
