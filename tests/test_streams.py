"""The combinatorics of higher derivatives."""

import itertools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nested import multi_indices, quick
from poise.derivatives import propagate
from poise.derivatives.streams import below, closure, faa_di_bruno, leibniz, order, single

indices = st.lists(st.integers(0, 3), min_size=1, max_size=6).map(lambda a: tuple(sorted(a)))
tables = st.lists(st.lists(st.integers(-3, 3), min_size=3, max_size=3), min_size=3, max_size=3)


def of_size(size):
    return [(0,) * size, tuple(range(size)), (0,) * (size // 2) + (1,) * (size - size // 2)]


@pytest.mark.parametrize(("size", "bell"), list(enumerate([1, 2, 5, 15, 52, 203], start=1)))
def test_faa_di_bruno_counts_all_partitions_but_one(size, bell):
    for alpha in of_size(size):
        assert sum(count for count, _ in faa_di_bruno(alpha)) == bell - 1


@pytest.mark.parametrize("size", range(1, 7))
def test_leibniz_counts_all_splits_but_two(size):
    for alpha in of_size(size):
        assert sum(count for count, _, _ in leibniz(alpha)) == 2**size - 2


def test_faa_di_bruno_of_a_third_derivative_is_the_known_formula():
    # φ‴(z) z′³ + 3 φ″(z) z′ z″ + φ′(z) z‴, whose last term is left to the stream itself.
    known = {(1, ((0,), (0,), (0,))), (3, ((0,), (0, 0)))}
    assert set(faa_di_bruno((0, 0, 0))) == known


def test_leibniz_of_a_mixed_third_derivative_is_the_known_formula():
    # ∂_xxy(f g) without f g_xxy and f_xxy g
    known = {(2, (0,), (0, 1)), (1, (1,), (0, 0)), (1, (0, 0), (1,)), (2, (0, 1), (0,))}
    assert set(leibniz((0, 0, 1))) == known


@given(indices)
@settings(max_examples=40, deadline=None)
def test_every_partition_and_split_uses_each_position_once(alpha):
    for count, blocks in faa_di_bruno(alpha):
        assert count > 0
        assert len(blocks) > 1
        assert tuple(sorted(sum(blocks, ()))) == alpha
        assert all(block == tuple(sorted(block)) for block in blocks)
    splits = {(beta, gamma): count for count, beta, gamma in leibniz(alpha)}
    assert {beta for beta, _ in splits} == below(alpha)
    for (beta, gamma), count in splits.items():
        assert tuple(sorted(beta + gamma)) == alpha
        assert splits[gamma, beta] == count


@given(st.lists(indices, min_size=1, max_size=3, unique=True))
@settings(max_examples=40, deadline=None)
def test_closure_holds_what_a_stream_needs_and_no_more_lowest_first(alphas):
    stream = tuple((alpha, 1.0 + i) for i, alpha in enumerate(alphas))
    found = closure([stream])
    needed = {single(beta) for alpha in alphas for beta in below(alpha)}
    assert set(found) == needed | {stream}
    assert [order(s) for s in found] == sorted(order(s) for s in found)


def test_closure_leaves_out_the_value():
    assert closure([single(())]) == ()


@quick
def derivatives_of_product(p, q, points):
    def horner(table, x):
        rows = [(table[i, 2] * x[1] + table[i, 1]) * x[1] + table[i, 0] for i in range(3)]
        return (rows[2] * x[0] + rows[1]) * x[0] + rows[0]

    streams = [single(alpha) for alpha in multi_indices(2, 4)]
    return propagate(lambda x: (horner(p, x) * horner(q, x))[None], points, streams)


@given(tables, tables)
@settings(max_examples=12, deadline=None)
def test_derivatives_of_a_product_of_polynomials_are_those_of_its_expansion(p, q):
    expanded = np.zeros((5, 5))
    for i, j in itertools.product(range(3), repeat=2):
        expanded[i : i + 3, j : j + 3] += p[i][j] * np.array(q)

    points = np.array([[-0.7, 0.0, 1.3], [0.4, -1.1, 0.0]])
    with jax.enable_x64(True):
        got = derivatives_of_product(np.array(p, float), np.array(q, float), points)
    for alpha in multi_indices(2, 4):
        derived = np.polynomial.polynomial.polyder(expanded, alpha.count(0), axis=0)
        derived = np.polynomial.polynomial.polyder(derived, alpha.count(1), axis=1)
        expected = np.polynomial.polynomial.polyval2d(*points, derived)
        np.testing.assert_allclose(got[single(alpha)][0], expected, rtol=1e-10, atol=1e-9)
