"""Loss weights: how the terms of the loss are kept in balance.

The index of what there is. A rule that has a line here, and says by `recipe` what it is called, is
on the command line, in comparisons, and in the checks that all rules go through.
"""

from poise.weighting import statistics as statistics
from poise.weighting.annealing import Annealing as Annealing
from poise.weighting.augmented_lagrangian import AugmentedLagrangian as AugmentedLagrangian
from poise.weighting.averaged import Averaged as Averaged
from poise.weighting.averaged import Estimate as Estimate
from poise.weighting.bounded import Bounded as Bounded
from poise.weighting.causal import Causal as Causal
from poise.weighting.config import ConFIG as ConFIG
from poise.weighting.direction import Direction as Direction
from poise.weighting.equal_losses import EqualLosses as EqualLosses
from poise.weighting.fixed import Fixed as Fixed
from poise.weighting.grad_norm import GradNorm as GradNorm
from poise.weighting.inverse_dirichlet import InverseDirichlet as InverseDirichlet
from poise.weighting.ntk import NTK as NTK
from poise.weighting.pcgrad import PCGrad as PCGrad
from poise.weighting.pointwise import Pointwise as Pointwise
from poise.weighting.relobralo import ReLoBRaLo as ReLoBRaLo
from poise.weighting.residual_attention import ResidualAttention as ResidualAttention
from poise.weighting.self_adaptive import SelfAdaptive as SelfAdaptive
from poise.weighting.soft_adapt import SoftAdapt as SoftAdapt
from poise.weighting.uncertainty import Uncertainty as Uncertainty
from poise.weighting.weighting import Signals as Signals
from poise.weighting.weighting import Weighting as Weighting
from poise.weighting.weighting import Weights as Weights
