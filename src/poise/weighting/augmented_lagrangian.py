"""Augmented Lagrangian: terms that must hold as constraints, with multipliers as their weights.

Hestenes, J. Optim. Theory Appl. 4 (1969), and Powell (1969); for networks with one multiplier and
one penalty per term Basir & Senocak, arXiv:2306.04904 (2023), and, with the penalties as here, Hu,
Basir & Senocak, "Conditionally adaptive augmented Lagrangian method for physics-informed learning",
arXiv:2508.15695 (2025). One term is the objective J; the losses of all others are constraints
Lₖ = 0, and what is minimized is

    J + Σₖ mₖ Lₖ + ½ Σₖ μₖ Lₖ².

Its gradient is ∇J + Σₖ (mₖ + μₖ Lₖ) ∇Lₖ: the loss weights are λₖ = mₖ + μₖ Lₖ, and that of the
objective is 1. At every update

    v̄ₖ ← ζ v̄ₖ + (1 - ζ) Lₖ²,

and, where the minimized function has not fallen below ω times what it was at the update before,

    mₖ ← mₖ + μₖ Lₖ,    μₖ ← max(μₖ, η / √(v̄ₖ + ε)).

All mₖ and μₖ begin at 1, all v̄ₖ at 0.

Deviations. λₖ is that of the step which updates, with the multipliers before they are raised; with
`every` above 1 it stays for the steps between, where the authors evaluate mₖ + μₖ Lₖ anew. They
take full batches: on points that are drawn afresh the comparison with ω is one of noisy numbers,
and multipliers are raised about every other time. An optimizer that minimizes a sum of squares
takes λₖ as a constant of the step.

Cost: none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from poise.weighting.averaged import Averaged, Estimate
from poise.weighting.weighting import Signals, Weights, check_names


class Multipliers(NamedTuple):
    """What the method remembers.

    Attributes
    ----------
    multiplier, penalty, square
        mₖ, μₖ and v̄ₖ; for the objective numbers that nothing reads.
    constrained
        Of each term whether it is a constraint.
    value
        The minimized function at the last update.
    """

    multiplier: Weights
    penalty: Weights
    square: Weights
    constrained: dict[str, Array]
    value: Float[Array, ""]


@dataclass(frozen=True)
class AugmentedLagrangian(Averaged):
    """λₖ = mₖ + μₖ Lₖ, multipliers raised whenever the whole no longer falls.

    Attributes
    ----------
    objective
        The term that is minimized; all others are constraints. None: the one named "residual",
        or else the first.
    learning_rate
        η: by how much a multiplier grows at an update while its constraint stays as it is.
    smoothing
        ζ, in [0, 1).
    stagnation
        ω, in (0, 1].
    epsilon
        ε, which bounds the penalties at η/√ε.
    every, ema, minimum, maximum, warmup, freeze
        As `poise.weighting.Averaged` has them; no average is taken.

    Raises
    ------
    ValueError
        For a setting outside its range; from `init`, for an objective that does not exist.
    """

    ema: float = 0.0
    objective: str | None = None
    learning_rate: float = 0.01
    smoothing: float = 0.99
    stagnation: float = 0.999
    epsilon: float = 1e-16

    recipe: ClassVar[str] = "augmented-lagrangian"
    needs: ClassVar[frozenset[str]] = frozenset({"losses"})

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("learning_rate", "epsilon"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"AugmentedLagrangian({name}={value!r}): must be positive")
        if not 0 <= self.smoothing < 1:
            raise ValueError(
                f"AugmentedLagrangian(smoothing={self.smoothing!r}): must be in [0, 1)"
            )
        if not 0 < self.stagnation <= 1:
            raise ValueError(
                f"AugmentedLagrangian(stagnation={self.stagnation!r}): must be in (0, 1]"
            )

    def remember(self, names: Sequence[str], dtype: Any) -> Multipliers:
        objective = self.objective
        if objective is not None:
            check_names("AugmentedLagrangian(objective=...)", [objective], names)
        else:
            objective = "residual" if "residual" in names else names[0]
        ones = {name: jnp.ones((), dtype) for name in names}
        return Multipliers(
            multiplier=ones,
            penalty=ones,
            square={name: jnp.zeros((), dtype) for name in names},
            constrained={name: jnp.asarray(name != objective) for name in names},
            value=jnp.asarray(jnp.inf, dtype),
        )

    def estimate(self, signals: Signals, weights: Weights, memory: Multipliers) -> Estimate:
        losses = signals.losses
        assert losses is not None
        found, terms = {}, []
        for name, loss in losses.items():
            m, mu, constrained = (
                part[name] for part in (memory.multiplier, memory.penalty, memory.constrained)
            )
            found[name] = jnp.where(constrained, m + mu * loss, 1)
            terms.append(jnp.where(constrained, m * loss + mu * loss**2 / 2, loss))
        value = jnp.sum(jnp.stack(terms))
        stagnant = value >= self.stagnation * memory.value

        def averaged(square: Array, loss: Array) -> Array:
            return self.smoothing * square + (1 - self.smoothing) * loss**2

        def raised(multiplier: Array, penalty: Array, loss: Array) -> Array:
            return jnp.where(stagnant, multiplier + penalty * loss, multiplier)

        def stiffened(penalty: Array, square: Array) -> Array:
            most = jnp.maximum(penalty, self.learning_rate / jnp.sqrt(square + self.epsilon))
            return jnp.where(stagnant, most, penalty)

        squares = jax.tree.map(averaged, memory.square, dict(losses))
        after = Multipliers(
            multiplier=jax.tree.map(raised, memory.multiplier, memory.penalty, dict(losses)),
            penalty=jax.tree.map(stiffened, memory.penalty, squares),
            square=squares,
            constrained=memory.constrained,
            value=value,
        )
        return Estimate(found, after, info={"value": value})
