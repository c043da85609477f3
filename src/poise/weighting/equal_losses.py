"""Equal losses: every weighted term contributes the same to the total.

    λ̂ₖ = (mean over j of Lⱼ) / Lₖ,

the simplest of the rules that look at loss values alone: minimizing Σ log Lₖ by gradient steps
has these weights (the geometric-mean loss of Chennupati et al., "MultiNet++", CVPR Workshops
2019, up to a common factor). It knows nothing of gradients, and it lets go of a term as soon as
that term's loss is large; it is here to compare with.

Cost: none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from poise.weighting.averaged import Averaged, Estimate, shares
from poise.weighting.weighting import Signals, Weights


@dataclass(frozen=True)
class EqualLosses(Averaged):
    """λ̂ₖ = meanⱼ(Lⱼ) / Lₖ."""

    recipe: ClassVar[str] = "equal-losses"
    needs: ClassVar[frozenset[str]] = frozenset({"losses"})

    def estimate(self, signals: Signals, weights: Weights, memory: Any) -> Estimate:
        assert signals.losses is not None
        return Estimate(shares(signals.losses))
