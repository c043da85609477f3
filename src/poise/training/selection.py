"""Which parameters of a run to keep: the choice of the best model.

The exact solution takes no part in it. On points of its own, fixed for the run, each term's
loss is divided by its value before training, and the best model is the one with the smallest

    C = Σₖ Lₖ / Lₖ⁰.

The loss weights do not enter, so C means the same at every step of a run and for every weighting.
Every term enters, relative to what the untrained network got: a model that solves the equation
but ignores a condition keeps that condition's ratio near one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


def criterion(held_out: Mapping[str, float], untrained: Mapping[str, float]) -> float:
    """C = Σₖ Lₖ / Lₖ⁰ over the terms, nondimensional; infinite where a loss is not finite.

    A term that the untrained network happens to fulfil exactly enters as it is.
    """
    total = 0.0
    for term, loss in held_out.items():
        scale = float(untrained[term])
        total += float(loss) / (scale if scale > 0 else 1.0)
    return total if np.isfinite(total) else np.inf


@dataclass
class Best:
    """The best model so far."""

    params: Any
    step: int = 0
    value: float = field(default=np.inf)

    def consider(self, params: Any, step: int, value: float) -> bool:
        """Keep `params` if their criterion is the smallest yet."""
        if not value < self.value:
            return False
        self.params, self.step, self.value = params, step, value
        return True
