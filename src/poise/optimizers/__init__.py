"""Optimizers: they see losses and gradients at frozen points and weights, and no physics."""

from poise.optimizers.first_order import Adam, FirstOrder, Optax
from poise.optimizers.optimizer import Optimizer, View

__all__ = ["Adam", "FirstOrder", "Optax", "Optimizer", "View"]
