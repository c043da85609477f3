"""Term losses and their gradients against the same sums written out by hand."""

from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import poise
from nested import assert_close, mlp, quick
from poise.losses import Model, Objective
from poise.points import Sobol, Uniform, samplers_for

pytestmark = pytest.mark.usefixtures("x64")

COUNTS = {"residual": 7, "initial": 5, "boundary": 3}


def objective_of(problem, points, dtype=np.float64):
    draws = {
        term: any(block.patch is not None for block in blocks)
        for term, blocks in problem.blocks.items()
    }
    return Objective(problem, samplers_for(points, draws), jax.random.key(3), dtype)


def value(network, points):
    return jax.vmap(lambda x: network(x)[0], 1)(points)


def slope(network, points, axis):
    return jax.vmap(lambda x: jax.grad(lambda y: network(y)[0])(x)[axis], 1)(points)


def second(network, points, axis):
    def along(x):
        return jax.grad(lambda y: network(y)[0])(x)[axis]

    return jax.vmap(lambda x: jax.grad(along)(x)[axis], 1)(points)


def mean_square(residual):
    return jnp.mean(residual**2)


def klein_gordon_by_hand(model, points):
    """The losses of the reference problem, from its equations."""

    def exact(t, x):
        return x * jnp.cos(5 * jnp.pi * t) + (t * x) ** 3

    u = model.network
    (inside,), (start,), (left, right) = (points[n] for n in ("residual", "initial", "boundary"))
    t, x = inside
    inertia = -25 * jnp.pi**2 * x * jnp.cos(5 * jnp.pi * t) + 6 * t * x**3
    forcing = inertia - 6 * x * t**3 + exact(t, x) ** 3
    equation = second(u, inside, 0) - second(u, inside, 1) + value(u, inside) ** 3 - forcing
    sides = [mean_square(value(u, p) - exact(*p)) for p in (left, right)]
    return {
        "residual": mean_square(equation),
        "initial": mean_square(value(u, start) - start[1]) + mean_square(slope(u, start, 0)),
        "boundary": sides[0] + sides[1],
    }


@cache
def compared(name):
    """An objective with its model and points; losses and gradients, its own and by hand."""
    problem, draws, by_hand = CASES[name]()
    objective = objective_of(problem, draws)
    coefficients = {n: jnp.asarray(v) for n, v in problem.coefficients.items()}
    model = Model(mlp(jnp.tanh, 1, outputs=1), coefficients)
    points = quick(objective.sample)(jax.random.key(5))

    def own_and_by_hand(model):
        own = objective.losses_and_gradients(model, points)
        hand = by_hand(model, points), jax.jacrev(lambda m: by_hand(m, points))(model)
        return own, hand, objective.residuals(model, points)

    return objective, model, points, *quick(own_and_by_hand)(model)


@pytest.fixture
def reference():
    return compared("klein-gordon")


@pytest.mark.parametrize("name", ["klein-gordon", "inverse", "periodic"])
def test_losses_and_gradients_equal_those_by_hand(name):
    *_, (losses, gradients), (by_hand, slopes), _ = compared(name)
    assert set(losses) == set(gradients) == set(by_hand)
    for term in by_hand:
        np.testing.assert_allclose(losses[term], by_hand[term], rtol=1e-12, err_msg=term)
        jax.tree.map(
            lambda g, e, term=term: assert_close(g, e, term, tolerance=1e-11, floor=1e-3),
            gradients[term],
            slopes[term],
        )


def test_points_lie_where_the_terms_hold(reference):
    points = reference[2]
    assert {n: [p.shape for p in parts] for n, parts in points.items()} == {
        "residual": [(2, 7)],
        "initial": [(2, 5)],
        "boundary": [(2, 3), (2, 3)],
    }
    assert np.all(points["initial"][0][0] == 0)
    assert np.all(points["boundary"][0][1] == 0) and np.all(points["boundary"][1][1] == 1)


