"""Advection at a high speed around a circle.

    u_t + β u_x = 0                   on t in [0, 1], x in [0, 2π) periodic
    u(0, x) = sin(x)

with β = 30: Krishnapriyan, Gholami, Zhe, Kirby & Mahoney, "Characterizing possible failure modes
in physics-informed neural networks", NeurIPS 2021, where the period is a term of the loss; here
it is exact. All quantities are nondimensional.
"""

from __future__ import annotations

import math

import jax.numpy as jnp

from poise.geometry import periodic
from poise.problem import Problem
from poise.terms import initial, interior

TITLE = "Advection with speed 30, periodic"
REFERENCE = "exact, method of characteristics; Krishnapriyan et al., NeurIPS 2021"

BETA = 30.0


def exact(t, x):
    """u = sin(x - βt)."""
    return jnp.sin(x - BETA * t)


def advection() -> Problem:
    """The problem, with terms "residual" and "initial"; about 42 grid times in a period."""
    return Problem(
        coordinates={"t": (0, 1), "x": periodic(0, 2 * math.pi)},
        fields=["u"],
        terms={
            "residual": interior(lambda u: u.t + BETA * u.x),
            "initial": initial(lambda u, x: u - jnp.sin(x)),
        },
        exact={"u": exact},
        grid={"t": 201, "x": 100},
        name="advection",
        equation="u_t + 30 u_x = 0",
    )
