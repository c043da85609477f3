"""Derivatives of the fields: which a residual asks for, and one propagation for all of them."""

from poise.derivatives.field import Field, requested
from poise.derivatives.operator import Operator, plan_operators
from poise.derivatives.taylor import propagate

__all__ = ["Field", "Operator", "plan_operators", "propagate", "requested"]
