"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner.

Vyas, Morwani, Zhao, Kwun, Shapira, Brandfonbrener, Janson & Kakade, "SOAP: Improving and
stabilizing Shampoo using Adam", ICLR 2025 (arXiv:2409.11321), Algorithm 3. For PINNs: Wang,
Bhartari, Li & Perdikaris, "Gradient alignment in physics-informed neural networks: a
second-order optimization perspective", NeurIPS 2025 (arXiv:2502.00604).

For a matrix W with gradient G, every step:

    M ← β₁ M + (1 - β₁) G,   M' = Q_Lᵀ M Q_R,   G' = Q_Lᵀ G Q_R,   V ← β₂ V + (1 - β₂) G'∘G'
    W ← W - η Q_L [ M̂' / (√V̂ + ε) ] Q_Rᵀ
    L ← β₂ L + (1 - β₂) G Gᵀ,   R ← β₂ R + (1 - β₂) Gᵀ G

with Adam's corrections for the zeros M and V start from (the hats), and every f steps one step
of orthogonal iteration, Q ← QR(L Q), the columns first sorted by their Rayleigh quotients.

The first gradient moves no matrix: it gives L, R and their eigenvectors. In the basis made
from a gradient that gradient is diagonal, and Adam would divide the rounding errors beside the
diagonal by their own size. All other arrays (biases, numbers) get plain Adam, from the first
step on.

Deviations from the authors' program: no weight decay; arrays of three axes or more get Adam
and are not unfolded; biases move at the first step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from poise.optimizers.first_order import FirstOrder
from poise.optimizers.line_search import check_count


class Basis(NamedTuple):
    """Of one matrix (m, n): L (m, m) and R (n, n), and their eigenvectors as columns."""

    left: Float[Array, "m m"]
    right: Float[Array, "n n"]
    rows: Float[Array, "m m"]
    columns: Float[Array, "n n"]


class SoapState(NamedTuple):
    """Gradients seen; per array, in order, M and V; per matrix, in order, its basis.

    M is in the original coordinates, V of a matrix in those of its basis.
    """

    seen: Int[Array, ""]
    first: tuple[Array, ...]
    second: tuple[Array, ...]
    bases: tuple[Basis, ...]


def scale_by_soap(
    b1: float = 0.95, b2: float = 0.95, eps: float = 1e-8, every: int = 10
) -> optax.GradientTransformation:
    """The rule above but for -η, as an optax gradient transformation.

    Parameters
    ----------
    b1, b2
        β₁, and β₂ of V, L and R.
    eps
        ε.
    every
        f, steps between refreshments of the eigenvectors.

    Notes
    -----
    Cost for a matrix (m, n), beside Adam's: about 8 mn(m + n) multiplications a step, and two
    QR decompositions every `every` steps. Memory: 2(m² + n²) floats.
    """

    def init(params: Any) -> SoapState:
        leaves = jax.tree.leaves(params)
        zeros = tuple(jnp.zeros_like(leaf) for leaf in leaves)
        return SoapState(
            jnp.zeros((), jnp.int32), zeros, zeros, tuple(map(_start, filter(_is_matrix, leaves)))
        )

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, SoapState]:
        del params
        leaves, structure = jax.tree.flatten(updates)
        bases = iter(state.bases)
        steps, first, second, turned = [], [], [], []
        for g, m, v in zip(leaves, state.first, state.second, strict=True):
            if not _is_matrix(g):
                step, m, v = _adam(g, g, m, v, state.seen + 1)
            else:
                basis = next(bases)
                begun = state.seen > 0
                into = basis.rows.T @ g @ basis.columns
                step, m_next, v_next = _adam(g, into, m, v, state.seen, basis)
                step = jnp.where(begun, step, 0)
                m, v = jnp.where(begun, m_next, m), jnp.where(begun, v_next, v)
                basis, v = _turn(g, v, basis, state.seen)
                turned.append(basis)
            steps.append(step)
            first.append(m)
            second.append(v)
        after = SoapState(state.seen + 1, tuple(first), tuple(second), tuple(turned))
        return jax.tree.unflatten(structure, steps), after

    def _adam(
        g: Array, into: Array, m: Array, v: Array, count: Array, basis: Basis | None = None
    ) -> tuple[Array, Array, Array]:
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * into**2
        count = jnp.maximum(count, 1).astype(g.dtype)
        mean = m / (1 - b1**count)
        if basis is not None:
            mean = basis.rows.T @ mean @ basis.columns
        step = mean / (jnp.sqrt(v / (1 - b2**count)) + eps)
        if basis is not None:
            step = basis.rows @ step @ basis.columns.T
        return step, m, v

    def _turn(g: Array, v: Array, basis: Basis, count: Array) -> tuple[Basis, Array]:
        left = b2 * basis.left + (1 - b2) * g @ g.T
        right = b2 * basis.right + (1 - b2) * g.T @ g

        def begin() -> tuple[Array, Array, Array]:
            return _eigenvectors(left), _eigenvectors(right), v

        def refresh() -> tuple[Array, Array, Array]:
            rows, by_row = _iterate(left, basis.rows)
            columns, by_column = _iterate(right, basis.columns)
            return rows, columns, v[by_row][:, by_column]

        def keep() -> tuple[Array, Array, Array]:
            return basis.rows, basis.columns, v

        case = jnp.where(count == 0, 0, jnp.where(count % every == 0, 1, 2))
        rows, columns, v = jax.lax.switch(case, (begin, refresh, keep))
        return Basis(left, right, rows, columns), v

    return optax.GradientTransformation(init, update)


