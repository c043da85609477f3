"""The lid-driven cavity: its equations, and its reference against two published ones."""

from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import poise
from nested import quick
from poise.losses import Model, Objective
from poise.points import samplers_for
from poise.zoo import cavity
from poise.zoo.cavity_flow import differentiation, interpolation, nodes, solve

# Ghia, Ghia & Shin, J. Comput. Phys. 48 (1982), tables I and II, Re = 100, on 129 x 129 points:
# u along x = 1/2 and v along y = 1/2. Copies of these tables differ; five were compared.
GHIA_U = {
    0.0547: -0.03717,
    0.0625: -0.04192,
    0.0703: -0.04775,
    0.1016: -0.06434,
    0.1719: -0.10150,
    0.2813: -0.15662,
    0.4531: -0.21090,
    0.5000: -0.20581,
    0.6172: -0.13641,
    0.7344: 0.00332,
    0.8516: 0.23151,
    0.9531: 0.68717,
    0.9609: 0.73722,
    0.9688: 0.78871,
    0.9766: 0.84123,
}
GHIA_V = {
    0.0625: 0.09233,
    0.0703: 0.10091,
    0.0781: 0.10890,
    0.0938: 0.12317,
    0.1563: 0.16077,
    0.2266: 0.17507,
    0.2344: 0.17527,
    0.5000: 0.05454,
    0.8047: -0.24533,
    0.8594: -0.22445,
    0.9063: -0.16914,
    0.9453: -0.10313,
    0.9531: -0.08864,
    0.9609: -0.07391,
    0.9688: -0.05906,
}
# Marchi, Suero & Araki, J. Braz. Soc. Mech. Sci. Eng. 31 (2009): grids of up to 1024 x 1024 points,
# extrapolated; the same lines at 1/16, 2/16, ..., 15/16.
MARCHI_U = [-0.041974991, -0.077125399, -0.109816214, -0.141930064, -0.172712391]
MARCHI_U += [-0.198470859, -0.212962392, -0.209149142, -0.182080595, -0.131256301]
MARCHI_U += [-0.060245594, 0.027874448, 0.140425325, 0.310557090, 0.597466694]
MARCHI_V = [0.094807616, 0.149243000, 0.174342933, 0.179243328, 0.169132064]
MARCHI_V += [0.145730201, 0.108775865, 0.057536559, -0.007748504, -0.084066715]
MARCHI_V += [-0.163010143, -0.227827313, -0.253768577, -0.218690812, -0.123318170]
SIXTEENTHS = np.arange(1, 16) / 16


@cache
def flow(degree=32):
    return solve(cavity.REYNOLDS, degree)


def on_centre_lines(found, at):
    middle = np.full_like(at, 0.5)
    return found.u(middle, at), found.v(at, middle)


def test_polynomials_are_differentiated_and_interpolated_exactly():
    polynomial = np.polynomial.Polynomial([1, 0.3, -2, 0.5, 1, -0.7])
    at = nodes(7)
    points = np.concatenate([np.linspace(-1, 1, 11), at])
    slopes = differentiation(7) @ polynomial(at)
    np.testing.assert_allclose(slopes, polynomial.deriv()(at), atol=1e-12)
    values = interpolation(7, points) @ polynomial(at)
    np.testing.assert_allclose(values, polynomial(points), atol=1e-13)


def test_centre_lines_are_those_of_marchi_suero_and_araki_and_converge_to_them():
    errors = []
    for degree in (16, 24, 32):
        u, v = on_centre_lines(flow(degree), SIXTEENTHS)
        errors.append(max(np.abs(u - MARCHI_U).max(), np.abs(v - MARCHI_V).max()))
    assert errors[0] < 2e-3 and errors[1] < 2e-4 and errors[2] < 5e-5
    assert errors[0] > 3 * errors[1] > 9 * errors[2]


def test_centre_lines_are_those_of_ghia_within_the_error_of_that_table():
    """Theirs differ by up to 0.005 in u and 0.009 in v from both of the others."""
    for table, component in ((GHIA_U, 0), (GHIA_V, 1)):
        at, values = np.array(list(table)), np.array(list(table.values()))
        difference = on_centre_lines(flow(), at)[component] - values
        assert np.abs(difference).max() < 0.01
        assert np.sqrt(np.mean(difference**2)) < 0.006


