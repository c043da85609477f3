"""L-BFGS, as optax has it, with a line search for the strong Wolfe conditions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from poise.optimizers.line_search import all_finite, check_count, choose, line_search
from poise.optimizers.optimizer import Optimizer, View


@dataclass(frozen=True)
class LBFGS(Optimizer):
    """L-BFGS (Liu & Nocedal, Math. Program. 45, 1989): the memory and line search of `optax.lbfgs`.

    The memory is emptied where points or weights have changed, and after a line search that did
    not lower the loss; the parameters then stay. A gradient that is not finite changes nothing.
    The step's info has "step_size" (0 where nothing was accepted) and "accepted".

    Memory: 2·memory·P floats. Cost beside the search: 4·memory·P multiplications.

    Attributes
    ----------
    memory
        Pairs of steps and gradient differences that are kept.
    max_linesearch_steps
        Evaluations of loss and gradient in one line search, at most.

    Raises
    ------
    ValueError
        For a setting that is not a positive whole number.
    """

    memory: int = 50
    max_linesearch_steps: int = 25

    needs: ClassVar[frozenset[str]] = frozenset({"rows"})

    def __post_init__(self) -> None:
        for name in ("memory", "max_linesearch_steps"):
            check_count("LBFGS", name, getattr(self, name))

    @property
    def rule(self) -> optax.GradientTransformation:
        """optax's memory: a gradient to the product of the inverse Hessian and it."""
        return optax.scale_by_lbfgs(self.memory)

    def init(self, params: Any) -> Any:
        # Some of optax's numbers start in the process's dtype rather than the parameters'.
        kind = jnp.result_type(*jax.tree.leaves(params))
        return jax.tree.map(
            lambda leaf: jnp.array(leaf, kind if leaf.dtype.kind == "f" else leaf.dtype),
            self.rule.init(params),
        )

    def step(self, params: Any, state: Any, view: View) -> tuple[Any, Any, dict[str, Array]]:
        fresh = self.init(params)
        finite = all_finite((view.loss, view.gradient))
        gradient = choose(finite, view.gradient, jax.tree.map(jnp.zeros_like, params))
        newton, after = self.rule.update(gradient, choose(view.changed, fresh, state), params)
        direction = jax.tree.map(jnp.negative, newton)
        found = line_search(
            view.value, params, view.loss, gradient, direction, self.max_linesearch_steps
        )
        after = choose(found.accepted, after, fresh)
        return found.params, choose(finite, after, state), found.info
