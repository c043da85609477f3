"""Reference solutions that are computed when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np


@dataclass(frozen=True)
class _Lazy:
    """A function of two coordinates that takes seconds to prepare and is then fast.

    Attributes
    ----------
    prepare
        Gives the function; called at the first use, and expected to keep what it computed
        (`functools.cache`).
    lazy
        Tells `poise.Problem` not to try it out when the problem is built.
    """

    prepare: Callable[[], Callable[[Any, Any], np.ndarray]]
    lazy: ClassVar[bool] = True


@dataclass(frozen=True)
class Reference(_Lazy):
    """A field of t and x."""

    def __call__(self, t: Any, x: Any) -> np.ndarray:
        """u at points; t and x of one shape, float64."""
        return self.prepare()(t, x)


@dataclass(frozen=True)
class PlaneReference(_Lazy):
    """A field of x and y."""

    def __call__(self, x: Any, y: Any) -> np.ndarray:
        """u at points; x and y of one shape, float64."""
        return self.prepare()(x, y)
