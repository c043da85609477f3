"""Damped least-squares problems: min ‖J d + r‖² + μ ‖d‖², by whichever factorization fits.

The linear algebra is LAPACK's, through JAX, or lineax's. Which of four ways is taken depends on
the numbers M of residuals and P of parameters, and on the memory that may be used:

==========  ==============================  ======================  =======================
way         factorization                   memory, numbers         accuracy
==========  ==============================  ======================  =======================
`Dense`     QR of J, then of [R; √μ I]      about 4 M P + 6 P²      that of J itself
            (early on: Cholesky of JᵀJ+μI)                          (its square root)
`Kernel`    Cholesky of J Jᵀ + μ I          about 3 M P + 3 M²      square root; for M < P
`Gram`      Cholesky of JᵀJ + μI, summed    about 4 P²              square root
            over pieces of J          and 30 M √P
`Krylov`    none: conjugate gradients       about 45 M √P           by its tolerance
==========  ==============================  ======================  =======================

The normal equations square the condition number: with dampings below about 1e-12 of the largest
eigenvalue nothing that they say is true (Björck, Numerical Methods for Least Squares Problems,
SIAM 1996, section 2.2), while QR goes on to the precision of J.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Linearized(NamedTuple):
    """r and J = ∂r/∂θ at the parameters of a step, in the forms that a solver may ask for.

    Attributes
    ----------
    residual
        r, shape (M,).
    gradient
        Jᵀr, shape (P,).
    jacobian
        J, shape (M, P), where it is held whole.
    gram
        Makes JᵀJ, shape (P, P), from pieces of J.
    forward, backward
        d to J d, and e to Jᵀ e.
    """

    residual: Float[Array, " M"]
    gradient: Float[Array, " P"]
    jacobian: Float[Array, "M P"] | None
    gram: Callable[[], Array] | None
    forward: Callable[[Array], Array]
    backward: Callable[[Array], Array]


Solve = Callable[[Array], Array]
"""A vector e of M numbers to -(JᵀJ + μI)⁻¹ Jᵀ e."""


class Solver(abc.ABC):
    """A way to solve the damped problem for several μ and right-hand sides."""

    holds_jacobian: bool = True
    """Whether it wants J whole."""

    @abc.abstractmethod
    def numbers(self, rows: int, parameters: int) -> int:
        """How many floating-point numbers it holds at most at a time."""

    @abc.abstractmethod
    def prepare(self, at: Linearized, precise: Array) -> tuple[Any, Array]:
        """What serves all dampings, and the scale of JᵀJ that dampings are measured in.

        `precise` asks for the more accurate way where there are two.
        """

    @abc.abstractmethod
    def solve(
        self, at: Linearized, factors: Any, damping: Array, precise: Array
    ) -> tuple[Float[Array, " P"], Solve]:
        """The step d = -(JᵀJ + μI)⁻¹ Jᵀ r, and the same for other vectors than r."""


def _there(part: Any) -> Any:
    """A part of the linearization that this solver cannot do without."""
    if part is None:
        raise ValueError("the view of the loss lacks the Jacobian that this solver works with")
    return part


def _linearization(rows: int, parameters: int) -> int:
    """Numbers that products with J take where J is not held: about 30 √P for each row.

    What a network and its derivatives compute at a point is kept: some streams of all its units,
    and of P parameters there are a few √P units. Measured, not derived.
    """
    return math.ceil(30 * rows * math.sqrt(parameters))


def _triangular(factor: Array, right: Array, transposed: bool = False) -> Array:
    return jax.scipy.linalg.solve_triangular(factor, right, trans=1 if transposed else 0)


@dataclass(frozen=True)
class Dense(Solver):
    """J whole: normal equations while they are good enough, then QR.

    Both keep a matrix of the same shape: [JᵀJ, Jᵀr], or [R, Qᵀr] with J = QR.
    """

    def numbers(self, rows: int, parameters: int) -> int:
        return 4 * rows * parameters + 6 * parameters**2

    def prepare(self, at: Linearized, precise: Array) -> tuple[Any, Array]:
        jacobian = _there(at.jacobian)
        rows, size = jacobian.shape

        def reduce() -> Array:
            both = jnp.concatenate([jacobian, at.residual[:, None]], axis=1)
            # With fewer rows than columns, zeros make the factor as large as the square.
            both = jnp.pad(both, ((0, max(0, size - rows)), (0, 0)))
            return jnp.linalg.qr(both, mode="r")[:size]

        def square() -> Array:
            return jnp.concatenate([jacobian.T @ jacobian, at.gradient[:, None]], axis=1)

        return jax.lax.cond(precise, reduce, square), jnp.max(jnp.sum(jacobian**2, axis=0))

    def solve(
        self, at: Linearized, factors: Any, damping: Array, precise: Array
    ) -> tuple[Array, Solve]:
        size = len(factors)
        identity = jnp.eye(size, dtype=factors.dtype)
        matrix, right = factors[:, :size], factors[:, size:]

        def by_qr() -> tuple[Array, Array]:
            below = jnp.concatenate([jnp.sqrt(damping) * identity, jnp.zeros_like(right)], axis=1)
            reduced = jnp.linalg.qr(jnp.concatenate([factors, below]), mode="r")[:size]
            triangle = reduced[:, :size]
            return triangle, -_triangular(triangle, reduced[:, size])

        def by_cholesky() -> tuple[Array, Array]:
            triangle = jnp.linalg.cholesky(matrix + damping * identity, upper=True)
            inner = _triangular(triangle, right[:, 0], transposed=True)
            return triangle, -_triangular(triangle, inner)

        triangle, step = jax.lax.cond(precise, by_qr, by_cholesky)

        def again(vector: Array) -> Array:
            inner = _triangular(triangle, at.backward(vector), transposed=True)
            return -_triangular(triangle, inner)

        return step, again


@dataclass(frozen=True)
class Kernel(Solver):
    """Fewer residuals than parameters: d = -Jᵀ (J Jᵀ + μI)⁻¹ r."""

    def numbers(self, rows: int, parameters: int) -> int:
        return 3 * rows * parameters + 3 * rows**2

    def prepare(self, at: Linearized, precise: Array) -> tuple[Any, Array]:
        jacobian = _there(at.jacobian)
        return (jacobian, jacobian @ jacobian.T), jnp.max(jnp.sum(jacobian**2, axis=0))

    def solve(
        self, at: Linearized, factors: Any, damping: Array, precise: Array
    ) -> tuple[Array, Solve]:
        jacobian, kernel = factors
        identity = jnp.eye(len(kernel), dtype=kernel.dtype)
        factor = jax.scipy.linalg.cho_factor(kernel + damping * identity)

        def again(vector: Array) -> Array:
            return -(jacobian.T @ jax.scipy.linalg.cho_solve(factor, vector))

        return again(at.residual), again


@dataclass(frozen=True)
class Gram(Solver):
    """JᵀJ added up over pieces, where J itself is too large to hold."""

    holds_jacobian = False

    def numbers(self, rows: int, parameters: int) -> int:
        return 4 * parameters**2 + _linearization(rows, parameters)

    def prepare(self, at: Linearized, precise: Array) -> tuple[Any, Array]:
        square = _there(at.gram)()
        return square, jnp.max(jnp.diag(square))

    def solve(
        self, at: Linearized, factors: Any, damping: Array, precise: Array
    ) -> tuple[Array, Solve]:
        identity = jnp.eye(len(factors), dtype=factors.dtype)
        factor = jax.scipy.linalg.cho_factor(factors + damping * identity)

        def again(vector: Array) -> Array:
            return -jax.scipy.linalg.cho_solve(factor, at.backward(vector))

        return -jax.scipy.linalg.cho_solve(factor, at.gradient), again


@dataclass(frozen=True)
class Krylov(Solver):
    """Conjugate gradients on (JᵀJ + μI) d = -Jᵀr (lineax): no matrix at all.

    Attributes
    ----------
    iterations
        At most, for one damping. A step that stopped early is still a descent direction.
    tolerance
        Relative, on the residual of the system.
    """

    iterations: int = 200
    tolerance: float = 1e-8

    holds_jacobian = False

    def numbers(self, rows: int, parameters: int) -> int:
        # Conjugate gradients and the transpose keep more than one pass does.
        return 20 * parameters + math.ceil(45 * rows * math.sqrt(parameters))

    def prepare(self, at: Linearized, precise: Array) -> tuple[Any, Array]:
        # The largest eigenvalue of JᵀJ, by a few steps of the power method.
        def grow(_: Any, vector: Array) -> Array:
            longer = at.backward(at.forward(vector))
            return longer / (jnp.linalg.norm(longer) + jnp.finfo(longer.dtype).tiny)

        start = jnp.ones_like(at.gradient) / jnp.sqrt(at.gradient.size)
        vector = jax.lax.fori_loop(0, 8, grow, start)
        return (), jnp.linalg.norm(at.backward(at.forward(vector)))

    def solve(
        self, at: Linearized, factors: Any, damping: Array, precise: Array
    ) -> tuple[Array, Solve]:
        import lineax  # a fifth of a second: only where it is used

        operator = lineax.FunctionLinearOperator(
            lambda vector: at.backward(at.forward(vector)) + damping * vector,
            jax.eval_shape(lambda: at.gradient),
            lineax.positive_semidefinite_tag,
        )
        method = lineax.CG(rtol=self.tolerance, atol=0.0, max_steps=self.iterations)

        def again(vector: Array) -> Array:
            return -lineax.linear_solve(operator, at.backward(vector), method, throw=False).value

        return -lineax.linear_solve(operator, at.gradient, method, throw=False).value, again


def choose(rows: int, parameters: int, bytes_allowed: float, itemsize: int) -> Solver:
    """The most accurate solver that fits into 7/8 of the memory; the rest is for J's pieces.

    Raises
    ------
    ValueError
        If not even products with J fit.
    """
    candidates: list[Solver] = [Kernel()] if rows < parameters else [Dense()]
    candidates += [Gram(), Krylov()]
    for solver in candidates:
        if 8 * itemsize * solver.numbers(rows, parameters) <= 7 * bytes_allowed:
            return solver
    least = 8 / 7 * itemsize * min(s.numbers(rows, parameters) for s in candidates) / 2**20
    raise ValueError(
        f"GaussNewton: {bytes_allowed / 2**20:.3g} MiB hold no step for {rows} residuals and "
        f"{parameters} parameters; allow at least {least:.3g} MiB, or use fewer points"
    )
