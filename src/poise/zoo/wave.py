"""The wave equation with two standing waves of different frequency.

    u_tt = c² u_xx                    on (t, x) in [0, 1]²
    u(0, x) = sin(πx) + ½ sin(4πx),   u_t(0, x) = 0,   u = 0 on x = 0 and x = 1

with c = 2: Wang, Yu & Perdikaris, "When and why PINNs fail to train: a neural
tangent kernel perspective", J. Comput. Phys. 449 (2022). All quantities are nondimensional.
"""

from __future__ import annotations

import jax.numpy as jnp

from poise.problem import Problem
from poise.terms import boundary, initial, interior

TITLE = "Wave equation, two standing waves"
REFERENCE = "exact, separation of variables; Wang, Yu & Perdikaris, J. Comput. Phys. 449 (2022)"

C = 2.0


def exact(t, x):
    """u = sin(πx) cos(cπt) + ½ sin(4πx) cos(4cπt)."""
    low = jnp.sin(jnp.pi * x) * jnp.cos(C * jnp.pi * t)
    return low + 0.5 * jnp.sin(4 * jnp.pi * x) * jnp.cos(4 * C * jnp.pi * t)


def wave() -> Problem:
    """The problem, with terms "residual", "initial", "velocity" (u_t at the start), "boundary"."""
    return Problem(
        coordinates={"t": (0, 1), "x": (0, 1)},
        fields=["u"],
        terms={
            "residual": interior(lambda u: u.tt - C**2 * u.xx),
            "initial": initial(
                lambda u, x: u - jnp.sin(jnp.pi * x) - 0.5 * jnp.sin(4 * jnp.pi * x)
            ),
            "velocity": initial(lambda u: u.t),
            "boundary": boundary("x", lambda u: u),
        },
        exact={"u": exact},
        name="wave",
        equation="u_tt = 4 u_xx",
    )
