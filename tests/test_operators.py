"""Which derivatives of a residual travel through the network as one."""

from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import poise
from nested import assert_close, mlp, nested, quick, sample
from poise.derivatives import Operator
from poise.derivatives.streams import single
from poise.losses import Model, Objective

T, X, TT, XX = (0,), (1,), (0, 0), (1, 1)
ZERO, FIRST, SECOND = (), (0, 0), (1, 1)
TX = {"t": (0, 1), "x": (0, 1)}
XY = {"x": (0, 1), "y": (0, 1)}
WAVE = ((TT, 1.0), (XX, -1.0))
LAPLACIAN = ((FIRST, 1.0), (SECOND, 1.0))
APART = [single(FIRST), single(SECOND)]


@dataclass
class Case:
    """A residual, the streams that it should take, and the same residual from derivatives.

    `by_hand` takes D(multi-index) or D(field, multi-index), the points by coordinate and the
    coefficients by name.
    """

    coordinates: dict
    residual: Any
    streams: list
    by_hand: Any
    fields: tuple = ("u",)
    coefficients: dict = field(default_factory=dict)

    def problem(self):
        terms = {"residual": poise.interior(self.residual)}
        return poise.Problem(
            self.coordinates, list(self.fields), terms, coefficients=self.coefficients
        )


def flow(u, v, p):
    def momentum(w, force):
        return w.t + u * w.x + v * w.y + force - 0.01 * (w.xx + w.yy)

    return momentum(u, p.x), momentum(v, p.y), u.x + v.y


def flow_by_hand(D, at, c):
    def momentum(w, axis):
        inertia = D(T, w) + D(ZERO, "u") * D((1,), w) + D(ZERO, "v") * D((2,), w)
        return inertia + D((axis,), "p") - 0.01 * (D((1, 1), w) + D((2, 2), w))

    return momentum("u", 1), momentum("v", 2), D((1,), "u") + D((2,), "v")


