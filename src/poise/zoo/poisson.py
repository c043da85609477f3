"""The Poisson equation with a manufactured solution, in two and in five dimensions.

In two dimensions

    -(u_xx + u_yy) = 2π² u*           on (x, y) in [0, 1]²
    u = 0                             on all four sides

with u* = sin(πx) sin(πy), the lowest eigenfunction: the standard first example. In five

    -Δu = (π²/4) Σᵢ sin(πxᵢ/2)        on [0, 1]⁵
    u = u*                            on all ten sides

with u* = Σᵢ sin(πxᵢ/2): Zang, Bao, Ye & Zhou, "Weak adversarial networks for high-dimensional
partial differential equations", J. Comput. Phys. 411 (2020). All quantities are nondimensional.
"""

from __future__ import annotations

import jax.numpy as jnp

from poise.problem import Problem
from poise.terms import boundary, interior

TITLE_2D = "Poisson equation on the unit square"
REFERENCE_2D = "exact by construction"
TITLE_5D = "Poisson equation in five dimensions"
REFERENCE_5D = "exact by construction; Zang, Bao, Ye & Zhou, J. Comput. Phys. 411 (2020)"


def exact_2d(x, y):
    """u* = sin(πx) sin(πy)."""
    return jnp.sin(jnp.pi * x) * jnp.sin(jnp.pi * y)


def exact_5d(x1, x2, x3, x4, x5):
    """u* = Σᵢ sin(πxᵢ/2)."""
    return sum(jnp.sin(jnp.pi / 2 * x) for x in (x1, x2, x3, x4, x5))


def poisson_2d() -> Problem:
    """The problem, with terms "residual" and "boundary"."""
    return Problem(
        coordinates={"x": (0, 1), "y": (0, 1)},
        fields=["u"],
        terms={
            "residual": interior(lambda u, x, y: -u.laplacian - 2 * jnp.pi**2 * exact_2d(x, y)),
            "boundary": boundary(lambda u: u),
        },
        exact={"u": exact_2d},
        name="poisson-2d",
        equation="-Δu = 2π² sin πx sin πy",
    )


def poisson_5d() -> Problem:
    """The problem, with terms "residual" and "boundary"; errors on 8⁵ points."""

    def residual(u, x1, x2, x3, x4, x5):
        return -u.laplacian - jnp.pi**2 / 4 * exact_5d(x1, x2, x3, x4, x5)

    def side(u, x1, x2, x3, x4, x5):
        return u - exact_5d(x1, x2, x3, x4, x5)

    return Problem(
        coordinates={f"x{i}": (0, 1) for i in range(1, 6)},
        fields=["u"],
        terms={"residual": interior(residual), "boundary": boundary(side)},
        exact={"u": exact_5d},
        grid=8,
        name="poisson-5d",
        equation="-Δu = π²/4 Σ sin(πxᵢ/2)",
    )
