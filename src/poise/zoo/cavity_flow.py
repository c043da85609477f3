"""Steady flow in a lid-driven square box, by Chebyshev collocation of the stream function.

With u = ψ_y and v = -ψ_x mass is conserved, and the curl of the momentum equations is

    ψ_y ∇²ψ_x - ψ_x ∇²ψ_y - ∇⁴ψ / Re = 0,     ψ = 0 on all sides, ψ_y = 1 on the lid,

all other normal derivatives zero. ψ is a polynomial in x and in y that vanishes on the sides
(Trefethen, Spectral Methods in MATLAB, SIAM 2000, chapters 6 and 14). At the inner nodes next to a
side the condition on the normal derivative there takes the place of the equation; at the four next
to a corner, which would have two, it is that of the lid and of the floor: both together contradict
each other at the corners of the lid. Newton's method, with the whole Jacobian as one dense matrix.

The velocity jumps at the corners of the lid, so that the method converges there like a power of the
number of nodes only; a little away from them, and on the centre lines above all, faster.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float


def nodes(degree: int) -> Float[np.ndarray, " n"]:
    """Chebyshev's points of [-1, 1], ends included, from the left."""
    return -np.cos(np.pi * np.arange(degree + 1) / degree)


def differentiation(degree: int) -> Float[np.ndarray, "n n"]:
    """The derivative of the polynomial through values at the nodes, at them."""
    at, signs = nodes(degree), (-1.0) ** np.arange(degree + 1)
    signs[[0, -1]] *= 2
    matrix = signs[:, None] / signs[None] / (at[:, None] - at[None] + np.eye(degree + 1))
    return matrix - np.diag(matrix.sum(axis=1))  # rows of a derivative add up to zero


def interpolation(degree: int, points: Float[np.ndarray, " N"]) -> Float[np.ndarray, "N n"]:
    """From values at the nodes to those of the polynomial through them, barycentric."""
    signs = (-1.0) ** np.arange(degree + 1)
    signs[[0, -1]] /= 2
    apart = points[:, None] - nodes(degree)[None]
    hit = apart == 0
    parts = signs / np.where(hit, 1, apart)
    parts = np.where(hit.any(axis=1, keepdims=True), hit, parts)
    return parts / parts.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class CavityFlow:
    """A flow that has been solved for.

    Attributes
    ----------
    stream
        Stream function at the nodes, x first, with lengths in halves of the box.
    """

    stream: Float[np.ndarray, "n n"]

    def u(self, x: Any, y: Any) -> np.ndarray:
        """Velocity along x at points of [0, 1]², arrays of one shape."""
        along = self.stream @ differentiation(len(self.stream) - 1).T
        return self._at(along, x, y, lid=1.0)

    def v(self, x: Any, y: Any) -> np.ndarray:
        """Velocity along y."""
        across = -differentiation(len(self.stream) - 1) @ self.stream
        return self._at(across, x, y, lid=0.0)

    def _at(self, values: Any, x: Any, y: Any, lid: float) -> np.ndarray:
        """Interpolate; on the sides, where the conditions hold at nodes only, what they say."""
        x, y = (np.asarray(c, float) for c in (x, y))
        left, right = (interpolation(len(values) - 1, 2 * c.ravel() - 1) for c in (x, y))
        found = np.sum((left @ values) * right, axis=1).reshape(x.shape)
        found = np.where(y == 1, lid, found)
        return np.where((x == 0) | (x == 1) | (y == 0), 0.0, found)


def solve(reynolds: float, degree: int, tolerance: float = 1e-10) -> CavityFlow:
    """The steady flow, from the creeping one, with polynomials of a degree in each direction.

    Takes about 2/3 degree⁶ operations for each of some six steps, and 80 degree⁴ bytes.

    Raises
    ------
    RuntimeError
        If Newton's method does not converge, as from some Reynolds number on.
    """
    first = differentiation(degree)
    inner = slice(1, -1)
    powers = [np.eye(degree + 1)]
    for _ in range(4):
        powers.append(first @ powers[-1])
    d = [power[inner, inner] for power in powers]  # ψ vanishes at the ends
    count = degree - 1

    def partial(i: int, j: int) -> np.ndarray:
        """∂ⁱ/∂xⁱ ∂ʲ/∂yʲ at the inner nodes, x slowest."""
        return np.kron(d[i], d[j])

    bending = partial(4, 0) + 2 * partial(2, 2) + partial(0, 4)
    along, across = partial(0, 1), partial(1, 0)
    curl_along, curl_across = partial(3, 0) + partial(1, 2), partial(2, 1) + partial(0, 3)
    places, conditions, lid = _sides(first, count)
    # On [-1, 1] lengths are halves of the box and speeds are the same: Re is halved too.
    viscosity = 2 / reynolds
    stream = np.zeros(count**2)
    for step in range(30):
        residual, jacobian = -viscosity * (bending @ stream), -viscosity * bending
        if step:  # without inertia at first: that flow is a good start, and rest is none
            u, minus_v = along @ stream, across @ stream
            spin_x, spin_y = curl_along @ stream, curl_across @ stream
            residual += u * spin_x - minus_v * spin_y
            jacobian += u[:, None] * curl_along - minus_v[:, None] * curl_across
            jacobian += spin_x[:, None] * along - spin_y[:, None] * across
        jacobian[places] = conditions
        residual[places] = conditions @ stream - lid
        change = np.linalg.solve(jacobian, residual)
        stream -= change
        if not np.all(np.isfinite(stream)):
            break
        if np.abs(change).max() < tolerance:
            return CavityFlow(np.pad(stream.reshape(count, count), 1))
    raise RuntimeError(f"no steady flow found at Re = {reynolds:g} with degree {degree}")


def _sides(
    first: Float[np.ndarray, "n n"], count: int
) -> tuple[list[int], Float[np.ndarray, "k m"], Float[np.ndarray, " k"]]:
    """Conditions on normal derivatives: in place of which equations, their rows, right sides."""
    low, high = first[0, 1:-1], first[-1, 1:-1]
    places, rows, right = [], [], []
    for i in range(count):
        for end, slope, value in ((count - 1, high, 1.0), (0, low, 0.0)):
            row = np.zeros((count, count))
            row[i] = slope
            places.append(i * count + end)
            rows.append(row.ravel())
            right.append(value)
    for j in range(1, count - 1):
        for end, slope in ((count - 1, high), (0, low)):
            row = np.zeros((count, count))
            row[:, j] = slope
            places.append(end * count + j)
            rows.append(row.ravel())
            right.append(0.0)
    return places, np.stack(rows), np.array(right)
