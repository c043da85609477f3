"""Residuals at points, and their views: losses of the terms and the gradients of each.

Everything derives from the named residual vectors rₖ(θ; points). The terms live on disjoint
points, so their gradients, computed one by one, cost together what the gradient of the sum
costs; the gradient of the total is then Σ λₖ ∇Lₖ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from poise.block import Block
from poise.derivatives import propagate
from poise.derivatives.streams import single
from poise.points import Adaptive, Sampler
from poise.problem import Problem
from poise.randomness import once

Points = dict[str, tuple[Float[Array, "d _"], ...]]
"""For each term the points of each of its blocks."""


class Model(NamedTuple):
    """What is trained: the network and the unknown coefficients of the equation."""

    network: Any
    coefficients: dict[str, Array]


class Objective:
    """The loss terms of a problem as functions of a model and points.

    Parameters
    ----------
    problem
        What must hold.
    samplers
        For each term that draws points, how.
    key
        For what samplers prepare once (fixed points, random shifts).
    dtype
        Of points and residuals.
    """

    def __init__(
        self, problem: Problem, samplers: Mapping[str, Sampler], key: PRNGKeyArray, dtype: Any
    ) -> None:
        self.problem = problem
        self.dtype = jnp.dtype(dtype)
        self.samplers = dict(samplers)
        self._prepared: dict[str, list[Array]] = {}
        self._noise = {
            term: [
                0 if block.patch is None else samplers[term].noise(len(block.patch.free))
                for block in blocks
            ]
            for term, blocks in problem.blocks.items()
        }
        for index, (term, blocks) in enumerate(problem.blocks.items()):
            self._prepared[term] = [
                jnp.asarray(block.points, self.dtype)
                if block.patch is None
                else samplers[term].prepare(
                    once(key, index, number), len(block.patch.free), self.dtype
                )
                for number, block in enumerate(blocks)
            ]

    @property
    def terms(self) -> tuple[str, ...]:
        return self.problem.terms

    def sample(self, key: PRNGKeyArray) -> Points:
        """Points of every term. Pure; jit- and scan-safe."""
        count = sum(n for noise in self._noise.values() for n in noise)
        bits = jax.random.bits(key, (count,), jnp.uint32)
        points: Points = {}
        start = 0
        for term, blocks in self.problem.blocks.items():
            drawn = []
            for block, prepared, n in zip(
                blocks, self._prepared[term], self._noise[term], strict=True
            ):
                if block.patch is None:
                    drawn.append(prepared)
                    continue
                sampler = self.samplers[term]
                unit = sampler.draw(bits[start : start + n], prepared, self.dtype)
                drawn.append(block.patch.from_unit(unit, sampler.edges))
                start += n
            points[term] = tuple(drawn)
        return points

    def kept_points(self) -> Points:
        """First points of the terms whose points depend on the residual."""
        kept = [t for t, sampler in self.samplers.items() if isinstance(sampler, Adaptive)]
        if not kept:
            return {}
        points = jax.jit(self.sample)(jax.random.PRNGKey(0))  # for these terms nothing is random
        return {term: points[term] for term in kept}

    def redrawn_every(self, term: str) -> int:
        """Steps between drawings of a term's points where its residual is large."""
        sampler = self.samplers[term]
        assert isinstance(sampler, Adaptive)
        return sampler.every

    def refine(
        self, term: str, model: Model, points: tuple[Array, ...], key: PRNGKeyArray
    ) -> tuple[Array, ...]:
        """Draw a share of a term's points anew, where its residual is large. Pure."""
        sampler = self.samplers[term]
        assert isinstance(sampler, Adaptive)
        found = []
        blocks = self.problem.blocks[term]
        for index, (block, former) in enumerate(zip(blocks, points, strict=True)):
            if block.patch is None or not block.patch.free:
                found.append(former)
                continue
            where, which = jax.random.split(jax.random.fold_in(key, index + 1))
            shape = (len(block.patch.free), sampler.candidates * sampler.drawn)
            unit = jax.random.uniform(where, shape, self.dtype)
            candidates = block.patch.from_unit(unit, sampler.edges)
            residuals = self.block_residual_at(block, model, candidates)
            sizes = jnp.sqrt(jnp.sum(residuals**2, axis=0))
            stays = sampler.count - sampler.drawn
            chosen = sampler.choose(which, candidates, sizes, former[:, stays:])
            found.append(former.at[:, stays:].set(chosen))
        return tuple(found)

    def residuals(self, model: Model, points: Points) -> dict[str, tuple[Float[Array, "_ _"], ...]]:
        """Residuals of each term, for each of its blocks, at the points."""
        return {term: self.term_residuals(term, model, points[term]) for term in self.terms}

    def term_residuals(
        self, term: str, model: Model, points: tuple[Float[Array, "d _"], ...]
    ) -> tuple[Float[Array, "_ _"], ...]:
        """Residuals of one term. Blocks that need the same streams share a propagation."""
        blocks = self.problem.blocks[term]
        groups: dict[Any, list[int]] = {}
        for index, block in enumerate(blocks):
            groups.setdefault(block.operator.streams, []).append(index)
        found: dict[int, Array] = {}
        for members in groups.values():
            parts = [(blocks[i], points[i], blocks[i].targets) for i in members]
            found.update(zip(members, self._propagated(model, parts), strict=True))
        return tuple(found[i] for i in range(len(blocks)))

    def block_residual_at(
        self,
        block: Block,
        model: Model,
        points: Float[Array, "d N"],
        targets: Mapping[str, Any] | None = None,
    ) -> Float[Array, "equations N"]:
        """Residuals of one block, by a propagation of its own.

        A residual at one point depends on that point alone, so that one point may be given, or
        many, under `jax.vmap` and differentiation too.

        Parameters
        ----------
        block
            One of the problem's; on a pair of sides the residual at a point is the difference
            to the point opposite.
        points
            Any number of points; on a side, points of that side.
        targets
            Where values are measured, those at these points, shape (N,), by field; if left out
            `points` must be all measured points.
        """
        given = block.targets if targets is None else targets
        return self._propagated(model, [(block, points, given)])[0]

    def _propagated(
        self, model: Model, parts: Sequence[tuple[Block, Array, Mapping[str, Any]]]
    ) -> list[Array]:
        """Residuals of blocks that need the same streams, by one propagation.

        Each comes with its points and the measured values there.
        """
        places = [block.places(points) for block, points, _ in parts]
        joined = jnp.concatenate([place for of_block in places for place in of_block], axis=1)
        jets = propagate(model.network, joined, parts[0][0].operator.streams)
        found, start = [], 0
        for (block, _, targets), of_block in zip(parts, places, strict=True):
            rows = []
            for place in of_block:
                stop = start + place.shape[1]
                part = {stream: values[:, start:stop] for stream, values in jets.items()}
                rows.append(self._rows(block, model, place, part, targets))
                start = stop
            found.append(rows[0] if len(rows) == 1 else rows[0] - rows[1])
        return found

    def _rows(
        self,
        block: Block,
        model: Model,
        points: Array,
        jets: Mapping[Any, Array],
        targets: Mapping[str, Any],
    ) -> Float[Array, "equations N"]:
        """What the residual functions of a block return at points."""
        fields = self.problem.fields
        absorbed, additions = block.operator.absorbed, block.operator.additions
        entries = {
            (name, alpha): jets[single(alpha)][fields.index(name)]
            for name, alpha in block.entries - absorbed
        }
        zero = jnp.zeros((), self.dtype)
        per_point = {
            "coordinates": dict(zip(self.problem.coordinates, points, strict=True)),
            "targets": {n: jnp.asarray(v, self.dtype) for n, v in targets.items()},
        }

        def at_point(values: dict[Any, Array], others: dict[str, Any]) -> Array:
            filled = {**values, **dict.fromkeys(absorbed, zero)}
            rows = block.residual(filled, {**others, "coefficients": model.coefficients})
            return jnp.stack([jnp.asarray(row, self.dtype) for row in rows])

        rows = jax.vmap(at_point, in_axes=-1, out_axes=-1)(entries, per_point)
        for equation, added in enumerate(additions):
            for name, stream, factor in added:
                rows = rows.at[equation].add(factor * jets[stream][fields.index(name)])
        return rows

    def losses(self, model: Model, points: Points) -> dict[str, Float[Array, ""]]:
        """Lₖ, the mean square of each residual over its points, added over a term's parts."""
        return {term: self.term_loss(term, model, points[term]) for term in self.terms}

    def term_loss(self, term: str, model: Model, points: tuple[Array, ...]) -> Float[Array, ""]:
        """Lₖ of one term."""
        parts = self.term_residuals(term, model, points)
        return sum(
            (jnp.sum(jnp.mean(part**2, axis=1)) for part in parts), jnp.zeros((), self.dtype)
        )

    def losses_and_gradients(
        self, model: Model, points: Points
    ) -> tuple[dict[str, Array], dict[str, Model]]:
        """Lₖ and ∇Lₖ for each term, unweighted.

        Gradients have the structure of the model, with None where it holds no float array.
        """
        losses, gradients = {}, {}
        trainable, rest = eqx.partition(model, eqx.is_inexact_array)
        for term in self.terms:

            def loss(part: Any, term: str = term) -> Array:
                return self.term_loss(term, eqx.combine(part, rest), points[term])

            losses[term], gradients[term] = jax.value_and_grad(loss)(trainable)
        return losses, gradients

    def rows_and_pullbacks(
        self, model: Model, points: Points
    ) -> tuple[dict[str, Float[Array, " _"]], dict[str, Callable[[Array], Model]]]:
        """Each term's residuals as rows, and its pullback: the gradient of vᵀ rows for a vector v.

        The two halves of a gradient, for weights of rows that depend on the rows: nothing is
        computed twice. The pullback of 2 m ⊙ rows is the gradient of Σ mᵢ rowᵢ² with m held.
        """
        rows, pullbacks = {}, {}
        trainable, rest = eqx.partition(model, eqx.is_inexact_array)
        for term in self.terms:

            def of_term(part: Any, term: str = term) -> Array:
                return as_rows(self.term_residuals(term, eqx.combine(part, rest), points[term]))

            rows[term], pullback = jax.vjp(of_term, trainable)
            pullbacks[term] = lambda v, pullback=pullback: pullback(v)[0]
        return rows, pullbacks


def as_rows(parts: Sequence[Float[Array, "_ _"]]) -> Float[Array, " _"]:
    """Residuals in several places, shapes (equations, N), as one vector of rows divided by √N.

    Their squares add up to the loss.
    """
    return jnp.concatenate([(part / math.sqrt(part.shape[1])).ravel() for part in parts])
