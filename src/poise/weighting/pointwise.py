"""Rules that weight every residual, not every term."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from poise.weighting.weighting import Signals, Weighting, Weights, check_names, ones

Emphasis = dict[str, Float[Array, " _"]]
"""mᵢ for each row of each term."""


class TermRows(NamedTuple):
    """The residuals of one term, a row for each equation at each point.

    Attributes
    ----------
    residuals
        rᵢ.
    coordinates
        Where, by name.
    renewed
        Whether the point was drawn anew since the step before.
    """

    residuals: Float[Array, " _"]
    coordinates: Mapping[str, Float[Array, " _"]]
    renewed: Bool[Array, " _"]

    def inherited(self, former: Float[Array, " _"]) -> Float[Array, " _"]:
        """What a rule remembers of each point; of points drawn anew the mean of all."""
        return jnp.where(self.renewed, jnp.mean(former), former)


@dataclass(frozen=True)
class Pointwise(Weighting):
    """A rule for mᵢ in Lₖ = Σᵢ mᵢ rᵢ² / N. All λₖ stay 1; the history shows losses without mᵢ.

    Attributes
    ----------
    terms
        The terms whose residuals are weighted; None for the rule's own choice.

    Raises
    ------
    ValueError
        From `begin`, for a term that does not exist.
    """

    terms: Sequence[str] | None = None

    tied: ClassVar[bool] = True
    """Whether it remembers something for each point: points then have to stay."""

    def __post_init__(self) -> None:
        if isinstance(self.terms, str):
            raise ValueError(
                f"{type(self).__name__}(terms={self.terms!r}): give several, as ({self.terms!r},)"
            )
        if self.terms is not None:
            object.__setattr__(self, "terms", tuple(self.terms))

    @property
    def interval(self) -> int:
        return 0

    def init(self, names: Sequence[str], dtype: Any = None) -> tuple[Weights, Any]:
        check_names(type(self).__name__, self.terms or (), names)
        return ones(names, dtype), ()

    def update(self, state: Any, signals: Signals) -> tuple[Weights, Any, dict[str, Array]]:
        raise TypeError(f"{type(self).__name__} weights points: it has no weights of terms")

    def chosen(self, sizes: Mapping[str, int], interior: Sequence[str]) -> tuple[str, ...]:
        """The terms whose residuals are weighted."""
        del interior
        return tuple(sizes) if self.terms is None else tuple(self.terms)

    def check_coordinates(self, names: Sequence[str]) -> None:
        """Refuse a problem whose coordinates the rule has no use for.

        Parameters
        ----------
        names
            The coordinates of the problem.

        Raises
        ------
        ValueError
            If the rule speaks of a coordinate that does not exist. Here: never.
        """

    @abc.abstractmethod
    def begin(self, sizes: Mapping[str, int], interior: Sequence[str], dtype: Any) -> Any:
        """What there is to remember before the first step: a pytree of arrays.

        Parameters
        ----------
        sizes
            How many rows each term has.
        interior
            The terms that hold inside the domain.
        """

    @abc.abstractmethod
    def emphasize(self, rows: Mapping[str, TermRows], memory: Any) -> tuple[Emphasis, Any]:
        """mᵢ for this step, and what to remember. Pure. Terms without an entry have mᵢ = 1."""
