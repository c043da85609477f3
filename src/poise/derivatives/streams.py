"""The combinatorics of higher derivatives: multi-indices, Leibniz and Faà di Bruno.

A derivative ∂^α is named by its *multi-index*, the sorted tuple of the coordinates' positions:
with coordinates (t, x), ``u.t`` is ``(0,)``, ``u.tx`` is ``(0, 1)``, ``u.xx`` is ``(1, 1)`` and
the value itself is ``()``.

A *stream* is what is propagated through the network beside the value: a linear combination
Σ c_α ∂^α of derivatives, with fixed numbers c_α. Most are a single derivative. A combination,
such as ∂_tt - ∂_xx or ∂_t - ν ∂_xx, costs one stream instead of two wherever a residual needs
nothing else of its members.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from itertools import combinations

MultiIndex = tuple[int, ...]
Stream = tuple[tuple[MultiIndex, float], ...]
"""((α, c_α), ...): the combination Σ c_α ∂^α."""


def single(alpha: MultiIndex) -> Stream:
    """The stream of one derivative."""
    return ((alpha, 1.0),)


def below(alpha: MultiIndex) -> set[MultiIndex]:
    """Every multi-index that divides `alpha`, without the value and without `alpha` itself."""
    return {part for size in range(1, len(alpha)) for part in combinations(alpha, size)}


def closure(streams: Iterable[Stream]) -> tuple[Stream, ...]:
    """The streams to propagate so that all of `streams` come out, lowest order first.

    The chain rule for ∂^α needs every ∂^β with β below α. A combination needs what is below its
    members but not the members themselves.
    """
    streams = [stream for stream in streams if stream != single(())]
    needed = {single(beta) for stream in streams for alpha, _ in stream for beta in below(alpha)}
    return tuple(sorted(needed | set(streams), key=lambda stream: (order(stream), stream)))


def order(stream: Stream) -> int:
    """The highest order of derivative in a stream."""
    return max(len(alpha) for alpha, _ in stream)


@lru_cache
def leibniz(alpha: MultiIndex) -> tuple[tuple[int, MultiIndex, MultiIndex], ...]:
    """Terms (count, β, γ) of ∂^α(f g) = Σ count · ∂^β f · ∂^γ g, both parts below `alpha`.

    The two outer terms, f ∂^α g and g ∂^α f, are left out: they are linear in the stream itself
    and hold for a combination of derivatives as a whole.
    """
    positions = range(len(alpha))
    terms: Counter[tuple[MultiIndex, MultiIndex]] = Counter()
    for size in range(1, len(alpha)):
        for chosen in combinations(positions, size):
            beta = tuple(alpha[i] for i in chosen)
            gamma = tuple(alpha[i] for i in positions if i not in chosen)
            terms[beta, gamma] += 1
    return tuple((count, beta, gamma) for (beta, gamma), count in terms.items())


@lru_cache
def faa_di_bruno(alpha: MultiIndex) -> tuple[tuple[int, tuple[MultiIndex, ...]], ...]:
    """Terms (count, blocks) of ∂^α φ(z) = Σ count · φ^(len(blocks))(z) · Π_b ∂^b z.

    One term for each partition of the derivative's positions into at least two blocks (Hardy,
    Combinatorics of partial derivatives, 2006, eq. 3), equal ones counted. The partition into
    a single block, φ'(z) ∂^α z, is left out: it is linear in the stream itself.
    """
    terms: Counter[tuple[MultiIndex, ...]] = Counter()
    for partition in _partitions(tuple(range(len(alpha)))):
        if len(partition) > 1:
            blocks = sorted(tuple(alpha[i] for i in block) for block in partition)
            terms[tuple(blocks)] += 1
    return tuple((count, blocks) for blocks, count in terms.items())


def _partitions(positions: tuple[int, ...]) -> list[list[tuple[int, ...]]]:
    """Every way to split `positions` into blocks."""
    if not positions:
        return [[]]
    first, rest = positions[0], positions[1:]
    found = []
    for size in range(len(rest) + 1):
        for chosen in combinations(rest, size):
            others = tuple(position for position in rest if position not in chosen)
            found += [[(first, *chosen), *partition] for partition in _partitions(others)]
    return found
