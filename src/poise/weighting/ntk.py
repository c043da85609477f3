"""Weights from the neural tangent kernel: every term learns at the same mean rate.

Wang, Yu & Perdikaris, "When and why PINNs fail to train: A neural tangent kernel perspective",
J. Comput. Phys. 449 (2022) 110768, eqs. (6.5)-(6.6):

    λₖ = Σⱼ tr Kⱼⱼ / tr Kₖₖ,       Kₖₖ = Jₖ Jₖᵀ.

The trace of Kₖₖ is the sum of the squared norms of the rows of Jₖ, the gradients of the term's
residuals by the parameters. Where the optimizer has the Jacobian at hand it costs nothing more;
with a first-order optimizer it takes one reverse sweep at every point. Or it is estimated by
`probes` random vectors (Hutchinson), for the cost of as many gradients.

Deviations. Losses here are means, so the *mean* squared row norm stands for the trace: terms
with more points do not weigh less. The sum over j is divided by the number of terms, so that
equal terms have weights 1; only the ratio of the weights to each other and to the learning rate
matters. Weights are averaged over steps (`ema`), the first estimate taken whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from poise.weighting.averaged import Averaged, Estimate, shares
from poise.weighting.weighting import Signals, Weighting, Weights


@dataclass(frozen=True)
class NTK(Averaged):
    """λ̂ₖ = meanⱼ(tⱼ) / tₖ with tₖ the mean squared row norm of the term's Jacobian.

    Attributes
    ----------
    probes
        Random vectors by which traces are estimated; None for exact ones, from the rows. Where
        the Jacobian is at hand exact ones are free, and taken whatever this says.

    Raises
    ------
    ValueError
        For a setting outside its range.
    """

    probes: int | None = None

    recipe: ClassVar[str] = "ntk"
    needs: ClassVar[frozenset[str]] = frozenset({"traces"})

    def __post_init__(self) -> None:
        super().__post_init__()
        probes = self.probes
        if probes is not None and (
            isinstance(probes, bool) or not isinstance(probes, int) or probes < 1
        ):
            raise ValueError(f"NTK(probes={probes!r}): must be a positive whole number, or None")

    @classmethod
    def usual(cls) -> Weighting:
        """Traces cost several gradients: estimated, and seldom, as those who use them do."""
        return cls(every=100, probes=8)

    @property
    def trace_probes(self) -> int | None:
        return self.probes

    def estimate(self, signals: Signals, weights: Weights, memory: Any) -> Estimate:
        assert signals.traces is not None
        return Estimate(shares(signals.traces))
