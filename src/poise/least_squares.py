"""The loss as a sum of squares: one vector of residuals, and its Jacobian.

With N points in a place, the residuals there are divided by √N, so that the squares of a term's
rows add up to its loss Lₖ. Weights enter later, as √λₖ on the rows.

A residual at a point depends on that point alone. So the Jacobian is assembled point by point, by
a reverse sweep through the propagation at each, and it can be made in pieces: what needs only
sums over rows (JᵀJ, the traces) never holds more than one piece.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from poise.block import Block
from poise.losses import Model, Objective, Points, as_rows


class _Piece(NamedTuple):
    """The rows of one block."""

    term: str
    block: Block
    points: Float[Array, "d N"]
    targets: dict[str, Array]


class Rows:
    """The residual vector of an objective, as a function of flat parameters.

    Parameters
    ----------
    objective
        Terms and residuals.
    model
        Gives the model for a vector of parameters.
    """

    def __init__(self, objective: Objective, model: Callable[[Array], Model]) -> None:
        self.objective = objective
        self.model = model
        places = [
            (self._count(term, block), block.equations)
            for term, blocks in objective.problem.blocks.items()
            for block in blocks
        ]
        counts = [count * equations for count, equations in places]
        owners = [
            index for index, blocks in enumerate(objective.problem.blocks.values()) for _ in blocks
        ]
        self.terms = np.repeat(owners, counts)
        """For each row the position of its term, shape (M,)."""
        self._points = np.repeat([count for count, _ in places], counts)  # in each row's place

    @property
    def size(self) -> int:
        """M, the number of rows."""
        return len(self.terms)

    @property
    def sizes(self) -> dict[str, int]:
        """How many rows each term has."""
        counts = np.bincount(self.terms, minlength=len(self.objective.terms))
        return dict(zip(self.objective.terms, map(int, counts), strict=True))

    def __call__(self, params: Float[Array, " P"], points: Points) -> Float[Array, " M"]:
        """The rows, unweighted: term by term, place by place, equation by equation."""
        residuals = self.objective.residuals(self.model(params), points)
        return as_rows([part for term in self.objective.terms for part in residuals[term]])

    def losses(self, rows: Float[Array, " M"]) -> dict[str, Float[Array, ""]]:
        """Lₖ of each term."""
        return self.by_term(rows**2)

    def by_term(self, values: Float[Array, " M"]) -> dict[str, Float[Array, ""]]:
        """Sums over the rows of each term."""
        found = {}
        for index, term in enumerate(self.objective.terms):
            (at,) = np.nonzero(self.terms == index)
            found[term] = jnp.sum(values[at[0] : at[-1] + 1])  # the rows of a term are neighbours
        return found

    def residuals(self, rows: Float[Array, " M"]) -> dict[str, Float[Array, " _"]]:
        """The residuals of each term as they are, not divided by √N."""
        return self.by_name(rows * np.sqrt(self._points))

    def by_name(self, values: Float[Array, " M"]) -> dict[str, Float[Array, " _"]]:
        """Numbers for all rows as those of each term: the inverse of `joined`."""
        ends = np.cumsum(list(self.sizes.values()))[:-1]
        return dict(zip(self.objective.terms, jnp.split(values, ends), strict=True))

    def joined(self, parts: Mapping[str, Array]) -> Float[Array, " M"]:
        """Numbers for the rows of terms as one vector; 1 where there are none."""
        dtype = self.objective.dtype
        return jnp.concatenate(
            [parts.get(term, jnp.ones(size, dtype)) for term, size in self.sizes.items()]
        )

    def scale(self, weights: Mapping[str, Array]) -> Float[Array, " M"]:
        """√λₖ for each row."""
        return jnp.sqrt(jnp.stack([weights[term] for term in self.objective.terms]))[self.terms]

    def jacobian(
        self, params: Float[Array, " P"], points: Points, batch: int
    ) -> tuple[Float[Array, "M P"], Float[Array, " M"]]:
        """∂(rows)/∂(parameters), whole, and the rows. `batch` points at a time."""
        parts, values = [], []
        for piece in self._pieces(points):
            at = self._at_point(params, piece)
            found, rows = jax.lax.map(at, (piece.points.T, piece.targets), batch_size=batch)
            parts.append(jnp.swapaxes(found, 0, 1).reshape(-1, params.size))
            values.append(rows.T.ravel())
        return jnp.concatenate(parts), jnp.concatenate(values)

    def squared_norms(
        self, params: Float[Array, " P"], points: Points, batch: int
    ) -> Float[Array, " M"]:
        """The squared norm of each row of the Jacobian, without holding it."""
        parts = []
        for piece in self._pieces(points):
            at = self._at_point(params, piece)

            def norms(one: Any, at: Any = at) -> Array:
                return jnp.sum(at(one)[0] ** 2, axis=1)

            found = jax.lax.map(norms, (piece.points.T, piece.targets), batch_size=batch)
            parts.append(found.T.ravel())
        return jnp.concatenate(parts)

    def probed_traces(
        self, params: Float[Array, " P"], points: Points, key: PRNGKeyArray, probes: int
    ) -> dict[str, Float[Array, ""]]:
        """tr JₖJₖᵀ of each term, estimated: the mean of ‖Jₖᵀ v‖² over vectors v of random signs.

        Hutchinson, Commun. Stat. Simul. Comput. 18 (1989): unbiased, with the variance
        2 Σ_{i≠j} (JₖJₖᵀ)ᵢⱼ² for one probe. A probe costs a reverse sweep over the term's points.
        """
        found = {}
        for index, term in enumerate(self.objective.terms):

            def rows(vector: Array, term: str = term) -> Array:
                return as_rows(
                    self.objective.term_residuals(term, self.model(vector), points[term])
                )

            values, back = jax.vjp(rows, params)
            own = jax.random.fold_in(key, index)
            signs = jax.random.rademacher(own, (probes, values.size), values.dtype)
            gradients = jax.vmap(lambda v, back=back: back(v)[0])(signs)
            found[term] = jnp.mean(jnp.sum(gradients**2, axis=1))
        return found

    def gram(
        self,
        params: Float[Array, " P"],
        points: Points,
        weights: Mapping[str, Array],
        batch: int,
    ) -> tuple[Float[Array, "P P"], Float[Array, " P"]]:
        """JᵀΛJ and JᵀΛr, added up over pieces of `batch` points: J is never held whole."""
        square = jnp.zeros((params.size, params.size), params.dtype)
        slope = jnp.zeros_like(params)
        for piece in self._pieces(points):
            at = jax.vmap(self._at_point(params, piece))
            weight = weights[piece.term]

            def add(carry: Any, chunk: Any, at: Any = at, weight: Array = weight) -> Any:
                jacobian, rows = at(chunk)
                flat = jacobian.reshape(-1, params.size)
                total, gradient = carry
                total = total + weight * (flat.T @ flat)
                return (total, gradient + weight * (flat.T @ rows.ravel())), None

            count = piece.points.shape[1]
            whole = count // batch * batch
            everything = (piece.points.T, piece.targets)
            if whole:
                chunks = jax.tree.map(
                    lambda x, whole=whole: x[:whole].reshape(-1, batch, *x.shape[1:]), everything
                )
                (square, slope), _ = jax.lax.scan(add, (square, slope), chunks)
            if whole < count:
                rest = jax.tree.map(lambda x, whole=whole: x[whole:], everything)
                (square, slope), _ = add((square, slope), rest)
        return square, slope

    def _pieces(self, points: Points) -> Iterator[_Piece]:
        dtype = self.objective.dtype
        for term, blocks in self.objective.problem.blocks.items():
            for block, where in zip(blocks, points[term], strict=True):
                targets = {name: jnp.asarray(v, dtype) for name, v in block.targets.items()}
                yield _Piece(term, block, where, targets)

    def _at_point(
        self, params: Float[Array, " P"], piece: _Piece
    ) -> Callable[[Any], tuple[Array, Array]]:
        """The rows' Jacobian at one point, shape (equations, P), and the rows."""
        share = 1 / math.sqrt(piece.points.shape[1])

        def at(one: tuple[Array, dict[str, Array]]) -> tuple[Array, Array]:
            point, targets = one
            here = {name: value[None] for name, value in targets.items()}

            def rows(vector: Array) -> tuple[Array, Array]:
                model = self.model(vector)
                values = self.objective.block_residual_at(piece.block, model, point[:, None], here)
                return share * values[:, 0], share * values[:, 0]

            return jax.jacrev(rows, has_aux=True)(params)

        return at

    def _count(self, term: str, block: Block) -> int:
        if block.points is not None:
            return block.points.shape[1]
        return self.objective.samplers[term].count
