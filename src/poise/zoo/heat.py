"""The heat equation in a rod with cold ends.

    u_t = α u_xx                      on (t, x) in [0, 1]²
    u(0, x) = sin(πx),   u = 0 on x = 0 and x = 1

with α = 0.4, as in the examples of Lu, Meng, Mao & Karniadakis, "DeepXDE: a deep learning library
for solving differential equations", SIAM Review 63 (2021). All quantities are nondimensional.
"""

from __future__ import annotations

import jax.numpy as jnp

from poise.problem import Problem
from poise.terms import boundary, initial, interior

TITLE = "Heat equation, one space dimension"
REFERENCE = "exact, separation of variables; setting of Lu et al., SIAM Review 63 (2021)"

ALPHA = 0.4


def exact(t, x):
    """u = exp(-απ²t) sin(πx)."""
    return jnp.exp(-ALPHA * jnp.pi**2 * t) * jnp.sin(jnp.pi * x)


def heat() -> Problem:
    """The problem, with terms "residual", "initial" and "boundary"."""
    return Problem(
        coordinates={"t": (0, 1), "x": (0, 1)},
        fields=["u"],
        terms={
            "residual": interior(lambda u: u.t - ALPHA * u.xx),
            "initial": initial(lambda u, x: u - jnp.sin(jnp.pi * x)),
            "boundary": boundary("x", lambda u: u),
        },
        exact={"u": exact},
        name="heat",
        equation="u_t = 0.4 u_xx",
    )
