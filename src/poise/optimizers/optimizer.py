"""The contract of every optimizer: ``init(params) -> state``, ``step(params, state, view)``."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool


class View(NamedTuple):
    """What an optimizer may look at, at the step's points and weights.

    Points and weights are frozen for the step: `rows` and `value` may be called at any
    parameters, and mean the same function each time.

    Attributes
    ----------
    losses, gradients
        Lₖ and ∇Lₖ of each term, unweighted.
    weights
        λₖ of each term.
    gradient
        Σ λₖ ∇Lₖ, in the layout of the parameters that the optimizer is given.
    changed
        Whether points or weights differ from those of the step before: what an optimizer
        remembers of the loss's shape is then of another function.
    rows
        Parameters to the residual vector r(θ), shape (M,), scaled so that ‖r(θ)‖² = Σ λₖ Lₖ:
        a row of term k at one of N points is √(λₖ/N) times the residual there.
    residual
        r at the step's parameters.
    jacobian
        J = ∂r/∂θ there, shape (M, P), where the optimizer holds it whole.
    gram
        Makes JᵀJ, shape (P, P), without ever holding J.
    """

    losses: Mapping[str, Array]
    gradients: Mapping[str, Any]
    weights: Mapping[str, Array]
    gradient: Any
    changed: Bool[Array, ""] | bool = False
    rows: Callable[[Any], Array] | None = None
    residual: Array | None = None
    jacobian: Array | None = None
    gram: Callable[[], Array] | None = None

    @property
    def loss(self) -> Array:
        """Σ λₖ Lₖ at the step's parameters."""
        return weighted_sum(self.weights, self.losses)

    def value(self, params: Any) -> Array:
        """Σ λₖ Lₖ at any parameters; differentiable."""
        assert self.rows is not None
        return jnp.sum(self.rows(params) ** 2)


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
    needs
        What it looks at beyond the gradient: "rows" for the loss at other parameters (line
        searches), "jacobian" for the residuals' Jacobian. Either makes sense only while the
        points stay, so with points drawn afresh at every step it is refused.
    """

    flat: bool = True
    needs: ClassVar[frozenset[str]] = frozenset()

    @abc.abstractmethod
    def init(self, params: Any) -> Any:
        """The state for these parameters: arrays only."""

    @abc.abstractmethod
    def step(self, params: Any, state: Any, view: View) -> tuple[Any, Any, dict[str, Array]]:
        """New parameters, new state, and figures worth knowing. Pure."""
