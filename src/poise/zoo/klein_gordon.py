"""The nonlinear Klein-Gordon equation with a manufactured solution.

    u_tt + α u_xx + β u + γ uᵏ = f(t, x)        on (t, x) in [0, 1]²
    u(0, x) = x,   u_t(0, x) = 0,   u = u* on x = 0 and x = 1

with α = -1, β = 0, γ = 1, k = 3 and f chosen such that u* = x cos(5πt) + (tx)³: section 4.3 of
Wang, Teng & Perdikaris, SIAM J. Sci. Comput. 43 (2021). All quantities are nondimensional.
"""

from __future__ import annotations

import jax.numpy as jnp

from poise.problem import Problem
from poise.terms import boundary, initial, interior

TITLE = "Nonlinear Klein-Gordon equation, cubic, one space dimension"
REFERENCE = "exact by construction; Wang, Teng & Perdikaris, SIAM J. Sci. Comput. 43 (2021)"

ALPHA, BETA, GAMMA, POWER = -1.0, 0.0, 1.0, 3


def exact(t, x):
    """u* = x cos(5πt) + (tx)³."""
    return x * jnp.cos(5 * jnp.pi * t) + (t * x) ** 3


def forcing(t, x):
    """f = u*_tt + α u*_xx + β u* + γ u*ᵏ."""
    u = exact(t, x)
    u_tt = -25 * jnp.pi**2 * x * jnp.cos(5 * jnp.pi * t) + 6 * t * x**3
    u_xx = 6 * x * t**3
    return u_tt + ALPHA * u_xx + BETA * u + GAMMA * u**POWER


def klein_gordon() -> Problem:
    """The problem, with terms "residual", "initial" and "boundary"."""
    return Problem(
        coordinates={"t": (0, 1), "x": (0, 1)},
        fields=["u"],
        terms={
            "residual": interior(
                lambda u, t, x: u.tt + ALPHA * u.xx + BETA * u + GAMMA * u**POWER - forcing(t, x)
            ),
            "initial": [
                initial(lambda u, x: u - x),
                initial(lambda u: u.t),
            ],
            "boundary": boundary("x", lambda u, t, x: u - exact(t, x)),
        },
        exact={"u": exact},
        name="klein-gordon",
        equation="u_tt - u_xx + u³ = f,  u = x cos 5πt + (tx)³",
    )
