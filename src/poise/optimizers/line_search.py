"""A line search for the strong Wolfe conditions that never accepts a higher loss.

The search is optax's (Nocedal & Wright, Numerical Optimization, 2006, Algorithms 3.5 and 3.6,
with the approximate decrease of Hager & Zhang, 2006, near a minimum), with c₁ = 1e-4, c₂ = 0.9.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float


class Found(NamedTuple):
    """Where a line search ended.

    Attributes
    ----------
    params
        The parameters there; those of the start where nothing was accepted.
    gradient
        Of the loss at the last trial.
    step, step_size
        The last trial's step, and how often that is the direction; the size is 0 where nothing
        was accepted.
    accepted
        Whether the loss became lower, and everything there is finite.
    """

    params: Any
    gradient: Any
    step: Any
    step_size: Float[Array, ""]
    accepted: Bool[Array, ""]

    @property
    def info(self) -> dict[str, Array]:
        """The figures that an optimizer tells."""
        return {"step_size": self.step_size, "accepted": self.accepted}


def line_search(
    function: Callable[[Any], Array],
    params: Any,
    value: Float[Array, ""],
    gradient: Any,
    direction: Any,
    max_steps: int,
) -> Found:
    """Search along a direction, the whole of it first: a quasi-Newton step's own size is 1.

    optax hands back its last trial even where no trial lowered the function; a step is accepted
    here only if it did. Cost: at most `max_steps` evaluations with gradient.

    Parameters
    ----------
    function
        Parameters to a number.
    params, value, gradient
        The start, and function and gradient there.
    direction
        In the layout of the parameters.
    max_steps
        Trials, at most.
    """
    rule = optax.scale_by_zoom_linesearch(max_steps, initial_guess_strategy="one")
    end: Any
    step, end = rule.update(
        direction, rule.init(params), params, value=value, grad=gradient, value_fn=function
    )
    moved = optax.apply_updates(params, step)
    accepted = all_finite((end.value, end.grad, moved)) & (end.value < value)
    size = jnp.where(accepted, end.learning_rate, 0).astype(end.learning_rate.dtype)
    return Found(choose(accepted, moved, params), end.grad, step, size, accepted)


def all_finite(tree: Any) -> Bool[Array, ""]:
    """Whether every entry of every leaf is finite."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))


def choose(condition: Array | bool, new: Any, old: Any) -> Any:
    """`new` where the condition holds, else `old`, leaf by leaf, with the dtypes of `old`."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b).astype(b.dtype), new, old)


def check_count(kind: str, name: str, value: Any) -> None:
    """Refuse what is not a positive whole number."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{kind}({name}={value!r}): must be a whole number, 1 or more")
