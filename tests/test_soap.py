"""SOAP against a plain NumPy program, and against Adam where the two must agree."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from poise.optimizers import SOAP, View
from poise.optimizers.soap import scale_by_soap

pytestmark = pytest.mark.usefixtures("x64")

SHAPES = {"bias": (4,), "square": (4, 4), "wide": (3, 4)}


class Reference:
    """Algorithm 3 of Vyas et al. (2024) for one array, float64, with Adam's bias corrections."""

    def __init__(self, shape, b1, b2, eps, every):
        self.b1, self.b2, self.eps, self.every = b1, b2, eps, every
        self.m, self.v, self.seen = np.zeros(shape), np.zeros(shape), 0
        self.factors, self.bases = None, None

    def update(self, g):
        if g.ndim == 2 and self.factors is None:
            self.factors = [(1 - self.b2) * g @ g.T, (1 - self.b2) * g.T @ g]
            self.bases = [np.linalg.eigh(f)[1][:, ::-1] for f in self.factors]
            return np.zeros_like(g)
        self.seen += 1
        self.m = self.b1 * self.m + (1 - self.b1) * g
        rows, columns = self.bases or (None, None)
        turned = g if self.bases is None else rows.T @ g @ columns
        self.v = self.b2 * self.v + (1 - self.b2) * turned**2
        m = self.m if self.bases is None else rows.T @ self.m @ columns
        step = m / (1 - self.b1**self.seen)
        step = step / (np.sqrt(self.v / (1 - self.b2**self.seen)) + self.eps)
        if self.bases is None:
            return step
        for axis, outer in enumerate((g @ g.T, g.T @ g)):
            self.factors[axis] = self.b2 * self.factors[axis] + (1 - self.b2) * outer
        if self.seen % self.every == 0:
            for axis in range(2):
                product = self.factors[axis] @ self.bases[axis]
                order = np.argsort(-np.diag(self.bases[axis].T @ product))
                self.v = np.take(self.v, order, axis)
                self.bases[axis] = np.linalg.qr(product[:, order])[0]
        return rows @ step @ columns.T


def gradients(steps, shapes, seed=0):
    """Gradients with a preferred direction and sizes that wander, so that bases turn."""
    random = np.random.default_rng(seed)
    trend = {name: random.normal(size=shape) for name, shape in shapes.items()}
    return [
        {
            name: trend[name] * np.cos(0.3 * n) + random.normal(size=shape)
            for name, shape in shapes.items()
        }
        for n in range(steps)
    ]


@pytest.mark.parametrize("every", [1, 2, 5])
def test_updates_are_those_of_a_numpy_program(every):
    settings = (0.9, 0.95, 1e-8, every)
    rule = scale_by_soap(*settings)
    state = rule.init({name: jnp.zeros(shape) for name, shape in SHAPES.items()})
    update = jax.jit(rule.update)
    references = {name: Reference(shape, *settings) for name, shape in SHAPES.items()}
    for n, given in enumerate(gradients(16, SHAPES)):
        ours, state = update(jax.tree.map(jnp.asarray, given), state)
        for name, reference in references.items():
            np.testing.assert_allclose(
                ours[name], reference.update(given[name]), rtol=1e-8, atol=1e-10, err_msg=f"{n}"
            )
    for basis in state.bases:
        for q in (basis.rows, basis.columns):
            np.testing.assert_allclose(q.T @ q, np.eye(len(q)), atol=1e-13)


