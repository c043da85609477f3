"""The yardstick for speed: the reference experiment as one writes it first in JAX.

Nested `jax.grad` for each derivative, points drawn with NumPy on the host, one jitted call a
step, and every ten steps separate jitted gradient passes for the loss weights. It does the same
work as poise on the same problem (`check` compares losses and gradients), but for how.
"""

from __future__ import annotations

import itertools
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

SIZES = [2, 50, 50, 50, 50, 50, 1]
POINTS = 128


def initialize(seed):
    rng = np.random.default_rng(seed)
    return [
        (
            jnp.asarray(rng.normal(size=(a, b)) * np.sqrt(2 / (a + b)), jnp.float32),
            jnp.zeros(b, jnp.float32),
        )
        for a, b in itertools.pairwise(SIZES)
    ]


def network(params, t, x):
    h = (jnp.stack([t, x]) - 0.5) * jnp.float32(np.sqrt(12.0))
    for weight, bias in params[:-1]:
        h = jnp.tanh(h @ weight + bias)
    weight, bias = params[-1]
    return (h @ weight + bias)[0]


def exact(t, x):
    return x * jnp.cos(5 * jnp.pi * t) + (t * x) ** 3


def forcing(t, x):
    u_tt = -25 * jnp.pi**2 * x * jnp.cos(5 * jnp.pi * t) + 6 * t * x**3
    return u_tt - 6 * x * t**3 + exact(t, x) ** 3


def over_points(function):
    return jax.vmap(function, (None, 0, 0))


u = over_points(network)
u_t = over_points(jax.grad(network, 1))
u_tt = over_points(jax.grad(jax.grad(network, 1), 1))
u_xx = over_points(jax.grad(jax.grad(network, 2), 2))


def residual_loss(params, points):
    t, x = points[:, 0], points[:, 1]
    r = u_tt(params, t, x) - u_xx(params, t, x) + u(params, t, x) ** 3 - forcing(t, x)
    return jnp.mean(r**2)


def initial_loss(params, points):
    t, x = points[:, 0], points[:, 1]
    return jnp.mean((u(params, t, x) - x) ** 2) + jnp.mean(u_t(params, t, x) ** 2)


def boundary_loss(params, left, right):
    def one_side(points):
        t, x = points[:, 0], points[:, 1]
        return jnp.mean((u(params, t, x) - exact(t, x)) ** 2)

    return one_side(left) + one_side(right)


OPTIMIZER = optax.adam(optax.exponential_decay(1e-3, 1000, 0.9))


@jax.jit
def step(params, state, weights, batch):
    interior, initial, left, right = batch

    def loss(params):
        return (
            residual_loss(params, interior)
            + weights[0] * initial_loss(params, initial)
            + weights[1] * boundary_loss(params, left, right)
        )

    value, gradient = jax.value_and_grad(loss)(params)
    updates, state = OPTIMIZER.update(gradient, state, params)
    return optax.apply_updates(params, updates), state, value


residual_gradient = jax.jit(jax.grad(residual_loss))
initial_gradient = jax.jit(jax.grad(initial_loss))
boundary_gradient = jax.jit(jax.grad(boundary_loss))


def sample(rng):
    n = POINTS
    interior = rng.uniform(size=(n, 2))
    initial = np.stack([np.zeros(n), rng.uniform(size=n)], axis=1)
    left = np.stack([rng.uniform(size=n), np.zeros(n)], axis=1)
    right = np.stack([rng.uniform(size=n), np.ones(n)], axis=1)
    return [points.astype(np.float32) for points in (interior, initial, left, right)]


def new_weights(params, weights, batch):
    interior, initial, left, right = batch
    reference = residual_gradient(params, interior)
    largest = max(float(jnp.max(jnp.abs(weight))) for weight, _ in reference)
    gradients = initial_gradient(params, initial), boundary_gradient(params, left, right)
    out = []
    for old, gradient in zip(weights, gradients, strict=True):
        mean = np.mean([float(jnp.mean(jnp.abs(old * weight))) for weight, _ in gradient])
        out.append(0.9 * old + 0.1 * largest / (mean + 1e-10))
    return tuple(out)


def train(steps, seed=0, every=10):
    """Train for some steps; seconds per step, without compilation."""
    rng = np.random.default_rng(seed)
    params, weights = initialize(seed), (1.0, 1.0)
    state = OPTIMIZER.init(params)
    step(params, state, weights, sample(rng))  # compile
    new_weights(params, weights, sample(rng))
    start = time.perf_counter()
    for number in range(steps):
        batch = sample(rng)
        if number % every == 0:
            weights = new_weights(params, weights, batch)
        params, state, _ = step(params, state, weights, batch)
    jax.block_until_ready(params)
    return (time.perf_counter() - start) / steps


def check(objective, network_module, tolerance=2e-3):
    """Make sure that poise and this file compute the same losses and gradients (float32)."""
    from poise.losses import Model

    model = Model(network_module, {})
    params = [(layer.weight.T, layer.bias) for layer in network_module.layers]
    points = objective.sample(jax.random.PRNGKey(3))
    losses, gradients = objective.losses_and_gradients(model, points)
    interior, initial = points["residual"][0].T, points["initial"][0].T
    left, right = (side.T for side in points["boundary"])
    pairs = {
        "residual": jax.value_and_grad(residual_loss)(params, interior),
        "initial": jax.value_and_grad(initial_loss)(params, initial),
        "boundary": jax.value_and_grad(boundary_loss)(params, left, right),
    }
    for term, (value, gradient) in pairs.items():
        np.testing.assert_allclose(losses[term], value, rtol=tolerance)
        for layer, (weight, bias) in zip(gradients[term].network.layers, gradient, strict=True):
            scale = float(jnp.max(jnp.abs(weight)))
            np.testing.assert_allclose(layer.weight.T, weight, atol=tolerance * scale)
            scale = float(jnp.max(jnp.abs(bias))) + 1e-12
            np.testing.assert_allclose(layer.bias, bias, atol=tolerance * scale)
