"""The contract of every optimizer: ``init(params) -> state``, ``step(params, state, view)``."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from jaxtyping import Array


class View(NamedTuple):
    """What an optimizer may look at, at the step's points and weights.

    Attributes
    ----------
    losses, gradients
        Lₖ and ∇Lₖ of each term, unweighted.
    weights
        λₖ of each term.
    """

    losses: Mapping[str, Array]
    gradients: Mapping[str, Any]
    weights: Mapping[str, Array]

    @property
    def loss(self) -> Array:
        """Σ λₖ Lₖ."""
        return _combined(self.weights, self.losses)

    @property
    def gradient(self) -> Any:
        """Σ λₖ ∇Lₖ."""
        return _combined(self.weights, self.gradients)


def _combined(weights: Mapping[str, Array], items: Mapping[str, Any]) -> Any:
    names = list(items)
    return jax.tree.map(
        lambda *leaves: sum(
            (weights[n] * leaf for n, leaf in zip(names[1:], leaves[1:], strict=True)),
            start=weights[names[0]] * leaves[0],
        ),
        *(items[n] for n in names),
    )


class Optimizer(abc.ABC):
    """A rule that improves parameters."""

    @abc.abstractmethod
    def init(self, params: Any) -> Any:
        """The state for these parameters: arrays only."""

    @abc.abstractmethod
    def step(self, params: Any, state: Any, view: View) -> tuple[Any, Any, dict[str, Array]]:
        """New parameters, new state, and figures worth knowing. Pure."""
