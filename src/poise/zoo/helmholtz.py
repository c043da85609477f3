"""The Helmholtz equation with a manufactured solution.

    u_xx + u_yy + k² u = q(x, y)      on (x, y) in [-1, 1]²
    u = 0                             on all four sides

with k = 1 and q such that u* = sin(a₁πx) sin(a₂πy), a₁ = 1, a₂ = 4: section 4.1 of Wang, Teng &
Perdikaris, SIAM J. Sci. Comput. 43 (2021). All quantities are nondimensional.
"""

from __future__ import annotations

import jax.numpy as jnp

from poise.problem import Problem
from poise.terms import boundary, interior

TITLE = "Helmholtz equation in two dimensions, one and four half waves"
REFERENCE = "exact by construction; Wang, Teng & Perdikaris, SIAM J. Sci. Comput. 43 (2021)"

A1, A2, K = 1, 4, 1.0


def exact(x, y):
    """u* = sin(a₁πx) sin(a₂πy)."""
    return jnp.sin(A1 * jnp.pi * x) * jnp.sin(A2 * jnp.pi * y)


def forcing(x, y):
    """q = u*_xx + u*_yy + k² u* = (k² - (a₁π)² - (a₂π)²) u*."""
    return (K**2 - (A1 * jnp.pi) ** 2 - (A2 * jnp.pi) ** 2) * exact(x, y)


def helmholtz() -> Problem:
    """The problem, with terms "residual" and "boundary"."""
    return Problem(
        coordinates={"x": (-1, 1), "y": (-1, 1)},
        fields=["u"],
        terms={
            "residual": interior(lambda u, x, y: u.xx + u.yy + K**2 * u - forcing(x, y)),
            "boundary": boundary(lambda u: u),
        },
        exact={"u": exact},
        name="helmholtz",
        equation="u_xx + u_yy + u = q,  u = sin πx sin 4πy",
    )
