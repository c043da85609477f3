"""Self-scaled quasi-Newton methods of Broyden's class, with a dense inverse Hessian.

With s = x' - x, y = g' - g and H the approximate inverse Hessian, B its inverse,

    H' = [H - Hy (Hy)ᵀ/(yᵀHy) + φ v vᵀ]/τ + s sᵀ/(yᵀs),
    v  = √(yᵀHy) [s/(yᵀs) - Hy/(yᵀHy)],

that is, Broyden's class (φ = 1: BFGS, φ = 0: DFP) with the scaling τ (Oren & Luenberger, 1974).
Since vᵀy = 0, the secant equation H'y = s holds for all φ and τ. τ ≤ 1 enlarges what H says of
all other directions: where the loss is nearly flat, plain BFGS takes long to learn it.

φ and τ depend on b = sᵀBs/(yᵀs) and h = yᵀHy/(yᵀs) only; s = -αHg makes sᵀBs = -α sᵀg.

References
----------
Al-Baali, Spedicato & Maggioni, "Broyden's quasi-Newton methods for a nonlinear system of
equations and unconstrained optimization: a review and open problems", Optim. Methods Softw. 29
(2014). Urbán, Stefanou & Pons, "Unveiling the optimization process of physics informed neural
networks: How accurate and competitive can PINNs be?", J. Comput. Phys. 523 (2025) 113656:
eq. (11) for `SSBFGS`, eqs. (13)-(23) for `SSBroyden`. Kiyani, Shukla, Urbán, Darbon &
Karniadakis, "Optimizing the optimizer for physics-informed neural networks and
Kolmogorov-Arnold networks", Comput. Methods Appl. Mech. Eng. 446 (2025) 118308.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float

from poise.optimizers.line_search import all_finite, check_count, choose, line_search
from poise.optimizers.optimizer import Optimizer, View


class BroydenState(NamedTuple):
    """The approximate inverse Hessian, and whether there is none yet.

    Attributes
    ----------
    inverse
        H, shape (P, P), in the dtype of the parameters.
    fresh
        True before the first update and after a reset: `inverse` then means nothing.
    """

    inverse: Float[Array, "P P"]
    fresh: Bool[Array, ""]


class SelfScaled(Optimizer):
    """A method of the class; the members differ in φ and τ alone.

    A step is a line search along -Hg (`line_search.py`), then the update of H, with the gradient
    that the search has found at its end: both gradients are of the same points and weights.
    H starts as min(1, 1/‖g‖) times the identity: the first step is
    no longer than 1. It starts anew where points or weights have changed, where -Hg does not
    point downhill, and after a search that did not lower the loss; the parameters then stay.
    H is left as it is where yᵀs is not positive beyond rounding. A gradient that is not finite
    changes nothing.

    Memory: P² floats for H, and as much again while it is updated: in float64, 7 MB for a
    thousand parameters, 0.9 GB for ten thousand. Cost beside the search: two products of H and
    a vector and one pass over H. In float32 the loss stalls early; these are methods for float64.

    The step's info has "step_size" (0 where nothing was accepted) and "accepted".
    """

    needs: ClassVar[frozenset[str]] = frozenset({"rows"})
    max_linesearch_steps: int

    @abc.abstractmethod
    def factors(self, b: Array, h: Array, size: int) -> tuple[Array, Array]:
        """φ and τ for b = sᵀBs/(yᵀs) and h = yᵀHy/(yᵀs), both positive, in `size` dimensions."""

    def init(self, params: Any) -> BroydenState:
        flat, _ = ravel_pytree(params)
        return BroydenState(jnp.eye(flat.size, dtype=flat.dtype), jnp.array(True))

    def step(
        self, params: Any, state: BroydenState, view: View
    ) -> tuple[Any, BroydenState, dict[str, Array]]:
        x, unravel = ravel_pytree(params)
        g, _ = ravel_pytree(view.gradient)
        finite = all_finite((view.loss, g))
        g = jnp.where(finite, g, 0)  # the search then goes nowhere

        scale = jnp.minimum(1, 1 / jnp.linalg.norm(g)).astype(x.dtype)
        newton = state.inverse @ g
        anew = state.fresh | view.changed | ~(newton @ g > 0)
        inverse = jnp.where(anew, scale * jnp.eye(x.size, dtype=x.dtype), state.inverse)
        direction = -jnp.where(anew, scale * g, newton)

        found = line_search(
            lambda flat: view.value(unravel(flat)),
            x,
            view.loss,
            g,
            direction,
            self.max_linesearch_steps,
        )
        s = found.step
        updated, done = self.update(inverse, s, found.gradient - g, -found.step_size * (s @ g))
        after = BroydenState(
            inverse=choose(found.accepted & done, updated, inverse),
            fresh=~found.accepted | (anew & ~done),
        )
        return unravel(found.params), choose(finite, after, state), found.info

    def update(
        self, inverse: Float[Array, "P P"], s: Array, y: Array, curvature: Array
    ) -> tuple[Float[Array, "P P"], Bool[Array, ""]]:
        """H' after the step s, given y and sᵀBs, and whether it can be trusted.

        It cannot where yᵀs ≤ ε ‖y‖ ‖s‖ with the rounding unit ε (H' would not be positive
        definite), or where it has an entry that is not finite.
        """
        inner = y @ s
        phi, tau = self.factors(curvature / inner, y @ (inverse @ y) / inner, s.size)
        after = broyden(inverse, s, y, phi, tau)
        unit = jnp.finfo(s.dtype).eps
        curved = inner > unit * jnp.linalg.norm(y) * jnp.linalg.norm(s)
        return after, curved & (tau > 0) & all_finite(after)


@dataclass(frozen=True)
class SSBFGS(SelfScaled):
    """Self-scaled BFGS: φ = 1, τ = min(1, 1/b), the scaling of Al-Baali (1998).

    Urbán, Stefanou & Pons (2025), eq. (11); see `SelfScaled` for the step, cost and memory.

    Attributes
    ----------
    max_linesearch_steps
        Evaluations of loss and gradient in one line search, at most.

    Raises
    ------
    ValueError
        For a number of steps that is not a positive whole number.
    """

    max_linesearch_steps: int = 25

    def __post_init__(self) -> None:
        check_count("SSBFGS", "max_linesearch_steps", self.max_linesearch_steps)

    def factors(self, b: Array, h: Array, size: int) -> tuple[Array, Array]:
        return jnp.ones_like(b), jnp.minimum(1, 1 / b)


@dataclass(frozen=True)
class SSBroyden(SelfScaled):
    """Self-scaled Broyden: φ and τ from the bounds of Al-Baali, Spedicato & Maggioni (2014).

    Urbán, Stefanou & Pons (2025), eqs. (13)-(23), in n dimensions:

        a = bh - 1,  c = √(a/(a + 1)),  ρ⁻ = min(1, h(1 - c)),
        θ⁻ = (ρ⁻ - 1)/a,  θ⁺ = 1/ρ⁻,  θ = max(θ⁻, min(θ⁺, (1 - b)/b)),
        σ = 1 + aθ,  ρ = min(1, 1/b),  φ = (1 - θ)/σ,
        τ = ρ min(σ^(-1/(n - 1)), 1/θ)     for θ > 0,
        τ = min(ρ σ^(-1/(n - 1)), σ)       otherwise.

    a ≥ 0 by Cauchy and Schwarz, and σ ≥ ρ⁻ > 0, so that 1 + aφ = (1 + a)/σ is positive and H'
    positive definite. See `SelfScaled` for the step, cost and memory.

    Deviations: a is kept above the rounding unit (at a = 0 s and Hy are parallel, v vanishes,
    and φ is 0/0); in one dimension, where H' does not depend on φ and τ, the power of σ is 1.

    Attributes
    ----------
    max_linesearch_steps
        Evaluations of loss and gradient in one line search, at most.

    Raises
    ------
    ValueError
        For a number of steps that is not a positive whole number.
    """

    max_linesearch_steps: int = 25

    def __post_init__(self) -> None:
        check_count("SSBroyden", "max_linesearch_steps", self.max_linesearch_steps)

    def factors(self, b: Array, h: Array, size: int) -> tuple[Array, Array]:
        a = jnp.maximum(b * h - 1, jnp.finfo(b.dtype).eps)
        least = jnp.minimum(1, h * (1 - jnp.sqrt(a / (a + 1))))
        theta = jnp.maximum((least - 1) / a, jnp.minimum(1 / least, (1 - b) / b))
        sigma = 1 + a * theta
        ratio = jnp.minimum(1, 1 / b)
        power = sigma ** (-1 / (size - 1)) if size > 1 else jnp.ones_like(sigma)
        positive = ratio * jnp.minimum(power, 1 / jnp.where(theta > 0, theta, 1))
        tau = jnp.where(theta > 0, positive, jnp.minimum(ratio * power, sigma))
        return (1 - theta) / sigma, tau


def broyden(
    inverse: Float[Array, "P P"],
    s: Float[Array, " P"],
    y: Float[Array, " P"],
    phi: Float[Array, ""] | float,
    tau: Float[Array, ""] | float,
) -> Float[Array, "P P"]:
    """H' of the formula above: symmetric where H is, with H'y = s. O(P²)."""
    hy = inverse @ y
    inner, square = y @ s, y @ hy
    v = jnp.sqrt(square) * (s / inner - hy / square)
    bracket = inverse - jnp.outer(hy, hy) / square + phi * jnp.outer(v, v)
    return bracket / tau + jnp.outer(s, s) / inner
