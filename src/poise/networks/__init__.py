"""Networks: functions of one point, shape (d,), to the fields there, shape (m,)."""

from poise.networks.architecture import Architecture
from poise.networks.mlp import MLP, Perceptron

__all__ = ["MLP", "Architecture", "Perceptron"]
