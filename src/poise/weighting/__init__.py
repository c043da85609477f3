"""Loss weights: how the terms of the loss are kept in balance."""

from poise.weighting.annealing import Annealing
from poise.weighting.fixed import Fixed
from poise.weighting.weighting import Signals, Weighting, Weights

__all__ = ["Annealing", "Fixed", "Signals", "Weighting", "Weights"]
