"""Networks: functions of one point, shape (d,), to the fields there, shape (m,)."""

from poise.networks.architecture import Architecture
from poise.networks.embedding import Embedding
from poise.networks.grow import grow
from poise.networks.mlp import MLP, Perceptron
from poise.networks.siren import SIREN

__all__ = ["MLP", "SIREN", "Architecture", "Embedding", "Perceptron", "grow"]