def test_without_rotation_it_is_adam():
    """Diagonal gradients: eigenvectors are axes, and only their order changes with the sizes.

    Adam begins with the second gradient, since the first one moves no matrix.
    """
    rule, adam = scale_by_soap(0.9, 0.99, 1e-8, every=2), optax.scale_by_adam(0.9, 0.99)
    shape = {"w": jnp.zeros((3, 3))}
    state, other = rule.init(shape), adam.init(shape)
    turns = set()
    for n in range(14):
        sizes = [1.5, 1 + 0.4 * n, 4 * np.exp(-0.5 * n)]
        given = {"w": jnp.diag(jnp.asarray(sizes))}
        ours, state = rule.update(given, state)
        if n == 0:
            assert not np.any(ours["w"])
            continue
        expected, other = adam.update(given, other)
        # Beside the diagonal stands the rounding of the bases, divided by ε.
        np.testing.assert_allclose(ours["w"], expected["w"], rtol=1e-10, atol=1e-6)
        turns.add(tuple(np.argmax(np.abs(state.bases[0].rows), axis=0).tolist()))
    assert len(turns) > 1  # the order has changed on the way


def test_whatever_is_no_matrix_gets_adam():
    shapes = {"number": (), "bias": (5,), "filter": (2, 3, 2)}
    rule, adam = scale_by_soap(0.9, 0.99, 1e-8, 2), optax.scale_by_adam(0.9, 0.99)
    zeros = {name: jnp.zeros(shape) for name, shape in shapes.items()}
    state, other = rule.init(zeros), adam.init(zeros)
    assert state.bases == ()
    for given in gradients(6, shapes):
        given = jax.tree.map(jnp.asarray, given)
        ours, state = rule.update(given, state)
        expected, other = adam.update(given, other)
        for name in shapes:
            np.testing.assert_allclose(ours[name], expected[name], rtol=1e-12)


def test_steps_do_not_depend_on_the_coordinates_of_a_matrix():
    """With U G Vᵀ for G, orthogonal U and V, the update is U (...) Vᵀ. Adam's is not."""
    random = np.random.default_rng(4)
    (u, _), (v, _) = (np.linalg.qr(random.normal(size=(n, n))) for n in (3, 4))
    rule = scale_by_soap(every=2)
    plain = turned = rule.init({"w": jnp.zeros((3, 4))})
    update = jax.jit(rule.update)
    for given in gradients(9, {"w": (3, 4)}):
        step, plain = update({"w": jnp.asarray(given["w"])}, plain)
        other, turned = update({"w": jnp.asarray(u @ given["w"] @ v.T)}, turned)
        np.testing.assert_allclose(other["w"], u @ step["w"] @ v.T, rtol=1e-7, atol=1e-8)


def test_learning_rate_falls_continuously():
    """A 1 × 1 matrix and a constant gradient: Adam's step is the rate itself, from step 1 on."""
    optimizer = SOAP(0.02, decay_rate=0.5, decay_steps=4)
    params = {"w": jnp.zeros((1, 1))}
    one, gradient = {"a": jnp.ones(())}, {"w": jnp.full((1, 1), -2.0)}
    state, step = optimizer.init(params), jax.jit(optimizer.step)
    for n in range(10):
        after, state, _ = step(params, state, View(one, {"a": gradient}, one, gradient))
        expected = 0.0 if n == 0 else 0.02 * 0.5 ** (n / 4)
        assert float(after["w"][0, 0] - params["w"][0, 0]) == pytest.approx(expected, rel=1e-6)
        params = after


def test_zero_gradients_leave_everything_finite():
    rule = scale_by_soap(every=1)
    zeros = {"w": jnp.zeros((4, 3)), "b": jnp.zeros(4)}
    state = rule.init(zeros)
    for _ in range(3):
        update, state = rule.update(zeros, state)
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(update))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


@pytest.mark.parametrize(
    ("setting", "value", "hint"),
    [
        ("learning_rate", 0.0, "must be positive"),
        ("decay_rate", -1.0, "must be positive"),
        ("decay_steps", 0, "must be positive"),
        ("eps", 0.0, "must be positive"),
        ("b1", 1.0, r"must be in \[0, 1\)"),
        ("b2", float("nan"), r"must be in \[0, 1\)"),
        ("precondition_every", 0, "must be a whole number"),
    ],
)
def test_settings_out_of_range_are_refused(setting, value, hint):
    with pytest.raises(ValueError, match=rf"SOAP\({setting}={value}\): {hint}"):
        SOAP(**{setting: value})
