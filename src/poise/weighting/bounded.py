"""What all rules that change weights share: bounds, a warm-up, a step from which on they stay."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from poise.weighting.weighting import Weighting


@dataclass(frozen=True, kw_only=True)
class Bounded(Weighting):
    """Weights of terms or of points that stay within bounds, and move between two steps.

    Attributes
    ----------
    minimum, maximum
        Bounds on every weight.
    warmup
        Steps for which the weights stay as they begin, while the rule already looks on.
    freeze
        Step from which on the weights stay as they are; None for never.

    Raises
    ------
    ValueError
        For a setting outside its range.
    """

    minimum: float = 0.0
    maximum: float = math.inf
    warmup: int = 0
    freeze: int | None = None

    def __post_init__(self) -> None:
        name = type(self).__name__
        if not 0 <= self.minimum <= self.maximum:
            raise ValueError(
                f"{name}(minimum={self.minimum!r}, maximum={self.maximum!r}): "
                "must satisfy 0 <= minimum <= maximum"
            )
        for setting in ("warmup", "freeze"):
            value = getattr(self, setting)
            if setting == "freeze" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ValueError(f"{name}({setting}={value!r}): must be a whole number of steps")

    def bounded(self, weights: Array) -> Array:
        """Within `minimum` and `maximum`."""
        return jnp.clip(weights, self.minimum, self.maximum)

    def frozen(self, step: Int[Array, ""]) -> Bool[Array, ""]:
        """Whether the weights stay as they are from this step on."""
        return jnp.asarray(False) if self.freeze is None else step >= self.freeze

    def moving(self, step: Int[Array, ""]) -> Bool[Array, ""]:
        """Whether the weights change at this step."""
        return (step >= self.warmup) & ~self.frozen(step)
