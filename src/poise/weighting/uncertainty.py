"""Uncertainty weighting: log-variances that are learned along with the network.

Kendall, Gal & Cipolla, "Multi-task learning using uncertainty to weigh losses for scene geometry
and semantics", CVPR 2018, eq. (7); for these networks Xiang, Peng, Liu & Yao, "Self-adaptive loss
balanced physics-informed neural networks", Neurocomputing 496 (2022) 11-34. Every term is taken
as the negative logarithm of a Gaussian likelihood of variance exp(sₖ):

    min over s of  Σₖ exp(-sₖ) Lₖ + sₖ,        λₖ = exp(-sₖ),

up to a common factor 1/2. Its minimum over s alone is λₖ = 1/Lₖ: the rule goes towards equal
weighted losses (`EqualLosses` jumps there), as fast as `learning_rate` lets it.

Deviation. The sₖ are stepped by an Adam of their own (optax), not by the network's optimizer,
so that the rule serves every optimizer.

Cost: none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from poise.weighting.averaged import Averaged, Estimate
from poise.weighting.weighting import Signals, Weights


@dataclass(frozen=True)
class Uncertainty(Averaged):
    """λₖ = exp(-sₖ), s by gradient descent on Σₖ exp(-sₖ) Lₖ + sₖ.

    Attributes
    ----------
    ema
        0: s moves by small steps as it is.
    learning_rate
        Of s, at each update.

    Raises
    ------
    ValueError
        For a setting outside its range.
    """

    ema: float = 0.0
    learning_rate: float = 1e-3

    recipe: ClassVar[str] = "uncertainty"
    needs: ClassVar[frozenset[str]] = frozenset({"losses"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"Uncertainty(learning_rate={self.learning_rate!r}): must be positive")

    def remember(self, names: Sequence[str], dtype: Any) -> Any:
        """s, and the state of its optimizer."""
        start = {name: jnp.zeros((), dtype) for name in names}
        return start, optax.adam(self.learning_rate).init(start)

    def estimate(self, signals: Signals, weights: Weights, memory: Any) -> Estimate:
        assert signals.losses is not None
        logs, state = memory
        slopes = {name: 1 - jnp.exp(-s) * signals.losses[name] for name, s in logs.items()}
        moves, state = optax.adam(self.learning_rate).update(slopes, state)
        logs = optax.apply_updates(logs, moves)
        return Estimate(jax.tree.map(lambda s: jnp.exp(-s), logs), (logs, state))
