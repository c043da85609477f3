"""Domains: which coordinates are periodic, and what belongs to a box."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import poise
from poise.geometry import Box, Periodic

DOMAIN = {"t": (0, 1), "x": poise.periodic(-1, 3), "y": (2.0, 5.0)}
BOX = Box.from_intervals(DOMAIN)


def test_a_periodic_coordinate_is_an_interval_that_knows_it():
    interval = poise.periodic(-1, 3)
    low, high = interval
    assert (low, high) == (-1, 3)
    assert isinstance(interval, Periodic)
    assert repr(interval) == "periodic(-1, 3)"


def test_a_box_knows_which_coordinates_are_periodic():
    assert BOX.periodic == ("x",)
    assert (BOX.names, BOX.lower, BOX.upper) == (tuple(DOMAIN), (0, -1, 2), (1, 3, 5))
    assert Box.from_intervals({"x": (0, 1)}).periodic == ()
    assert Box.from_intervals(DOMAIN | {"x": (-1, 3)}) != BOX


@pytest.mark.parametrize(
    ("ends", "fragments"),
    [
        ((3, -1), ["'x'", "lower end first", "did you mean (-1, 3)?"]),
        ((2, 2), ["'x'", "longer than zero"]),
        ((0, math.inf), ["'x'", "periodic(0, inf)", "finite"]),
        (("a", 1), ["'x'", "periodic('a', 1)", "(lower, upper)"]),
    ],
)
def test_the_ends_of_a_period_are_checked_like_those_of_an_interval(ends, fragments):
    with pytest.raises(ValueError, match="coordinate") as caught:
        Box.from_intervals({"x": poise.periodic(*ends)})
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_a_box_tells_its_intervals_in_words():
    assert str(BOX) == "t in (0, 1), x in [-1, 3), periodic, y in (2, 5)"


def test_an_interval_holds_its_ends_and_a_period_every_finite_value():
    values = np.array([[-9.0, 2.0, 5.0], [5.1, 1e9, math.nan]])
    np.testing.assert_array_equal(BOX.contains("y", values), [[0, 1, 1], [0, 0, 0]])
    np.testing.assert_array_equal(BOX.contains("x", values), [[1, 1, 1], [1, 1, 0]])
    assert not BOX.contains("x", np.array(-math.inf))


def test_an_end_may_have_been_rounded_to_float32():
    box = Box.from_intervals({"x": (0, 0.1)})
    assert float(np.float32(0.1)) > 0.1
    assert box.contains("x", np.float64(np.float32(0.1)))
    assert not box.contains("x", np.float64(0.1001))


@given(st.floats(-1e6, 1e6), st.floats(-5, 5), st.floats(0.1, 10))
def test_wrapping_moves_a_value_by_whole_periods_to_between_the_ends(value, low, length):
    box = Box.from_intervals({"x": poise.periodic(low, low + length)})
    high = box.upper[0]
    wrapped = box.wrapped("x", np.array(value))
    assert low <= wrapped <= high + 4 * np.spacing(abs(high) + 1)
    periods = (wrapped - value) / (high - low)
    assert abs(periods - round(float(periods))) < 1e-8
    if low <= value <= high:
        assert wrapped == value


def test_wrapping_leaves_coordinates_on_intervals_alone():
    values = np.array([-7.0, 3.0, 99.0])
    np.testing.assert_array_equal(BOX.wrapped("y", values), values)
    np.testing.assert_allclose(BOX.wrapped("x", values), [1.0, 3.0, -1.0])
