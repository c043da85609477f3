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
    gradient
        Σ λₖ ∇Lₖ, in the layout of the parameters that the optimizer is given.
    """

    losses: Mapping[str, Array]
    gradients: Mapping[str, Any]
    weights: Mapping[str, Array]
    gradient: Any

    @property
    def loss(self) -> Array:
        """Σ λₖ Lₖ."""
        return weighted_sum(self.weights, self.losses)


def weighted_sum(weights: Mapping[str, Array], items: Mapping[str, Any]) -> Any:
    """Σ λₖ xₖ, leaf by leaf."""
    names = list(items)
    return jax.tree.map(
        lambda *leaves: sum(
            (weights[n] * leaf for n, leaf in zip(names[1:], leaves[1:], strict=True)),
            start=weights[names[0]] * leaves[0],
        ),
        *(items[n] for n in names),
    )


class Optimizer(abc.ABC):
    """A rule that improves parameters.

    Attributes
    ----------
    flat
        Whether it is given the parameters as one vector, or, for a rule that looks at the
        shapes of arrays, as the tree they are. Networks here have many small arrays, and a pass
        over a dozen of them costs more than one over all.
    """

    flat: bool = True

    @abc.abstractmethod
    def init(self, params: Any) -> Any:
        """The state for these parameters: arrays only."""

    @abc.abstractmethod
    def step(self, params: Any, state: Any, view: View) -> tuple[Any, Any, dict[str, Array]]:
        """New parameters, new state, and figures worth knowing. Pure."""
