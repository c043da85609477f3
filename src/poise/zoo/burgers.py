"""The viscous Burgers equation: a sine wave that steepens to a shock.

    u_t + u u_x = ν u_xx              on (t, x) in [0, 1] × [-1, 1]
    u(0, x) = -sin(πx),   u = 0 on x = -1 and x = 1

with ν = 0.01/π: the setting of Raissi, Perdikaris & Karniadakis, J. Comput. Phys. 378 (2019). The
reference is the Cole-Hopf integral as Basdevant et al. give it in "Spectral and finite difference
solutions of the Burgers equation", Computers & Fluids 14 (1986). All quantities are
nondimensional.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from poise.problem import Problem
from poise.terms import boundary, initial, interior

TITLE = "Burgers equation with viscosity 0.01/π"
REFERENCE = (
    "Cole-Hopf integral (Basdevant et al., Computers & Fluids 14, 1986) by quadrature to 1e-12; "
    "setting of Raissi, Perdikaris & Karniadakis, J. Comput. Phys. 378 (2019)"
)

NU = 0.01 / np.pi

_REACH, _NODES = 12.0, 241
"""Quadrature: s from -reach to reach, where exp(-s²) is below 1e-43 of the largest weight."""

_CHUNK = 4096
"""Points together: a bounded amount of memory."""


def exact(t: Any, x: Any, nodes: int = _NODES) -> np.ndarray:
    """u by the Cole-Hopf transformation, in float64.

        u(t, x) = -∫ sin(πy) w ds / ∫ w ds,   y = x - 2 sqrt(νt) s,
        w = exp(-s² - (1 + cos πy)/(2πν))

    The trapezoidal rule on equal steps converges faster than any power of the step, because w is
    entire and vanishes at both ends; w ≤ 1 and its integral is never below 1e-44, so nothing
    overflows or vanishes. At t = 0 it gives the initial values.

    Parameters
    ----------
    t, x
        Arrays of one shape (or such that they broadcast), t ≥ 0.
    nodes
        Of the quadrature; 241 agree with more to 1e-13.

    Returns
    -------
    ndarray
        u there, float64. About 10 µs a point.
    """
    t, x = np.broadcast_arrays(np.asarray(t, np.float64), np.asarray(x, np.float64))
    s = np.linspace(-_REACH, _REACH, nodes)
    out = np.empty(t.size)
    for start in range(0, t.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        spread = 2 * np.sqrt(NU * t.ravel()[part, None])
        angle = np.pi * (x.ravel()[part, None] - spread * s)
        weight = np.exp(-(s**2) - (1 + np.cos(angle)) / (2 * np.pi * NU))
        out[part] = -np.sum(np.sin(angle) * weight, axis=1) / np.sum(weight, axis=1)
    return out.reshape(t.shape)


def burgers() -> Problem:
    """The problem, with terms "residual", "initial" and "boundary"."""
    return Problem(
        coordinates={"t": (0, 1), "x": (-1, 1)},
        fields=["u"],
        terms={
            "residual": interior(lambda u: u.t + u * u.x - NU * u.xx),
            "initial": initial(lambda u, x: u + jnp.sin(jnp.pi * x)),
            "boundary": boundary("x", lambda u: u),
        },
        exact={"u": exact},
        grid={"t": 101, "x": 257},
        name="burgers",
        equation="u_t + u u_x = (0.01/π) u_xx",
    )
