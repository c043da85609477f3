"""The residual vector and its Jacobian in pieces, against JAX's derivative of the whole vector."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import poise
from nested import assert_close, mlp, quick
from poise.least_squares import Rows
from poise.losses import Model, Objective
from poise.points import Sobol, Uniform

pytestmark = pytest.mark.usefixtures("x64")

MEASURED = {
    "t": [0.1, 0.9, 0.4, 0.7, 0.2],
    "x": [0.2, 0.3, 0.6, 0.1, 0.5],
    "u": [1.0, -2.0, 0.5, 0.0, 3.0],
}
WEIGHTS = {"equations": 2.0, "sensor": 31.0, "sides": 0.25, "mixed": 5.0}


@cache
def case():
    """Two fields, unknown coefficients, measured values, pairs of sides: Rows and all they need."""
    terms = {
        "equations": poise.interior(
            lambda u, v, x, nu: (u.t - nu * u.xx + u * v, v.x - u**2 + jnp.sin(x))
        ),
        "sensor": poise.data(MEASURED),
        "sides": [poise.periodic_sides("x", order=1), poise.boundary("t", lambda u: u - 1, at=1)],
        "mixed": [
            poise.data({name: values[:3] for name, values in MEASURED.items()}),
            poise.initial(lambda u, v, c: u.t - c * v),
        ],
    }
    domain = {"t": (0, 1), "x": (0, 0.7)}
    problem = poise.Problem(domain, ["u", "v"], terms, coefficients={"nu": 0.3, "c": -1.0})
    samplers = {"equations": Uniform(7), "sides": Sobol(4), "mixed": Uniform(6)}
    objective = Objective(problem, samplers, jax.random.key(3), np.float64)
    coefficients = {n: jnp.asarray(v) for n, v in problem.coefficients.items()}
    params, unravel = ravel_pytree((mlp(jnp.tanh, 1), coefficients))
    rows = Rows(objective, lambda vector: Model(*unravel(vector)))
    points = quick(objective.sample)(jax.random.key(5))
    expected = quick(jax.jacrev(rows))(params, points)
    weights = {n: jnp.asarray(w) for n, w in WEIGHTS.items()}
    return rows, params, points, weights, quick(rows)(params, points), np.asarray(expected)


# 7, 5, 4, 3 and 6 points: a batch that divides some and not others, and one that holds all.
BATCHES = [3, 100]


def test_every_equation_at_every_point_is_a_row_of_its_term():
    rows, *_, values, _ = case()
    # Two equations; one field measured; four gaps and one side; three values and one equation.
    counts = {"equations": 2 * 7, "sensor": 5, "sides": (4 + 1) * 4, "mixed": 3 + 6}
    assert rows.size == sum(counts.values()) == values.size
    np.testing.assert_array_equal(rows.terms, np.repeat(range(4), list(counts.values())))


def test_squares_of_a_terms_rows_add_up_to_its_loss():
    rows, params, points, _, values, _ = case()
    expected = quick(rows.objective.losses)(rows.model(params), points)
    found = rows.losses(values)
    assert list(found) == list(WEIGHTS)
    for term, loss in expected.items():
        assert loss > 1e-3
        np.testing.assert_allclose(found[term], loss, rtol=1e-13, err_msg=term)


def test_rows_are_residuals_over_the_root_of_the_number_of_points():
    rows, params, points, _, values, _ = case()
    residuals = quick(rows.objective.residuals)(rows.model(params), points)
    start = 0
    for term in WEIGHTS:  # compiled functions sort their dictionaries
        for part in residuals[term]:
            for equation in np.asarray(part):
                stop = start + equation.size
                expected = equation / np.sqrt(equation.size)
                np.testing.assert_allclose(values[start:stop], expected, rtol=1e-12, err_msg=term)
                start = stop


def test_sums_by_term_and_scales_of_rows():
    rows, _, _, weights, _, _ = case()
    numbers = np.random.default_rng(0).normal(size=rows.size)
    found = rows.by_term(jnp.asarray(numbers))
    scale = rows.scale(weights)
    for index, term in enumerate(WEIGHTS):
        here = rows.terms == index
        assert float(found[term]) == pytest.approx(numbers[here].sum(), rel=1e-13)
        np.testing.assert_allclose(scale[here], np.sqrt(WEIGHTS[term]), rtol=1e-15)


@pytest.mark.parametrize("batch", BATCHES)
def test_the_jacobian_in_pieces_is_that_of_the_whole_vector(batch):
    rows, params, points, _, values, expected = case()
    assert np.linalg.matrix_rank(expected) > expected.shape[0] // 2  # it is no trivial one
    both = quick(lambda p: (rows.jacobian(p, points, batch), rows.squared_norms(p, points, batch)))
    (found, again), norms = both(params)
    assert found.shape == (rows.size, params.size)
    assert_close(found, expected, batch)
    assert_close(again, values, batch, tolerance=1e-13)
    assert_close(norms, np.sum(expected**2, axis=1), batch)


@pytest.mark.parametrize("batch", BATCHES)
def test_the_gram_matrix_in_pieces_is_that_of_the_weighted_jacobian(batch):
    rows, params, points, weights, values, expected = case()
    lam = np.repeat(list(WEIGHTS.values()), np.bincount(rows.terms))[:, None]
    square, slope = quick(lambda p: rows.gram(p, points, weights, batch))(params)
    assert_close(square, expected.T @ (lam * expected), batch, tolerance=1e-12)
    assert_close(slope, (lam * expected).T @ values, batch, tolerance=1e-12)


def test_twice_the_slope_is_the_gradient_of_the_weighted_loss():
    rows, params, points, weights, values, jacobian = case()
    _, gradients = quick(rows.objective.losses_and_gradients)(rows.model(params), points)
    expected = sum(WEIGHTS[n] * ravel_pytree(tuple(g))[0] for n, g in gradients.items())
    scale = np.asarray(rows.scale(weights))
    slope = (scale[:, None] * jacobian).T @ (scale * values)
    assert_close(2 * slope, expected, "slope", tolerance=1e-12)


def test_a_side_of_an_interval_is_a_point_and_has_rows_too():
    """Of no free coordinate: all the points of a side are the same."""
    problem = poise.Problem(
        {"x": (0, 1)},
        ["u"],
        {"r": poise.interior(lambda u: u.xx + 1), "b": poise.boundary(lambda u: u)},
    )
    objective = Objective(problem, dict.fromkeys("rb", Uniform(3)), jax.random.key(0), np.float64)
    params, unravel = ravel_pytree(mlp(jnp.tanh, 1, 1, 1))
    rows = Rows(objective, lambda vector: Model(unravel(vector), {}))
    points = objective.sample(jax.random.key(0))
    found, _ = quick(lambda p: rows.jacobian(p, points, 2))(params)
    assert rows.size == 9
    assert_close(found, quick(jax.jacrev(rows))(params, points), "ends")


def test_traces_by_random_signs_agree_with_the_rows():
    """Within four standard errors by the formula of the variance."""
    rows, params, points, _, _, jacobian = case()
    probes = 4000
    key = jax.random.key(0)
    found = quick(lambda p, x: rows.probed_traces(p, x, key, probes))(params, points)
    for index, term in enumerate(rows.objective.terms):
        own = jacobian[rows.terms == index]
        kernel = own @ own.T
        off = kernel - np.diag(np.diag(kernel))
        error = np.sqrt(2 * np.sum(off**2) / probes)
        assert abs(float(found[term]) - np.trace(kernel)) < 4 * error + 1e-12, term
        assert error < 0.2 * np.trace(kernel)
