"""What every network design offers: itself, built for a problem's domain and fields."""

from __future__ import annotations

import abc
from typing import Any

import equinox as eqx
from jaxtyping import PRNGKeyArray

from poise.geometry import Box


class Architecture(abc.ABC):
    """A network without its parameters: sizes and choices, to be built for a problem."""

    @abc.abstractmethod
    def build(self, domain: Box, outputs: int, key: PRNGKeyArray, dtype: Any) -> eqx.Module:
        """Draw parameters.

        Parameters
        ----------
        domain
            The box of the coordinates; gives the number of inputs and their scaling.
        outputs
            Number of fields.
        key
            For the initial parameters.
        dtype
            Of the parameters.

        Returns
        -------
        equinox.Module
            Callable on one point, (d,) -> (outputs,).
        """


def check_sizes(architecture: Architecture, *names: str) -> None:
    """Refuse attributes that are no positive whole numbers.

    Raises
    ------
    ValueError
        With the name and value of the first such attribute.
    """
    for name in names:
        size = getattr(architecture, name)
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            kind = type(architecture).__name__
            raise ValueError(f"{kind}({name}={size!r}): must be a positive integer")
