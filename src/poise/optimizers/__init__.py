"""Optimizers: they see losses and gradients at frozen points and weights, and no physics."""

from poise.optimizers.broyden import SSBFGS, SSBroyden
from poise.optimizers.first_order import Adam, FirstOrder, Optax
from poise.optimizers.gauss_newton import GaussNewton
from poise.optimizers.lbfgs import LBFGS
from poise.optimizers.optimizer import Optimizer, View, weighted_sum
from poise.optimizers.soap import SOAP

__all__ = [
    "LBFGS",
    "SOAP",
    "SSBFGS",
    "Adam",
    "FirstOrder",
    "GaussNewton",
    "Optax",
    "Optimizer",
    "SSBroyden",
    "View",
    "weighted_sum",
]
