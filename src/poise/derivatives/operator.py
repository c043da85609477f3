"""Which derivatives of a residual can travel through the network as one.

Most equations are linear, with fixed coefficients, in their highest derivatives: a wave equation
needs u_tt - u_xx and never u_tt alone. Whether that is so is read off the residual itself, by
differentiating it with respect to those entries: where the derivative is a constant, the residual
is r = r₀ + Σ c_α ∂^α u, and the sum is one stream of the propagation instead of several.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from jaxtyping import Array

from poise.derivatives.streams import MultiIndex, Stream, below, single

Entry = tuple[str, MultiIndex]
"""A derivative of a field."""

Residual = Callable[[Mapping[Entry, Array], Any], Sequence[Array]]
"""Entries at one point, and whatever else the residual reads there, to the residuals."""


@dataclass(frozen=True)
class Operator:
    """What to propagate for a residual, and how to put the residual together.

    Attributes
    ----------
    streams
        The streams to propagate.
    absorbed
        Entries that the residual is evaluated without (as zeros).
    additions
        For each equation the (field, stream, factor) to add instead.
    """

    streams: tuple[Stream, ...]
    absorbed: frozenset[Entry]
    additions: tuple[tuple[tuple[str, Stream, float], ...], ...]


def plan_operators(
    residual: Residual, entries: frozenset[Entry], others: Any, equations: int
) -> Operator:
    """Find the fewest streams that serve a residual.

    Parameters
    ----------
    residual
        The residual at one point, as a function of its entries and of the rest.
    entries
        All derivatives it asks for, values included; each is a scalar.
    others
        Shapes of what else it reads (coordinates, unknown coefficients).
    equations
        How many residuals it returns.

    Returns
    -------
    Operator
        With combinations where they save a stream, else with each derivative on its own.
    """
    asked = {alpha for _, alpha in entries if alpha}
    covered = set().union(*(below(alpha) for alpha in asked)) if asked else set()
    highest = asked - covered
    candidates = sorted(entry for entry in entries if entry[1] in highest)
    separate = Operator(
        tuple(single(alpha) for alpha in sorted(asked)), frozenset(), ((),) * equations
    )
    if len(highest) < 2:
        return separate
    coefficients = _constant_slopes(residual, sorted(entries), others, candidates)
    if coefficients is None:
        return separate
    additions: list[tuple[tuple[str, Stream, float], ...]] = []
    streams: set[Stream] = set()
    for row in coefficients:
        added = []
        for field in sorted({field for field, _ in candidates}):
            members = [
                (alpha, c)
                for (name, alpha), c in zip(candidates, row, strict=True)
                if name == field and c != 0
            ]
            if members:
                lead = members[0][1]
                stream = tuple((alpha, float(c / lead)) for alpha, c in members)
                streams.add(stream)
                added.append((field, stream, float(lead)))
        additions.append(tuple(added))
    if len(streams) >= len(highest):
        return separate
    lower = {single(alpha) for alpha in asked - highest}
    return Operator(tuple(sorted(lower | streams)), frozenset(candidates), tuple(additions))


def _constant_slopes(
    residual: Residual, entries: list[Entry], others: Any, candidates: list[Entry]
) -> np.ndarray | None:
    """∂(residual)/∂(candidate), equations by candidates, or None where one is not a constant."""
    scalar = jax.ShapeDtypeStruct((), jnp.result_type(float))
    shapes = (dict.fromkeys(entries, scalar), others)
    columns = []
    for candidate in candidates:

        def slope(values: dict[Entry, Array], rest: Any, chosen: Entry = candidate) -> Any:
            # The other entries are closed over: their tangents are absent rather than zeros,
            # so that nothing is multiplied by them and the outcome depends on them only if
            # the slope does.
            def at(entry: Array) -> list[Array]:
                rows = residual({**values, chosen: entry}, rest)
                return [jnp.asarray(row, scalar.dtype) for row in rows]  # one may be an integer

            return jax.jvp(at, (values[chosen],), (jnp.ones_like(values[chosen]),))[1]

        traced = jax.make_jaxpr(slope)(*shapes)
        if _depends(traced):
            return None
        ones = [jnp.ones(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(shapes)]
        columns.append([float(number) for number in core.jaxpr_as_fun(traced)(*ones)])
    return np.array(columns).T


def _depends(traced: Any) -> bool:
    """Whether any output of a traced function can change with its inputs."""
    dependent = set(traced.jaxpr.invars)
    for equation in traced.jaxpr.eqns:
        atoms = (atom for atom in equation.invars if not isinstance(atom, core.Literal))
        if any(atom in dependent for atom in atoms):
            dependent.update(equation.outvars)
    return any(
        atom in dependent for atom in traced.jaxpr.outvars if not isinstance(atom, core.Literal)
    )
