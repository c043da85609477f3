"""Loss weights: how the terms of the loss are kept in balance."""

from poise.weighting.annealing import Annealing
from poise.weighting.averaged import Averaged
from poise.weighting.equal_losses import EqualLosses
from poise.weighting.fixed import Fixed
from poise.weighting.grad_norm import GradNorm
from poise.weighting.ntk import NTK
from poise.weighting.weighting import Signals, Weighting, Weights

__all__ = [
    "NTK",
    "Annealing",
    "Averaged",
    "EqualLosses",
    "Fixed",
    "GradNorm",
    "Signals",
    "Weighting",
    "Weights",
]
