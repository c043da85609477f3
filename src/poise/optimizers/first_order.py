"""First-order optimizers, all of them optax's."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import Any

import optax
from jaxtyping import Array

from poise.optimizers.optimizer import Optimizer, View


class FirstOrder(Optimizer):
    """An optax rule, given the gradient of the weighted loss."""

    @property
    @abc.abstractmethod
    def rule(self) -> optax.GradientTransformation:
        """The optax gradient transformation."""

    def init(self, params: Any) -> Any:
        return self.rule.init(params)

    def step(self, params: Any, state: Any, view: View) -> tuple[Any, Any, dict[str, Array]]:
        updates, state = self.rule.update(view.gradient, state, params)
        return optax.apply_updates(params, updates), state, {}


@dataclass(frozen=True)
class Adam(FirstOrder):
    """Adam (Kingma & Ba, ICLR 2015) with an exponentially falling learning rate.

    The rate at step n is learning_rate · decay_rate^(n / decay_steps), continuously. The
    defaults are those of Wang, Teng & Perdikaris (2021).

    Raises
    ------
    ValueError
        For a rate or a number of steps that is not positive.
    """

    learning_rate: float = 1e-3
    decay_rate: float = 0.9
    decay_steps: int = 1000

    def __post_init__(self) -> None:
        for name in ("learning_rate", "decay_rate", "decay_steps"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"Adam({name}={value!r}): must be positive and finite")

    @property
    def rule(self) -> optax.GradientTransformation:
        schedule = optax.exponential_decay(self.learning_rate, self.decay_steps, self.decay_rate)
        return optax.adam(schedule)


@dataclass(frozen=True)
class Optax(FirstOrder):
    """Any optax gradient transformation, made by hand.

    Attributes
    ----------
    transformation
        Such as ``optax.adamw(1e-3)``.
    flat
        Hand it the parameters as one vector; False for a rule that looks at the shapes of
        arrays. For rules that act entry by entry the result is the same.
    """

    transformation: optax.GradientTransformation
    flat: bool = True

    @property
    def rule(self) -> optax.GradientTransformation:
        return self.transformation
