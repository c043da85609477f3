"""Loss weights: how the terms of the loss are kept in balance."""

from poise.weighting import statistics
from poise.weighting.annealing import Annealing
from poise.weighting.augmented_lagrangian import AugmentedLagrangian
from poise.weighting.averaged import Averaged, Estimate
from poise.weighting.causal import Causal
from poise.weighting.config import ConFIG
from poise.weighting.direction import Direction
from poise.weighting.equal_losses import EqualLosses
from poise.weighting.fixed import Fixed
from poise.weighting.grad_norm import GradNorm
from poise.weighting.inverse_dirichlet import InverseDirichlet
from poise.weighting.ntk import NTK
from poise.weighting.pcgrad import PCGrad
from poise.weighting.pointwise import Pointwise
from poise.weighting.relobralo import ReLoBRaLo
from poise.weighting.residual_attention import ResidualAttention
from poise.weighting.self_adaptive import SelfAdaptive
from poise.weighting.soft_adapt import SoftAdapt
from poise.weighting.uncertainty import Uncertainty
from poise.weighting.weighting import Signals, Weighting, Weights

__all__ = [
    "NTK",
    "Annealing",
    "AugmentedLagrangian",
    "Averaged",
    "Causal",
    "ConFIG",
    "Direction",
    "EqualLosses",
    "Estimate",
    "Fixed",
    "GradNorm",
    "InverseDirichlet",
    "PCGrad",
    "Pointwise",
    "ReLoBRaLo",
    "ResidualAttention",
    "SelfAdaptive",
    "Signals",
    "SoftAdapt",
    "Uncertainty",
    "Weighting",
    "Weights",
    "statistics",
]
