"""poise: physics-informed neural networks that keep the terms of their loss in balance."""

from poise import networks, optimizers, points, weighting, zoo
from poise.geometry import periodic
from poise.problem import Problem
from poise.solution import Solution
from poise.terms import boundary, data, initial, interior, periodic_sides
from poise.training.run import train
from poise.training.solve import solve

__version__ = "0.1.0"

__all__ = [
    "Problem",
    "Solution",
    "boundary",
    "data",
    "initial",
    "interior",
    "networks",
    "optimizers",
    "periodic",
    "periodic_sides",
    "points",
    "solve",
    "train",
    "weighting",
    "zoo",
]
