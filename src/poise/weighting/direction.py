"""Rules that set no weights: they make one direction of the gradients of all terms."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Array, Float

from poise.weighting.weighting import Signals, Weighting, Weights, ones


@dataclass(frozen=True)
class Direction(Weighting):
    """A rule that puts a vector of its own in the place of Σ λₖ ∇Lₖ. All λₖ stay 1.

    For optimizers that look at nothing but this vector. Those that compare losses or work on the
    residuals minimize one weighted sum, which a direction is not the gradient of; with them it is
    refused before training.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gradients"})

    @property
    def interval(self) -> int:
        return 0

    def remember(self) -> Any:
        """What there is to remember before the first step: a pytree of arrays."""
        return ()

    @abc.abstractmethod
    def combine(
        self, gradients: Float[Array, "K P"], memory: Any
    ) -> tuple[Float[Array, " P"], Any]:
        """The vector that the optimizer takes for the gradient. Pure.

        Parameters
        ----------
        gradients
            ∇Lₖ, unweighted, one a row.
        memory
            What the step before left.
        """

    def init(self, names: Sequence[str], dtype: Any = None) -> tuple[Weights, Any]:
        return ones(names, dtype), self.remember()

    def update(self, state: Any, signals: Signals) -> tuple[Weights, Any, dict[str, Array]]:
        assert signals.gradients is not None
        return ones(list(signals.gradients), None), state, {}