def _is_matrix(leaf: Array) -> bool:
    return leaf.ndim == 2


def _start(leaf: Array) -> Basis:
    (m, n), kind = leaf.shape, leaf.dtype
    return Basis(
        jnp.zeros((m, m), kind),
        jnp.zeros((n, n), kind),
        jnp.eye(m, dtype=kind),
        jnp.eye(n, dtype=kind),
    )


def _eigenvectors(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Eigenvectors as columns, that of the largest eigenvalue first."""
    return jnp.linalg.eigh(matrix)[1][:, ::-1]


def _iterate(
    matrix: Float[Array, "n n"], vectors: Float[Array, "n n"]
) -> tuple[Float[Array, "n n"], Int[Array, " n"]]:
    """One step of orthogonal iteration, and the order the columns were put in for it."""
    product = matrix @ vectors
    order = jnp.argsort(-jnp.sum(vectors * product, axis=0))
    return jnp.linalg.qr(product[:, order])[0], order


@dataclass(frozen=True)
class SOAP(FirstOrder):
    """SOAP with an exponentially falling learning rate; see this module for the rule.

    The rate at step n is learning_rate · decay_rate^(n / decay_steps), continuously. Rate, β₁
    and β₂ are those of Vyas et al. (2024). They refresh the eigenvectors every 10 steps; with
    matrices as small as a PINN's that costs little, and the default is every 2.

    Attributes
    ----------
    learning_rate, decay_rate, decay_steps
        η at the start, its factor, and the steps for one such factor.
    b1, b2
        Decay of the averages: β₁ of the gradient, β₂ of its squares and of L and R.
    eps
        Added to the root in the denominator.
    precondition_every
        Steps between refreshments of the eigenvectors.

    Raises
    ------
    ValueError
        For a setting outside its range.
    """

    learning_rate: float = 3e-3
    decay_rate: float = 0.9
    decay_steps: int = 1000
    b1: float = 0.95
    b2: float = 0.95
    eps: float = 1e-8
    precondition_every: int = 2

    flat = False

    def __post_init__(self) -> None:
        for name in ("learning_rate", "decay_rate", "decay_steps", "eps"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"SOAP({name}={value!r}): must be positive and finite")
        for name in ("b1", "b2"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ValueError(f"SOAP({name}={value!r}): must be in [0, 1); 0.95 is usual")
        check_count("SOAP", "precondition_every", self.precondition_every)

    @property
    def rule(self) -> optax.GradientTransformation:
        schedule = optax.exponential_decay(self.learning_rate, self.decay_steps, self.decay_rate)
        return optax.chain(
            scale_by_soap(self.b1, self.b2, self.eps, self.precondition_every),
            optax.scale_by_learning_rate(schedule),
        )
