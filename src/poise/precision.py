"""The floating-point type of a run.

JAX decides about float64 for a whole process; here it belongs to the run, so everything a run
does happens inside `working_in`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import jax
import numpy as np

DTYPES = ("float32", "float64")


def working_in(dtype: str) -> AbstractContextManager[None]:
    """Context in which JAX computes in the given type.

    In float32 runs float64 is switched off, so that a stray `numpy.float64` in a user's equation
    does not slow everything down.
    """
    return jax.enable_x64(np.dtype(dtype) == np.float64)


def check_dtype(dtype: str) -> str:
    """The name of a type that runs can have.

    Raises
    ------
    ValueError
        For any other.
    """
    name = np.dtype(dtype).name if not isinstance(dtype, str) else dtype
    if name not in DTYPES:
        raise ValueError(f"dtype={dtype!r}: must be one of {', '.join(DTYPES)}")
    return name