CASES = {
    "wave": Case(
        TX,
        lambda u, t: u.tt - 4 * u.xx + u**3 - t,
        [((TT, 1.0), (XX, -4.0))],
        lambda D, at, c: D(TT) - 4 * D(XX) + D(ZERO) ** 3 - at["t"],
    ),
    "heat": Case(
        TX,
        lambda u: u.t - 0.1 * u.xx,
        [((T, 1.0), (XX, -0.1))],
        lambda D, at, c: D(T) - 0.1 * D(XX),
    ),
    "scaled": Case(
        TX,
        lambda u, x: x + (3 * u.tt - 6 * u.xx) / 2,
        [((TT, 1.0), (XX, -2.0))],
        lambda D, at, c: at["x"] + 1.5 * D(TT) - 3 * D(XX),
    ),
    "Burgers": Case(
        TX,
        lambda u: u.t + u * u.x - 0.02 * u.xx,
        [single(X), ((T, 1.0), (XX, -0.02))],
        lambda D, at, c: D(T) + D(ZERO) * D(X) - 0.02 * D(XX),
    ),
    "Korteweg-de Vries": Case(
        TX,
        lambda u: u.t + 6 * u * u.x + u.xxx,
        [single(X), ((T, 1.0), ((1, 1, 1), 1.0))],
        lambda D, at, c: D(T) + 6 * D(ZERO) * D(X) + D((1, 1, 1)),
    ),
    "Poisson in the plane": Case(
        XY,
        lambda u, x, y: u.laplacian + x * y,
        [LAPLACIAN],
        lambda D, at, c: D(FIRST) + D(SECOND) + at["x"] * at["y"],
    ),
    "Poisson in space": Case(
        {"x": (0, 1), "y": (0, 1), "z": (0, 1)},
        lambda u: u.laplacian - u,
        [(*LAPLACIAN, ((2, 2), 1.0))],
        lambda D, at, c: D(FIRST) + D(SECOND) + D((2, 2)) - D(ZERO),
    ),
    "incompressible flow": Case(
        {"t": (0, 1), "x": (0, 1), "y": (0, 1)},
        flow,
        [single((1,)), single((2,)), ((T, 1.0), ((1, 1), -0.01), ((2, 2), -0.01))],
        flow_by_hand,
        fields=("u", "v", "p"),
    ),
    "a whole number beside it": Case(
        TX,
        lambda u: (u.tt - u.xx, 1),
        [WAVE],
        lambda D, at, c: (D(TT) - D(XX), 1 + 0 * D(ZERO)),
    ),
    "a coefficient found elsewhere": Case(
        XY,
        lambda u, nu: u.xx + u.yy + nu * u,
        [LAPLACIAN],
        lambda D, at, c: D(FIRST) + D(SECOND) + c["nu"] * D(ZERO),
        coefficients={"nu": 0.3},
    ),
    "a coefficient that varies": Case(
        XY,
        lambda u, x: (1 + x) * u.xx + u.yy,
        APART,
        lambda D, at, c: (1 + at["x"]) * D(FIRST) + D(SECOND),
    ),
    "a coefficient chosen by place": Case(
        XY,
        lambda u, x: jnp.where(x > 0.5, 1.0, 2.0) * u.xx + u.yy,
        APART,
        lambda D, at, c: np.where(at["x"] > 0.5, 1.0, 2.0) * D(FIRST) + D(SECOND),
    ),
    "an equation chosen by place": Case(
        XY,
        lambda u, x: jnp.where(x > 0.5, u.xx, u.yy),
        APART,
        lambda D, at, c: np.where(at["x"] > 0.5, D(FIRST), D(SECOND)),
    ),
    "the field as coefficient": Case(
        XY,
        lambda u: u * u.xx + u.yy,
        APART,
        lambda D, at, c: D(ZERO) * D(FIRST) + D(SECOND),
    ),
    "square of the highest": Case(
        XY,
        lambda u: u.xx**2 + u.yy,
        APART,
        lambda D, at, c: D(FIRST) ** 2 + D(SECOND),
    ),
    "product of the highest": Case(
        XY,
        lambda u: u.xx * u.yy - u.xy**2,
        [single(FIRST), single((0, 1)), single(SECOND)],
        lambda D, at, c: D(FIRST) * D(SECOND) - D((0, 1)) ** 2,
    ),
    "a coefficient to be found": Case(
        XY,
        lambda u, nu: nu * u.xx + u.yy,
        APART,
        lambda D, at, c: c["nu"] * D(FIRST) + D(SECOND),
        coefficients={"nu": 0.3},
    ),
    "two that save nothing": Case(
        XY,
        lambda u, v: (u.xx + u.yy, v.xx - v.yy),
        APART,
        lambda D, at, c: (D(FIRST, "u") + D(SECOND, "u"), D(FIRST, "v") - D(SECOND, "v")),
        fields=("u", "v"),
    ),
    "one alone": Case(
        TX,
        lambda u: u.xx + u,
        [single(XX)],
        lambda D, at, c: D(XX) + D(ZERO),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_derivatives_travel_as_one_exactly_where_they_can(name):
    case = CASES[name]
    (block,) = case.problem().blocks["residual"]
    assert sorted(block.operator.streams) == sorted(case.streams)
    combined = any(len(stream) > 1 for stream in case.streams)
    assert bool(block.operator.absorbed) == any(block.operator.additions) == combined


@cache
def known_derivatives(dimension, outputs):
    network, points = mlp(jnp.tanh, 1, dimension, outputs), sample(dimension)
    return network, points, nested(network, points, 3)


@pytest.mark.parametrize("name", CASES)
def test_residuals_with_and_without_combination_equal_the_one_by_hand(name, x64):
    case = CASES[name]
    problem = case.problem()
    network, points, known = known_derivatives(len(case.coordinates), len(case.fields))

    def derivative(alpha, field="u"):
        return known[alpha][case.fields.index(field)]

    at = dict(zip(case.coordinates, np.asarray(points), strict=True))
    expected = case.by_hand(derivative, at, case.coefficients)
    expected = np.stack(expected if isinstance(expected, tuple) else [expected])

    samplers = {"residual": poise.points.Uniform(1)}
    objective = Objective(problem, samplers, jax.random.key(0), np.float64)
    model = Model(network, {n: jnp.asarray(v) for n, v in case.coefficients.items()})
    (block,) = problem.blocks["residual"]
    asked = sorted({alpha for _, alpha in block.entries if alpha})
    separate = Operator(tuple(map(single, asked)), frozenset(), ((),) * block.equations)

    def both(model):
        found = []
        for operator in (block.operator, separate):
            problem.blocks["residual"] = (replace(block, operator=operator),)
            found += objective.term_residuals("residual", model, (points,))
        return found

    for got in quick(both)(model):
        assert_close(got, expected, name, tolerance=1e-12)