def test_weighted_gradients_add_up_to_the_gradient_of_the_weighted_loss(reference):
    objective, model, points, (_, gradients), *_ = reference
    weights = {"residual": 1.0, "initial": 31.7, "boundary": 250.0}

    def total(model):
        return sum(weights[n] * loss for n, loss in objective.losses(model, points).items())

    added = jax.tree.map(
        lambda *parts: sum(w * g for w, g in zip(weights.values(), parts, strict=True)),
        *(gradients[term] for term in weights),
    )
    expected = quick(jax.grad(total))(model)
    jax.tree.map(lambda g, e: assert_close(g, e, "sum", tolerance=1e-12), added, expected)


def test_a_loss_is_the_mean_square_of_the_residuals_added_over_equations_and_sides(reference):
    *_, (losses, _), _, residuals = reference
    for term, parts in residuals.items():
        rows = [row for part in parts for row in np.asarray(part)]
        expected = sum(np.mean(row**2) for row in rows)
        np.testing.assert_allclose(losses[term], expected, rtol=1e-13)
        assert len(rows) == (1 if term == "residual" else 2)


# Coefficients, data, mixtures


MEASURED = {"t": [0.1, 0.9, 0.4], "x": [0.2, 0.3, 1.0], "u": [1.0, -2.0, 0.5]}


def inverse_problem():
    """Two unknown coefficients; a term of data alone, and one that mixes data and equation."""
    terms = {
        "equation": poise.interior(lambda u, x, nu, c: u.t - nu * u.xx + c * x),
        "sensor": poise.data(MEASURED),
        "mixed": [
            poise.interior(lambda u, nu: u.x - nu * u),
            poise.data({name: values[:2] for name, values in MEASURED.items()}),
        ],
    }
    domain = {"t": (0, 1), "x": (0, 1)}
    return poise.Problem(domain, ["u"], terms, coefficients={"nu": 0.3, "c": -1.0})


def inverse_by_hand(model, points):
    u, nu, c = model.network, model.coefficients["nu"], model.coefficients["c"]
    t, x, measured = (jnp.asarray(MEASURED[n]) for n in "txu")
    misfit = value(u, jnp.stack([t, x])) - measured
    (inside,), (_, mixed) = points["equation"], points["mixed"]
    return {
        "equation": mean_square(slope(u, inside, 0) - nu * second(u, inside, 1) + c * inside[1]),
        "sensor": mean_square(misfit),
        "mixed": mean_square(slope(u, mixed, 1) - nu * value(u, mixed)) + mean_square(misfit[:2]),
    }


def periodic_problem():
    terms = {
        "equation": poise.interior(lambda u: u.t + u.x),
        "sides": [
            poise.periodic_sides("x", order=2),
            poise.boundary("x", lambda u: u - 1, at=0),
        ],
    }
    return poise.Problem({"t": (0, 1), "x": (0, 0.7)}, ["u"], terms)


def periodic_by_hand(model, points):
    u = model.network
    (inside,), (left, wall) = points["equation"], points["sides"]
    right = left.at[1].set(0.7)
    gaps = [
        value(u, left) - value(u, right),
        slope(u, left, 1) - slope(u, right, 1),
        second(u, left, 1) - second(u, right, 1),
    ]
    return {
        "equation": mean_square(slope(u, inside, 0) + slope(u, inside, 1)),
        "sides": sum(mean_square(gap) for gap in gaps) + mean_square(value(u, wall) - 1),
    }


CASES = {
    "periodic": lambda: (
        periodic_problem(),
        {"equation": Uniform(6), "sides": Uniform(5)},
        periodic_by_hand,
    ),
    "klein-gordon": lambda: (
        poise.zoo.load("klein-gordon"),
        {n: Uniform(count) for n, count in COUNTS.items()},
        klein_gordon_by_hand,
    ),
    "inverse": lambda: (
        inverse_problem(),
        {"equation": Sobol(8), "mixed": Uniform(6)},
        inverse_by_hand,
    ),
}


