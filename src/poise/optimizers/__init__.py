"""Optimizers: they see losses and gradients at frozen points and weights, and no physics."""

from poise.optimizers.first_order import Adam, FirstOrder, Optax
from poise.optimizers.optimizer import Optimizer, View, weighted_sum

__all__ = ["Adam", "FirstOrder", "Optax", "Optimizer", "View", "weighted_sum"]