def test_the_flow_keeps_to_the_sides_and_conserves_mass():
    found, at = flow(), np.linspace(0.01, 0.99, 9)
    zero, one = np.zeros(9), np.ones(9)
    np.testing.assert_array_equal(found.u(at, one), 1)
    for side in ((zero, at), (one, at), (at, zero)):
        np.testing.assert_array_equal(found.u(*side), 0)
        np.testing.assert_array_equal(found.v(*side), 0)
    x, y = np.meshgrid(np.linspace(0.1, 0.9, 7), np.linspace(0.1, 0.85, 7))
    h = 1e-5
    spread = (found.u(x + h, y) - found.u(x - h, y)) / (2 * h)
    spread += (found.v(x, y + h) - found.v(x, y - h)) / (2 * h)
    assert np.abs(spread).max() < 1e-6
    assert found.u(x, y).shape == x.shape


def test_vorticity_leaves_a_part_of_the_box_as_fast_as_it_enters():
    """∮ (ω u - ∇ω/Re)·n ds = 0; integrals, for third derivatives are true at nodes only."""
    found, h = flow(), 1e-3
    (left, right), (low, high) = (0.25, 0.75), (0.2, 0.7)
    share = (np.arange(400) + 0.5) / 400

    def vorticity(x, y):
        across = found.v(x + h, y) - found.v(x - h, y)
        return (across - found.u(x, y + h) + found.u(x, y - h)) / (2 * h)

    carried, spread = [], []
    for x, sign in ((left, -1), (right, 1)):
        y = low + (high - low) * share
        at = np.full_like(y, x)
        slope = (vorticity(at + h, y) - vorticity(at - h, y)) / (2 * h)
        carried.append(sign * (high - low) * np.mean(found.u(at, y) * vorticity(at, y)))
        spread.append(sign * (high - low) * np.mean(slope) / cavity.REYNOLDS)
    for y, sign in ((low, -1), (high, 1)):
        x = left + (right - left) * share
        at = np.full_like(x, y)
        slope = (vorticity(x, at + h) - vorticity(x, at - h)) / (2 * h)
        carried.append(sign * (right - left) * np.mean(found.v(x, at) * vorticity(x, at)))
        spread.append(sign * (right - left) * np.mean(slope) / cavity.REYNOLDS)
    assert abs(sum(carried)) > 0.04
    assert sum(carried) == pytest.approx(sum(spread), abs=4e-4)


class Kovasznay(eqx.Module):
    """The flow behind a grid, an exact solution (Proc. Camb. Phil. Soc. 44, 1948)."""

    def __call__(self, point):
        x, y = point
        half = cavity.REYNOLDS / 2
        rate = half - jnp.sqrt(half**2 + 4 * jnp.pi**2)
        decay = jnp.exp(rate * x)
        return jnp.stack(
            [
                1 - decay * jnp.cos(2 * jnp.pi * y),
                rate / (2 * jnp.pi) * decay * jnp.sin(2 * jnp.pi * y),
                (1 - decay**2) / 2,
            ]
        )


@pytest.mark.usefixtures("x64")
def test_the_equations_hold_for_an_exact_flow():
    problem = poise.zoo.load("cavity")
    objective = Objective(
        problem, samplers_for(16, dict.fromkeys(problem.terms, True)), jax.random.key(0), "float64"
    )
    points = quick(objective.sample)(jax.random.key(1))

    def residuals(points):
        return objective.residuals(Model(Kovasznay(), {}), points)

    found = quick(residuals)(points)
    (inside,) = found["residual"]
    assert inside.shape == (3, 16)
    assert np.abs(inside).max() < 1e-12
    lid, floor, *walls = found["boundary"]
    x = points["boundary"][0][0]
    u, v, _ = jax.vmap(Kovasznay(), in_axes=1, out_axes=1)(jnp.stack([x, jnp.ones_like(x)]))
    np.testing.assert_allclose(lid, jnp.stack([u - 1, v]), atol=1e-13)
    np.testing.assert_array_equal(points["boundary"][0][1], 1)
    np.testing.assert_array_equal(points["boundary"][1][1], 0)
    assert {float(where[0, 0]) for where in points["boundary"][2:]} == {0.0, 1.0}
    assert floor.shape == (2, 16) and len(walls) == 2
    assert all(np.abs(wall[0]).max() > 0.1 for wall in walls)  # it flows through these sides


def test_a_few_steps_score_velocities_and_not_the_pressure():
    solution = poise.train(
        poise.zoo.load("cavity"),
        network=poise.networks.MLP(width=8, depth=2),
        points=16,
        steps=3,
        progress=False,
    )
    assert set(solution.relative_l2) == {"u", "v"}
    assert all(0 < error < 10 for error in solution.relative_l2.values())
    assert np.isfinite(float(solution(x=0.5, y=0.5).p))
