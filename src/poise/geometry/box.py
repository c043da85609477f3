"""The box: a product of intervals, one a coordinate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float


@dataclass(frozen=True)
class Patch:
    """A piece of a box: the whole of it, or a side, on which one coordinate is fixed.

    Attributes
    ----------
    lower, upper
        Ends for each coordinate; equal where the coordinate is fixed.
    normal
        On a side, the coordinate that is fixed and the sign of the outward normal along it.
    """

    lower: tuple[float, ...]
    upper: tuple[float, ...]
    normal: tuple[str, int] | None = None

    @property
    def free(self) -> tuple[int, ...]:
        """Positions of the coordinates that vary."""
        ends = zip(self.lower, self.upper, strict=True)
        return tuple(i for i, (low, high) in enumerate(ends) if low < high)

    def from_unit(self, unit: Float[Array, "free N"]) -> Float[Array, "d N"]:
        """Map points of the unit cube onto the patch, one point a column.

        The dtype is kept. Ends are hit exactly: fixed coordinates are exact, and 0 maps to
        `lower`.
        """
        rows, taken = [], 0
        for low, high in zip(self.lower, self.upper, strict=True):
            if low < high:
                rows.append(low + (high - low) * unit[taken])
                taken += 1
            else:
                rows.append(jnp.full(unit.shape[1:], low, unit.dtype))
        return jnp.stack(rows)


@dataclass(frozen=True)
class Box:
    """A product of intervals.

    Raises
    ------
    ValueError
        If an interval is empty, reversed or not finite.
    """

    names: tuple[str, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]

    @classmethod
    def from_intervals(cls, intervals: Mapping[str, tuple[float, float]]) -> Box:
        """Build from ``{"t": (0, 1), "x": (-1, 1)}``."""
        lower, upper = [], []
        for name, interval in intervals.items():
            try:
                low, high = (float(end) for end in interval)
                if isinstance(interval, str):  # "01" has two numbers in it
                    raise TypeError
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
        return cls(tuple(intervals), tuple(lower), tuple(upper))

    @property
    def dimension(self) -> int:
        return len(self.names)

    def interior(self) -> Patch:
        """The whole box."""
        return Patch(self.lower, self.upper)

    def side(self, name: str, sign: int) -> Patch:
        """The side at the upper (`sign` = 1) or lower (-1) end of a coordinate."""
        axis = self.names.index(name)
        end = self.upper[axis] if sign > 0 else self.lower[axis]
        lower, upper = list(self.lower), list(self.upper)
        lower[axis] = upper[axis] = end
        return Patch(tuple(lower), tuple(upper), (name, sign))

    def ends(self, name: str) -> tuple[float, float]:
        axis = self.names.index(name)
        return self.lower[axis], self.upper[axis]
