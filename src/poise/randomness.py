"""Random numbers that are drawn once, before training: in NumPy.

JAX compiles its generator anew for every shape, which for first weights and fixed points takes
seconds; what is drawn in every step stays with JAX.
"""

from __future__ import annotations

import jax
import numpy as np
from jax.core import Tracer
from jaxtyping import PRNGKeyArray


def once(key: PRNGKeyArray, *place: int) -> np.random.Generator:
    """A generator that follows from a key, and from where its numbers go: independent for each.

    Raises
    ------
    ValueError
        Inside a function that JAX is tracing.
    """
    if isinstance(key, Tracer):
        raise ValueError(
            "first weights and fixed points are drawn in NumPy: build networks and problems "
            "outside of functions that jax.jit, jax.vmap or jax.eval_shape run"
        )
    return np.random.default_rng([*np.asarray(jax.random.key_data(key)).ravel().tolist(), *place])
