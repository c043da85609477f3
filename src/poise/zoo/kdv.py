"""The Korteweg-de Vries equation: a cosine that breaks up into solitons.

    u_t + η u u_x + μ² u_xxx = 0      on t in [0, 1], x in [-1, 1) periodic
    u(0, x) = cos(πx)

with η = 1, μ = 0.022: Zabusky & Kruskal, "Interaction of solitons in a collisionless plasma and
the recurrence of initial states", Phys. Rev. Lett. 15 (1965); as a benchmark in Wang, Sankaran,
Wang & Perdikaris, "An expert's guide to training physics-informed neural networks" (2023). All
quantities are nondimensional.

The reference solution comes from our own `etdrk4` solver with 144 modes and 12,000 steps. Against
200 modes and 32,000 steps it changes by less than 1e-9 anywhere; |u| is at most 2.6.
"""

from __future__ import annotations

from functools import cache

import jax.numpy as jnp
import numpy as np

from poise.geometry import periodic
from poise.problem import Problem
from poise.terms import initial, interior
from poise.zoo.etdrk4 import Equation, Trajectory, solve
from poise.zoo.reference import Reference

TITLE = "Korteweg-de Vries equation, periodic"
REFERENCE = (
    "own Fourier/ETDRK4 solver (Kassam & Trefethen 2005), converged to 1e-9; setting of "
    "Zabusky & Kruskal, Phys. Rev. Lett. 15 (1965)"
)

ETA, MU = 1.0, 0.022


def equation(modes: int) -> Equation:
    """In Fourier space: L = iμ²k³, and the product in the form -(η/2) ∂x(u²)."""
    return Equation(
        period=2.0,
        modes=modes,
        linear=lambda k: 1j * MU**2 * k**3,
        outer=lambda k: -0.5j * ETA * k,
        inner=np.square,
        degree=2,
    )


def trajectory(modes: int, steps: int) -> Trajectory:
    """Solve with so many modes and steps; 144 and 12,000 take one to three seconds."""
    spectrum = np.zeros(modes + 1)
    spectrum[1] = 0.5
    return solve(equation(modes), spectrum, 1.0, steps)


@cache
def _solution() -> Trajectory:
    return trajectory(144, 12_000)


exact = Reference(_solution)
"""u(t, x) in float64; the first call takes one to three seconds."""


def kdv() -> Problem:
    """The problem, with terms "residual" and "initial"."""
    return Problem(
        coordinates={"t": (0, 1), "x": periodic(-1, 1)},
        fields=["u"],
        terms={
            "residual": interior(lambda u: u.t + ETA * u * u.x + MU**2 * u.xxx),
            "initial": initial(lambda u, x: u - jnp.cos(jnp.pi * x)),
        },
        exact={"u": exact},
        grid={"t": 101, "x": 256},
        name="kdv",
        equation="u_t + u u_x + 0.022² u_xxx = 0",
    )
