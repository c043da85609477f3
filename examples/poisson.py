"""A problem of your own, for the command line: ``poise train examples/poisson.py``.

Poisson's equation on the unit square with a known solution.
"""

import jax.numpy as jnp

import poise


def exact(x, y):
    return jnp.sin(jnp.pi * x) * jnp.sin(jnp.pi * y)


problem = poise.Problem(
    coordinates={"x": (0, 1), "y": (0, 1)},
    fields=["u"],
    terms={
        "residual": poise.interior(
            lambda u, x, y: u.laplacian + 2 * jnp.pi**2 * exact(x, y),
        ),
        "boundary": poise.boundary(lambda u: u),
    },
    exact={"u": exact},
    equation="u_xx + u_yy = -2π² sin πx sin πy",
)