def test_coefficients_have_gradients_only_where_they_stand():
    *_, (_, gradients), _, _ = compared("inverse")
    moved = {
        term: {n for n, g in gradient.coefficients.items() if g != 0}
        for term, gradient in gradients.items()
    }
    assert moved == {"equation": {"nu", "c"}, "sensor": set(), "mixed": {"nu"}}


def test_measured_points_are_not_drawn_and_come_first_in_a_mixture():
    objective, _, points, *_ = compared("inverse")
    other = quick(objective.sample)(jax.random.key(99))
    sensors = np.array([MEASURED["t"], MEASURED["x"]])
    for sampled in (points, other):
        np.testing.assert_array_equal(sampled["sensor"][0], sensors)
        np.testing.assert_array_equal(sampled["mixed"][0], sensors[:, :2])
        assert sampled["mixed"][1].shape == (2, 6)
    assert np.all(points["mixed"][1] != other["mixed"][1])


def test_gradients_have_nothing_where_the_model_holds_no_float_array():
    class Counting(eqx.Module):
        weight: jax.Array
        layers: jax.Array

        def __call__(self, x):
            return jnp.sin(self.weight @ x)[None] * self.layers

    problem = poise.Problem({"x": (0, 1)}, ["u"], {"r": poise.interior(lambda u: u.xx + u)})
    model = Model(Counting(jnp.array([2.0]), jnp.array(3)), {})
    objective = objective_of(problem, 4)
    points = {"r": (jnp.full((1, 4), 0.5),)}
    _, gradients = quick(objective.losses_and_gradients)(model, points)
    assert gradients["r"].network.layers is None
    assert gradients["r"].network.weight.shape == (1,)


# Points and types


def test_sampling_is_pure_in_its_key_and_differs_between_keys_terms_and_sides(klein_gordon):
    sample = quick(objective_of(klein_gordon, 16).sample)
    first, again, other = (sample(jax.random.key(k)) for k in (1, 1, 2))
    free = [first["residual"][0][1], first["initial"][0][1], *(p[0] for p in first["boundary"])]
    for i, a in enumerate(free):
        assert all(len(np.intersect1d(a, b)) == 0 for b in free[i + 1 :])
    assert jax.tree.all(jax.tree.map(lambda a, b: bool(np.all(a == b)), first, again))
    assert np.all(first["residual"][0] != other["residual"][0])


