"""Causal weights: what happens later counts once what comes before is solved.

Wang, Sankaran & Perdikaris, "Respecting causality for training physics-informed neural networks",
Comput. Methods Appl. Mech. Eng. 421 (2024) 116813, eqs. (3.5) and (3.6). Time is cut into `chunks`
equal intervals; with Lᵢ the mean square residual in the i-th,

    wᵢ = exp(-ε Σ_{j<i} Lⱼ).

As in their Algorithm 1, ε is raised once the smallest wᵢ is above `delta`.

Deviations. The paper goes through a list of ε chosen by hand. Here ε is such that at the first
step the last weight is 1/e, whatever the unit of the residual, and is multiplied by `factor` each
time the smallest weight passes `delta`, up to `largest` times the first ε. An interval without
points adds nothing.

Cost: none beyond the residuals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from poise.weighting.pointwise import Emphasis, Pointwise, TermRows


class CausalMemory(NamedTuple):
    """First and last time of the term's points so far; ε at the first step, 0 before; and now."""

    begin: Float[Array, ""]
    end: Float[Array, ""]
    first: Float[Array, ""]
    epsilon: Float[Array, ""]


@dataclass(frozen=True)
class Causal(Pointwise):
    """mᵢ = exp(-ε · losses of all earlier intervals), on the terms inside the domain.

    Attributes
    ----------
    coordinate
        The one that causes come before effects in.
    chunks
        Intervals of it.
    delta
        Smallest weight above which ε is raised, in (0, 1).
    factor
        By how much.
    largest
        Bound on ε, relative to the first.

    Raises
    ------
    ValueError
        For a setting outside its range; before training, for a coordinate that does not exist.
    """

    coordinate: str = "t"
    chunks: int = 32
    delta: float = 0.99
    factor: float = 10.0
    largest: float = 1e12

    recipe: ClassVar[str] = "causal"
    tied: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.chunks, bool) or not isinstance(self.chunks, int) or self.chunks < 2:
            raise ValueError(f"Causal(chunks={self.chunks!r}): must be a whole number, 2 or more")
        if not 0 < self.delta < 1:
            raise ValueError(f"Causal(delta={self.delta!r}): must lie between 0 and 1")
        for name in ("factor", "largest"):
            if not getattr(self, name) > 1:
                raise ValueError(f"Causal({name}={getattr(self, name)!r}): must be above 1")

    def chosen(self, sizes: Mapping[str, int], interior: Sequence[str]) -> tuple[str, ...]:
        return tuple(interior) if self.terms is None else tuple(self.terms)

    def check_coordinates(self, names: Sequence[str]) -> None:
        if self.coordinate not in names:
            raise ValueError(
                f"Causal(coordinate={self.coordinate!r}): no such coordinate; the coordinates are "
                f"{', '.join(names)}"
            )

    def begin(self, sizes: Mapping[str, int], interior: Sequence[str], dtype: Any) -> Any:
        start = CausalMemory(*(jnp.asarray(x, dtype) for x in (jnp.inf, -jnp.inf, 0.0, 0.0)))
        return dict.fromkeys(self.chosen(sizes, interior), start)

    def emphasize(self, rows: Mapping[str, TermRows], memory: Any) -> tuple[Emphasis, Any]:
        found = {name: self._weights(rows[name], former) for name, former in memory.items()}
        return (
            {name: weights for name, (weights, _) in found.items()},
            {name: after for name, (_, after) in found.items()},
        )

    def _weights(self, rows: TermRows, former: CausalMemory) -> tuple[Array, CausalMemory]:
        times = rows.coordinates[self.coordinate]
        begin = jnp.minimum(former.begin, jnp.min(times))
        end = jnp.maximum(former.end, jnp.max(times))
        length = jnp.where(end > begin, end - begin, 1)
        chunk = jnp.clip((times - begin) / length * self.chunks, 0, self.chunks - 1).astype(int)
        empty = jnp.zeros(self.chunks, times.dtype)
        counts = empty.at[chunk].add(1)
        losses = empty.at[chunk].add(rows.residuals**2) / jnp.maximum(counts, 1)
        before = jnp.cumsum(losses) - losses
        usual = 1 / jnp.where(before[-1] > 0, before[-1], 1)
        usual = jnp.where(jnp.isfinite(usual), usual, 1)
        first = jnp.where(former.first > 0, former.first, usual)
        epsilon = jnp.where(former.first > 0, former.epsilon, first)
        weights = jnp.exp(-epsilon * before)
        raised = jnp.minimum(self.factor * epsilon, self.largest * first)
        epsilon = jnp.where(weights[-1] > self.delta, raised, epsilon)
        return weights[chunk], CausalMemory(begin, end, first, epsilon)
