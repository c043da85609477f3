"""A reference solution that is computed when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np


@dataclass(frozen=True)
class Reference:
    """A function of t and x that takes seconds to prepare and is then fast.

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

    def __call__(self, t: Any, x: Any) -> np.ndarray:
        """u at points; t and x of one shape, float64."""
        return self.prepare()(t, x)