def test_float32_objectives_are_float32_throughout(klein_gordon):
    objective = objective_of(klein_gordon, 4, np.float32)
    model = Model(mlp(jnp.tanh, 1, outputs=1, dtype=jnp.float32), {})

    def everything(key):
        points = objective.sample(key)
        return (
            points,
            objective.residuals(model, points),
            *objective.losses_and_gradients(model, points),
        )

    shapes = jax.eval_shape(everything, jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {np.dtype(np.float32)}


def test_blocks_that_need_the_same_streams_share_a_propagation_and_keep_their_order():
    # Three sides at once, of different conditions: each gets the values of its own points.
    problem = poise.Problem(
        {"x": (0, 1), "y": (0, 1)},
        ["u"],
        {
            "r": [
                poise.boundary("x", lambda u, x: u + 10 * x, at=0),
                poise.boundary("x", lambda u: u.x, at=1),
                poise.boundary("y", lambda u, y: u + 100 * y, at=1),
            ]
        },
    )
    objective = objective_of(problem, 3)
    # Unequal numbers of points: a slice that is off would not fit.
    points = quick(objective.sample)(jax.random.key(0))["r"]
    points = (points[0], points[1], points[2][:, :2])
    model = Model(lambda p: jnp.stack([p[0] * 2 + p[1] ** 2]), {})
    got = objective.term_residuals("r", model, points)
    np.testing.assert_allclose(got[0][0], points[0][1] ** 2, rtol=1e-14)
    np.testing.assert_allclose(got[1][0], [2, 2, 2], rtol=1e-14)
    np.testing.assert_allclose(got[2][0], 2 * points[2][0] + 1 + 100, rtol=1e-14)


def test_blocks_of_one_term_count_alike_whatever_their_number_of_points():
    problem = poise.Problem({"x": (0, 1)}, ["u"], {"r": poise.boundary(lambda u: u)})
    objective = objective_of(problem, 1)
    points = (jnp.zeros((1, 4)), jnp.ones((1, 2)))
    loss = objective.term_loss("r", Model(lambda p: 1 + 2 * p, {}), points)
    np.testing.assert_allclose(loss, 1.0 + 9.0)


# Pairs of sides, and blocks one by one


def waves(p):
    """u = t sin 3x + x², v = t x³."""
    t, x = p
    return jnp.stack([t * jnp.sin(3 * x) + x**2, t * x**3])


def rows_by_hand(t, order):
    """u and v with their x-derivatives at x = -1 less those at x = 2."""

    def jets(x):
        u = [t * np.sin(3 * x) + x**2, 3 * t * np.cos(3 * x) + 2 * x, -9 * t * np.sin(3 * x) + 2]
        return u[: order + 1], [t * x**3, 3 * t * x**2, 6 * t * x][: order + 1]

    here, opposite = jets(-1.0), jets(2.0)
    return [
        [a - b for a, b in zip(*sides, strict=True)] for sides in zip(here, opposite, strict=True)
    ]


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("fields", [None, ["v"], ["v", "u"]])
def test_a_pair_of_sides_compares_fields_and_derivatives_across(order, fields):
    terms = {"sides": poise.periodic_sides("x", order=order, fields=fields)}
    problem = poise.Problem({"t": (0, 1), "x": (-1, 2)}, ["u", "v"], terms)
    objective = objective_of(problem, 6)
    points = quick(objective.sample)(jax.random.key(1))["sides"]
    t, x = np.asarray(points[0])
    assert np.all(x == -1) and len(np.unique(t)) == 6
    (got,) = objective.term_residuals("sides", Model(waves, {}), points)
    by_field = dict(zip("uv", rows_by_hand(t, order), strict=True))
    expected = [row for name in fields or "uv" for row in by_field[name]]
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-13)


def test_a_periodic_function_satisfies_the_soft_condition():
    problem = poise.Problem(
        {"t": (0, 1), "x": (-1, 2)}, ["u"], {"sides": poise.periodic_sides("x", order=2)}
    )
    objective = objective_of(problem, 5)
    points = quick(objective.sample)(jax.random.key(1))

    def wave(factor):
        return Model(lambda p: jnp.exp(jnp.sin(factor * jnp.pi * p[1] + p[0]))[None], {})

    assert objective.losses(wave(2 / 3), points)["sides"] < 1e-24
    assert objective.losses(wave(1 / 3), points)["sides"] > 0.1


def test_time_may_be_periodic_softly():
    problem = poise.Problem({"t": (0, 2)}, ["u"], {"r": poise.periodic_sides("t", order=1)})
    (got,) = objective_of(problem, 1).term_residuals(
        "r", Model(lambda p: p**3, {}), (jnp.zeros((1, 1)),)
    )
    np.testing.assert_allclose(got, [[-8.0], [-12.0]])


@pytest.mark.parametrize("name", list(CASES))
def test_blocks_one_by_one_and_point_by_point_give_the_rows_of_the_term(name):
    objective, model, points, _, _, residuals = compared(name)
    for term, blocks in objective.problem.blocks.items():
        for block, place, expected in zip(blocks, points[term], residuals[term], strict=True):
            assert expected.shape == (block.equations, place.shape[1])
            whole = quick(lambda p, b=block: objective.block_residual_at(b, model, p))(place)
            assert_close(whole, expected, term, tolerance=1e-13)

            def at(point, targets, block=block):
                one = {n: v[None] for n, v in targets.items()}
                rows = objective.block_residual_at(block, model, point[:, None], one)
                return rows[:, 0]

            targets = {n: jnp.asarray(v) for n, v in block.targets.items()}
            singly = quick(jax.vmap(at, in_axes=(1, 0), out_axes=1))(place, targets)
            assert_close(singly, expected, term, tolerance=1e-13)
