"""Rules that weight every residual, not every term."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from poise.weighting.bounded import Bounded
from poise.weighting.weighting import Signals, Weights, check_names, ones

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


class PointwiseState(NamedTuple):
    """Steps so far; the last mᵢ of a rule that is tied to its points; what the rule remembers."""

    steps: Int[Array, ""]
    emphasis: Emphasis
    memory: Any


@dataclass(frozen=True)
class Pointwise(Bounded):
    """A rule for mᵢ in Lₖ = Σᵢ mᵢ rᵢ² / N. All λₖ stay 1; the history shows losses without mᵢ.

    Attributes
    ----------
    terms
        The terms whose residuals are weighted; None for the rule's own choice.
    minimum, maximum
        Bounds on every mᵢ, once the warm-up is over.
    warmup
        Steps for which all mᵢ are 1, while the rule already looks on.
    freeze
        Step from which on each point keeps its mᵢ, and a point drawn anew has the mean of its term.
        A rule that is not tied to points keeps what it remembers instead, and its mᵢ follow from
        that. None for never.

    Raises
    ------
    ValueError
        For a setting outside its range; from `init`, for a term that does not exist.
    """

    terms: Sequence[str] | None = None

    tied: ClassVar[bool] = True
    """Whether it remembers something for each point.

    Points then have to stay, others are refused, and its recipe has such points.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
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

    def prepare(
        self, sizes: Mapping[str, int], interior: Sequence[str], dtype: Any
    ) -> PointwiseState:
        """The state before the first step. Parameters as in `begin`."""
        names = self.chosen(sizes, interior) if self.tied else ()
        emphasis = {name: jnp.ones(sizes[name], dtype) for name in names}
        memory = self.begin(sizes, interior, dtype)
        return PointwiseState(jnp.zeros((), jnp.int32), emphasis, memory)

    def weigh(
        self, rows: Mapping[str, TermRows], state: PointwiseState
    ) -> tuple[Emphasis, PointwiseState]:
        """mᵢ for this step, within bounds, warmed up and frozen as set, and the state. Pure.

        Parameters
        ----------
        rows
            Of the `chosen` terms, and of no others.
        state
            What `prepare` or the step before gave.

        Raises
        ------
        ValueError
            While it is traced, if the rule gives something else than mᵢ for these rows.
        """
        given = self.emphasize(rows, state.memory)
        if not (isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], Mapping)):
            raise ValueError(
                f"{type(self).__name__}.emphasize gave a {type(given).__name__}; expected weights "
                "by term, and what to remember"
            )
        found, memory = given
        if set(found) != set(rows):
            raise ValueError(
                f"{type(self).__name__}.emphasize gave weights for {', '.join(found) or 'no term'};"
                f" expected {', '.join(rows)}"
            )
        for name, each in found.items():
            if jnp.shape(each) != rows[name].residuals.shape:
                raise ValueError(
                    f"{type(self).__name__}.emphasize: the weights of {name!r} have the shape "
                    f"{jnp.shape(each)}; expected {rows[name].residuals.shape}, one for each row"
                )
        found = {name: self.bounded(each) for name, each in found.items()}
        early, frozen = state.steps < self.warmup, self.frozen(state.steps)
        found = {name: jnp.where(early, 1, each) for name, each in found.items()}
        if not self.tied:
            held = frozen & (state.steps > 0)  # before the first step there is nothing to hold

            def stays(new: Array, old: Array) -> Array:
                return jnp.where(held, old, new)

            memory = jax.tree.map(stays, memory, state.memory)
            return found, PointwiseState(state.steps + 1, {}, memory)
        for name, former in state.emphasis.items():
            found[name] = jnp.where(frozen, rows[name].inherited(former), found[name])
        return found, PointwiseState(state.steps + 1, found, memory)

    @abc.abstractmethod
    def begin(self, sizes: Mapping[str, int], interior: Sequence[str], dtype: Any) -> Any:
        """What there is to remember before the first step: a pytree of arrays.

        Parameters
        ----------
        sizes
            How many rows each term has.
        interior
            The terms that hold inside the domain.
        dtype
            Of the run.
        """

    @abc.abstractmethod
    def emphasize(self, rows: Mapping[str, TermRows], memory: Any) -> tuple[Emphasis, Any]:
        """mᵢ for this step, and what to remember. Pure.

        Parameters
        ----------
        rows
            Residuals and places of the `chosen` terms.
        memory
            What `begin` or the step before gave.

        Returns
        -------
        tuple
            mᵢ of each of these terms, shape (its rows,); and what to remember, as `begin` lays it
            out.
        """
