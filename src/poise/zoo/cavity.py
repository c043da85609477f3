"""The lid-driven cavity at Re = 100: steady Navier-Stokes equations in a square box.

    u u_x + v u_y + p_x - (u_xx + u_yy)/Re = 0
    u v_x + v v_y + p_y - (v_xx + v_yy)/Re = 0      on (x, y) in [0, 1]²
    u_x + v_y = 0
    u = 1, v = 0 on the lid y = 1;  u = v = 0 on the other sides

All quantities are nondimensional: lengths by the box, velocities by the lid. The pressure is
determined up to a constant, which nothing fixes, and has no reference here. At the two corners of
the lid the conditions contradict each other; the reference takes u = 0 there.

The setting is that of Ghia, Ghia & Shin, "High-Re solutions for incompressible flow using the
Navier-Stokes equations and a multigrid method", J. Comput. Phys. 48 (1982). The reference solution
comes from a Chebyshev method of our own for the stream function (`poise.zoo.cavity_flow`). On the
centre lines it agrees to 4e-6 with Marchi, Suero & Araki, J. Braz. Soc. Mech. Sci. Eng. 31 (2009);
on the evaluation grid, where the corners of the lid count, a degree of 56 changes it by 9e-4 in
the relative L2 norm: smaller errors than that say nothing. Ghia's table, from 129 × 129 points, is
off by up to 0.005 in u and 0.009 in v.
"""

from __future__ import annotations

from functools import cache

from poise.problem import Problem
from poise.terms import boundary, interior
from poise.zoo.cavity_flow import CavityFlow, solve
from poise.zoo.reference import PlaneReference

TITLE = "Lid-driven cavity, steady Navier-Stokes equations, Re = 100"
REFERENCE = (
    "own Chebyshev collocation for the stream function; setting of Ghia, Ghia & Shin, "
    "J. Comput. Phys. 48 (1982)"
)

REYNOLDS = 100.0
DEGREE = 44
"""Of the reference's polynomials."""


@cache
def flow() -> CavityFlow:
    """The reference flow; the first call takes about four seconds of one core."""
    return solve(REYNOLDS, DEGREE)


exact_u = PlaneReference(lambda: flow().u)
exact_v = PlaneReference(lambda: flow().v)


def _momentum_and_mass(u, v, p):
    return (
        u * u.x + v * u.y + p.x - u.laplacian / REYNOLDS,
        u * v.x + v * v.y + p.y - v.laplacian / REYNOLDS,
        u.x + v.y,
    )


def _at_rest(u, v):
    return u.value, v.value


def cavity() -> Problem:
    """The problem, with terms "residual" (three equations) and "boundary"."""
    return Problem(
        coordinates={"x": (0, 1), "y": (0, 1)},
        fields=["u", "v", "p"],
        terms={
            "residual": interior(_momentum_and_mass),
            "boundary": [
                boundary("y", lambda u, v: (u - 1, v.value), at=1.0),
                boundary("y", _at_rest, at=0.0),
                boundary("x", _at_rest),
            ],
        },
        exact={"u": exact_u, "v": exact_v},
        name="cavity",
        equation="(u·∇)u + ∇p - ∇²u/100 = 0,  ∇·u = 0",
    )
