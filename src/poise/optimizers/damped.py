"""Damped least-squares problems: min ‖J d + r‖² + μ ‖d‖², by whichever factorization fits.

The linear algebra is LAPACK's, through JAX, or lineax's. Which of four ways is taken depends on
the numbers M of residuals and P of parameters, and on the memory that may be used:

==========  ==============================  ======================  =======================
way         factorization                   memory, numbers         accuracy
==========  ==============================  ======================  =======================
`Dense`     QR of J                         about 4 M P + 6 P²      that of J itself
            (early on: Cholesky of JᵀJ+μI)                          (its square root)
`Kernel`    QR of Jᵀ, for M < P             about 4 M P + 6 M²      that of J itself
            (early on: Cholesky of JJᵀ+μI)                          (its square root)
`Gram`      Cholesky of JᵀJ + μI, summed    about 4 P²              its square root
            over pieces of J                and 30 M √P
`Krylov`    none: conjugate gradients       about 45 M √P           by its tolerance
==========  ==============================  ======================  =======================

Normal equations square the condition number: rounding changes them by about 1e-15 of the largest
eigenvalue, and with dampings near that nothing that they say is true (Björck, Numerical Methods for
Least Squares Problems, SIAM 1996, section 2.2), while QR goes on to the precision of J. A Cholesky
factorization takes a third of the time that `damped_triangle` needs for a damping, so they are the
way to begin.
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


PANELS = 6
"""Parts in which `damped_triangle` works: more take fewer operations, and longer to compile."""


def damped_triangle(triangle: Float[Array, "n more"], damping: Array) -> Float[Array, "n more"]:
    """The R of a QR factorization of [T; √μ I], T upper triangular with columns more to the right.

    The zeros are made use of: going through the columns from the left, in panels of b, below the
    present diagonal block only those rows of √μ I have become dense whose turn has come. This
    takes about 2/3 n³ operations instead of 10/3 n³ (LAPACK's xTPQRT does the same for blocks of
    any such shape: Elmroth & Gustavson, IBM J. Res. Dev. 44, 2000).
    """
    size, columns = triangle.shape
    width = max(32, -(-size // PANELS))
    above, below = triangle, jnp.zeros((0, columns), triangle.dtype)
    rows = []
    for start in range(0, size, width):
        count = min(width, size - start)
        fresh = jnp.sqrt(damping) * jnp.eye(count, above.shape[1], dtype=triangle.dtype)
        panel = jnp.concatenate([above[:count], below, fresh])
        reflectors, scales = jnp.linalg.qr(panel[:, :count], mode="raw")
        rest = jax.lax.linalg.ormqr(
            reflectors.T, scales, panel[:, count:], left=True, transpose=True
        )
        done = jnp.zeros((count, start), triangle.dtype)
        rows.append(jnp.concatenate([done, jnp.triu(reflectors.T[:count]), rest[:count]], axis=1))
        above, below = above[count:, count:], rest[count:]
    return jnp.concatenate(rows)


def _gram(matrix: Float[Array, "m n"]) -> Float[Array, "n n"]:
    """AᵀA, of which only the upper triangle is computed, by panels."""
    size = matrix.shape[1]
    width = max(32, -(-size // 4))
    rows = []
    for start in range(0, size, width):
        row = matrix[:, start : start + width].T @ matrix[:, start:]
        rows.append(jnp.pad(row, ((0, 0), (start, 0))))
    upper = jnp.concatenate(rows)
    return jnp.triu(upper) + jnp.triu(upper, 1).T


def _by_qr(triangle: Array, right: Array, damping: Array) -> tuple[Array, Array]:
    """z of min ‖T z + y‖² + μ ‖z‖², and the triangle R with RᵀR = TᵀT + μI."""
    size = len(triangle)
    reduced = damped_triangle(jnp.concatenate([triangle, right[:, None]], axis=1), damping)
    return -_triangular(reduced[:, :size], reduced[:, size]), reduced[:, :size]


def _by_cholesky(square: Array, right: Array, damping: Array) -> tuple[Array, Array]:
    """z of (S + μI) z = -y, and the triangle R with RᵀR = S + μI."""
    identity = jnp.eye(len(square), dtype=square.dtype)
    triangle = jnp.linalg.cholesky(square + damping * identity, upper=True)
    return -_twice(triangle, right), triangle


def _twice(triangle: Array, right: Array) -> Array:
    """(RᵀR)⁻¹ y."""
    return _triangular(triangle, _triangular(triangle, right, transposed=True))


@dataclass(frozen=True)
class Dense(Solver):
    """J whole: normal equations while they are good enough, then QR.

    Both keep a matrix and a vector of the same shapes: JᵀJ and Jᵀr, or R and Qᵀr with J = QR.
    """

    def numbers(self, rows: int, parameters: int) -> int:
        return 4 * rows * parameters + 6 * parameters**2

    def prepare(self, at: Linearized, precise: Array) -> tuple[Any, Array]:
        jacobian = _there(at.jacobian)
        rows, size = jacobian.shape

        def reduce() -> tuple[Array, Array]:
            both = jnp.concatenate([jacobian, at.residual[:, None]], axis=1)
            # With fewer rows than columns, zeros make the factor as large as the square.
            both = jnp.pad(both, ((0, max(0, size - rows)), (0, 0)))
            reduced = jnp.linalg.qr(both, mode="r")[:size]
            return reduced[:, :size], reduced[:, size]

        def square() -> tuple[Array, Array]:
            return _gram(jacobian), at.gradient

        return jax.lax.cond(precise, reduce, square), jnp.max(jnp.sum(jacobian**2, axis=0))

    def solve(
        self, at: Linearized, factors: Any, damping: Array, precise: Array
    ) -> tuple[Array, Solve]:
        step, triangle = jax.lax.cond(precise, _by_qr, _by_cholesky, *factors, damping)
        return step, lambda vector: -_twice(triangle, at.backward(vector))


@dataclass(frozen=True)
class Kernel(Solver):
    """J whole, fewer residuals than parameters: every step is a combination of J's rows.

    Normal equations are d = -Jᵀ (J Jᵀ + μI)⁻¹ r. More precise is Jᵀ = QR, for the kernel J Jᵀ
    is RᵀR without ever being formed. With E that reverses an order, E J = U (QE)ᵀ where
    U = E Rᵀ E is upper triangular again, and d = Q E z with z of min ‖U z + E r‖² + μ ‖z‖².
    """

    def numbers(self, rows: int, parameters: int) -> int:
        return 4 * rows * parameters + 6 * rows**2

    def prepare(self, at: Linearized, precise: Array) -> tuple[Any, Array]:
        jacobian = _there(at.jacobian)
        rows = len(jacobian)

        def reduce() -> tuple[Array, Array, Array]:
            reflectors, scales = jnp.linalg.qr(jacobian.T, mode="raw")
            return reflectors.T, scales, jnp.triu(reflectors.T[:rows])[::-1, ::-1].T

        def square() -> tuple[Array, Array, Array]:
            unused = jnp.zeros((jacobian.shape[1] + 1, rows), jacobian.dtype)
            return unused[1:], unused[0], _gram(jacobian.T)

        return jax.lax.cond(precise, reduce, square), jnp.max(jnp.sum(jacobian**2, axis=0))

    def solve(
        self, at: Linearized, factors: Any, damping: Array, precise: Array
    ) -> tuple[Array, Solve]:
        basis, scales, matrix = factors

        def turned(vector: Array) -> Array:
            """Q E z."""
            padded = jnp.pad(vector[::-1], (0, len(basis) - len(vector)))
            return jax.lax.linalg.ormqr(basis, scales, padded[:, None])[:, 0]

        def by_qr() -> tuple[Array, Array]:
            inner, triangle = _by_qr(matrix, at.residual[::-1], damping)
            return turned(inner), triangle

        def by_cholesky() -> tuple[Array, Array]:
            inner, triangle = _by_cholesky(matrix, at.residual, damping)
            return inner @ _there(at.jacobian), triangle

        step, triangle = jax.lax.cond(precise, by_qr, by_cholesky)

        def again(vector: Array) -> Array:
            return -jax.lax.cond(
                precise,
                lambda: turned(_twice(triangle, matrix.T @ vector[::-1])),
                lambda: _twice(triangle, vector) @ _there(at.jacobian),
            )

        return step, again


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
