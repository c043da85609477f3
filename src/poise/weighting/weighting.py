"""The contract of every rule that sets loss weights.

A rule is a pair of pure functions, as in optax: ``init(names) -> (weights, state)`` and
``update(state, signals) -> (weights, state, info)``. The state holds arrays only, so that a
checkpoint holds it whole. A rule says what it wants to know (`needs`) and how often (`interval`);
nothing else is computed for it. Rules of points (`poise.weighting.Pointwise`) and directions
(`poise.weighting.Direction`) have functions of their own beside these.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

Weights = dict[str, Float[Array, ""]]
"""λₖ by term."""


class Signals(NamedTuple):
    """What a rule may look at. Entries it did not ask for are None.

    Attributes
    ----------
    losses
        Lₖ of each term, unweighted.
    gradients
        ∇Lₖ of each term, unweighted: a pytree of arrays, weight matrices of shape
        (outputs, inputs) and biases of shape (outputs,).
    traces
        tr Kₖ / Nₖ of each term: the mean squared norm of the gradients of its residuals, one at
        each point, added over the term's parts as its loss is. Kₖ is the term's block of the
        neural tangent kernel. Exact or estimated, as the rule says by `trace_probes`.
    """

    losses: Mapping[str, Array] | None = None
    gradients: Mapping[str, Any] | None = None
    traces: Mapping[str, Array] | None = None


@dataclass(frozen=True)
class Weighting(abc.ABC):
    """A rule for loss weights."""

    needs: ClassVar[frozenset[str]] = frozenset()

    recipe: ClassVar[str] = ""
    """Name of the recipe that trains with it, on the command line; empty for none."""

    @classmethod
    def usual(cls) -> Weighting:
        """The rule with the settings that its recipe has."""
        return cls()

    @property
    def trace_probes(self) -> int | None:
        """How many random vectors are to estimate the traces; None for exact ones."""
        return None

    @property
    @abc.abstractmethod
    def interval(self) -> int:
        """Steps from one update to the next; 0 for never."""

    @abc.abstractmethod
    def init(self, names: Sequence[str], dtype: Any = None) -> tuple[Weights, Any]:
        """Weights at the start, and the state.

        Parameters
        ----------
        names
            The loss terms.
        dtype
            Of the weights; JAX's default float if None.

        Raises
        ------
        ValueError
            If the rule speaks of a term that does not exist.
        """

    @abc.abstractmethod
    def update(self, state: Any, signals: Signals) -> tuple[Weights, Any, dict[str, Array]]:
        """Weights from now on, the state, and figures worth knowing. Pure."""


def check_names(rule: str, said: Sequence[str], names: Sequence[str]) -> None:
    """Refuse terms that do not exist."""
    for name in said:
        if name not in names:
            raise ValueError(
                f"{rule}: there is no loss term {name!r}; the terms are {', '.join(names)}"
            )


def ones(names: Sequence[str], dtype: Any) -> Weights:
    """λₖ = 1."""
    dtype = jnp.result_type(float) if dtype is None else dtype
    return {name: jnp.ones((), dtype) for name in names}
