"""The zoo: its solutions solve its equations; its references converge and agree with others."""

import decimal
import math
from decimal import Decimal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import poise
from nested import quick
from poise.losses import Model, Objective
from poise.points import samplers_for
from poise.zoo import allen_cahn, burgers, etdrk4, kdv
from poise.zoo.reference import Reference

PI = math.pi
NU = 0.01 / PI
LAZY = {"allen-cahn": allen_cahn, "kdv": kdv}
CLOSED = ["advection", "heat", "helmholtz", "klein-gordon", "poisson-2d", "poisson-5d", "wave"]


class Known(eqx.Module):
    """A function of the coordinates in place of a network."""

    function: object = eqx.field(static=True)

    def __call__(self, point):
        return jnp.stack([jnp.asarray(self.function(*point))])


def objective_of(problem, dtype=np.float64):
    samplers = samplers_for(16, dict.fromkeys(problem.terms, True))
    return Objective(problem, samplers, jax.random.key(3), dtype)


def largest_residuals(problem, function):
    """Of every term, from the library's own machinery with a function as the network."""
    objective = objective_of(problem)
    points = quick(objective.sample)(jax.random.key(5))
    found = quick(lambda p: objective.residuals(Model(Known(function), {}), p))(points)
    return {term: max(float(abs(part).max()) for part in parts) for term, parts in found.items()}


# --- Closed forms ----------------------------------------------------------------------------


def d(function, *axes):
    """A partial derivative by nested jax.grad."""
    for axis in axes:
        function = jax.grad(function, axis)
    return function


def by_hand(name, u):
    """The equation, written again: what must vanish at every point of the domain."""
    sin, cos = jnp.sin, jnp.cos
    if name == "advection":
        return lambda t, x: d(u, 0)(t, x) + 30 * d(u, 1)(t, x)
    if name == "heat":
        return lambda t, x: d(u, 0)(t, x) - 0.4 * d(u, 1, 1)(t, x)
    if name == "wave":
        return lambda t, x: d(u, 0, 0)(t, x) - 4 * d(u, 1, 1)(t, x)
    if name == "helmholtz":
        return lambda x, y: (
            d(u, 0, 0)(x, y)
            + d(u, 1, 1)(x, y)
            + u(x, y)
            - (1 - 17 * PI**2) * sin(PI * x) * sin(4 * PI * y)
        )
    if name == "poisson-2d":
        return lambda x, y: (
            d(u, 0, 0)(x, y) + d(u, 1, 1)(x, y) + 2 * PI**2 * sin(PI * x) * sin(PI * y)
        )
    if name == "poisson-5d":
        return lambda *x: sum(d(u, i, i)(*x) + PI**2 / 4 * sin(PI * x[i] / 2) for i in range(5))
    assert name == "klein-gordon"

    def klein_gordon(t, x):
        star = x * cos(5 * PI * t) + (t * x) ** 3
        forcing = -25 * PI**2 * x * cos(5 * PI * t) + 6 * t * x**3 - 6 * x * t**3 + star**3
        return d(u, 0, 0)(t, x) - d(u, 1, 1)(t, x) + u(t, x) ** 3 - forcing

    return klein_gordon


def nearly(u):
    return lambda *x: u(*x) + 0.01 * jnp.sin(1 + sum(x))


def conditions(name, u):
    """(residual, coordinates fixed by position) of the initial and boundary conditions."""
    sides = [{1: 0.0}, {1: 1.0}]
    return {
        "advection": [
            (lambda t, x: u(t, x) - jnp.sin(x), {0: 0.0}),
            (lambda t, x: u(t, x) - u(t, x + 2 * PI), {}),
        ],
        "heat": [
            (lambda t, x: u(t, x) - jnp.sin(PI * x), {0: 0.0}),
            *((u, side) for side in sides),
        ],
        "wave": [
            (lambda t, x: u(t, x) - jnp.sin(PI * x) - jnp.sin(4 * PI * x) / 2, {0: 0.0}),
            (d(u, 0), {0: 0.0}),
            *((u, side) for side in sides),
        ],
        "klein-gordon": [
            (lambda t, x: u(t, x) - x, {0: 0.0}),
            (d(u, 0), {0: 0.0}),
            (u, {1: 0.0}),
            (lambda t, x: u(t, x) - jnp.cos(5 * PI * t) - t**3, {1: 1.0}),
        ],
        "helmholtz": [(u, {axis: end}) for axis in (0, 1) for end in (-1.0, 1.0)],
        "poisson-2d": [(u, {axis: end}) for axis in (0, 1) for end in (0.0, 1.0)],
        "poisson-5d": [
            (
                lambda *x, axis=axis, end=end: (
                    u(*x) - end - sum(jnp.sin(PI * x[i] / 2) for i in range(5) if i != axis)
                ),
                {axis: end},
            )
            for axis in range(5)
            for end in (0.0, 1.0)
        ],
    }[name]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", CLOSED)
def test_a_closed_form_solves_the_equation_written_again(name):
    problem = poise.zoo.load(name)
    u, domain = problem.exact["u"], problem.domain
    rng = np.random.default_rng(0)
    low, high = (np.array(ends)[:, None] for ends in (domain.lower, domain.upper))
    points = low + (high - low) * rng.uniform(size=(domain.dimension, 50))

    def over(function, at):
        return np.asarray(quick(jax.vmap(function))(*at))

    assert np.abs(over(by_hand(name, u), points)).max() < 1e-10
    assert np.abs(over(by_hand(name, nearly(u)), points)).max() > 1e-4
    for residual, fixed in conditions(name, u):
        at = points.copy()
        for axis, end in fixed.items():
            at[axis] = end
        assert np.abs(over(residual, at)).max() < 1e-12


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", CLOSED)
def test_a_closed_form_makes_every_term_of_the_problem_vanish(name):
    problem = poise.zoo.load(name)
    u = problem.exact["u"]
    for term, size in largest_residuals(problem, u).items():
        assert size < 1e-10, term
    for term, size in largest_residuals(problem, nearly(u)).items():
        assert size > 1e-3, term


# --- Burgers ---------------------------------------------------------------------------------


def decimal_pi():
    """Machin's formula."""

    def arctan_of_inverse(n):
        total, power, k = Decimal(0), Decimal(1) / n, 0
        while abs(power) > Decimal(10) ** -85:
            total += power / (2 * k + 1) * (-1) ** k
            power, k = power / n**2, k + 1
        return total

    return 4 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239))


def decimal_cosine(z):
    total, term, k = Decimal(0), Decimal(1), 0
    while abs(term) > Decimal(10) ** -85:
        total, k = total + term, k + 2
        term *= -z * z / (k * (k - 1))
    return total


def decimal_bessel(n, z):
    """I_n(z) by its power series."""
    term = Decimal(1)
    for k in range(1, n + 1):
        term *= z / 2 / k
    total, m = Decimal(0), 0
    while term > total * Decimal(10) ** -85:
        total, m = total + term, m + 1
        term *= (z / 2) ** 2 / (m * (m + n))
    return total


def test_burgers_equals_the_fourier_series_in_eighty_digits():
    """u = -2ν θ_x/θ with θ = I₀(50) + 2 Σ (-1)ⁿ Iₙ(50) exp(-νn²π²t) cos nπx; 1/(2πν) = 50.

    The series cancels 43 digits near the shock, so it takes a longer arithmetic.
    """
    with decimal.localcontext(prec=90):
        pi = decimal_pi()
        assert str(pi).startswith("3.14159265358979323846264338327950288419716939937510")
        nu = Decimal("0.01") / pi
        bessel = [decimal_bessel(n, Decimal(50)) for n in range(150)]
        for t, x in [
            ("0.01", "0.5"),
            ("0.3", "0.01"),
            ("0.5", "0.001"),
            ("1", "0.25"),
            ("1", "-0.9"),
        ]:
            angle, time = pi * Decimal(x), Decimal(t)
            cosine = decimal_cosine(angle)
            sine = decimal_cosine(angle - pi / 2)
            # cos nz and sin nz by their recurrence
            cosines, sines = [Decimal(1), cosine], [Decimal(0), sine]
            for _ in range(148):
                cosines.append(2 * cosine * cosines[-1] - cosines[-2])
                sines.append(2 * cosine * sines[-1] - sines[-2])
            theta, slope = bessel[0], Decimal(0)
            for n in range(1, 150):
                mode = 2 * (-1) ** n * bessel[n] * (-nu * n * n * pi * pi * time).exp()
                theta += mode * cosines[n]
                slope -= mode * n * pi * sines[n]
            expected = float(-2 * nu * slope / theta)
            got = burgers.exact(float(t), float(x))
            np.testing.assert_allclose(got, expected, rtol=1e-12, err_msg=f"{t}, {x}")


def test_burgers_has_the_published_steepest_slope():
    """Basdevant et al. (1986): |u_x(0)| is largest, 152.00516, at t = 1.6037/π."""
    h = 1e-4
    # central difference of eighth order
    weights = np.array([1 / 280, -4 / 105, 1 / 5, -4 / 5, 0, 4 / 5, -1 / 5, 4 / 105, -1 / 280])

    def slope(t):
        return weights @ burgers.exact(t, h * np.arange(-4, 5)) / h

    assert slope(1.6037 / PI) == pytest.approx(-152.00516, abs=5e-6)
    assert min(slope(1.60 / PI), slope(1.61 / PI)) > slope(1.6037 / PI)


def test_burgers_quadrature_has_converged_and_keeps_the_symmetry():
    t, x = np.meshgrid(np.linspace(0, 1, 21), np.linspace(-1, 1, 41), indexing="ij")
    values = burgers.exact(t, x)
    np.testing.assert_allclose(values, burgers.exact(t, x, nodes=481), rtol=0, atol=1e-13)
    np.testing.assert_allclose(values, -burgers.exact(t, -x), rtol=0, atol=1e-13)
    np.testing.assert_allclose(values[0], -np.sin(PI * x[0]), rtol=0, atol=1e-13)
    np.testing.assert_allclose(values[:, [0, -1]], 0, atol=1e-13)


def cole_hopf(t, x):
    """The integral once more, for JAX: a sum over y of the heat kernel times exp(-cos/(2πν))."""
    y = x + jnp.linspace(-1.3, 1.3, 1601)
    weight = jnp.exp(-((x - y) ** 2) / (4 * NU * t) - 50 * (1 + jnp.cos(PI * y)))
    return jnp.sum((x - y) / t * weight) / jnp.sum(weight)


@pytest.mark.usefixtures("x64")
def test_burgers_solves_the_equation_of_the_problem():
    problem = poise.zoo.load("burgers")
    objective = objective_of(problem)
    rng = np.random.default_rng(0)
    inside = jnp.asarray(np.stack([rng.uniform(0.2, 1, 32), rng.uniform(-0.3, 0.3, 32)]))
    expected = burgers.exact(*np.asarray(inside))
    np.testing.assert_allclose(jax.vmap(cole_hopf)(*inside), expected, rtol=0, atol=1e-11)

    def residual(points):
        return objective.term_residuals("residual", Model(Known(cole_hopf), {}), (points,))[0]

    assert np.abs(quick(residual)(inside)).max() < 1e-8  # of terms as large as 100
    start = largest_residuals(problem, lambda t, x: -jnp.sin(PI * x))
    assert start["initial"] < 1e-12 and start["boundary"] < 1e-12 and start["residual"] > 0.1


def burgers_equation(modes, nu):
    return etdrk4.Equation(
        2.0, modes, lambda k: -nu * k**2, lambda k: -0.5j * k, lambda u: u * u, 2
    )


def minus_sine(modes):
    spectrum = np.zeros(modes + 1, complex)
    spectrum[1] = 0.5j
    return spectrum


def test_quadrature_and_spectral_solver_agree_on_burgers():
    """Two methods that share nothing, through the formation of the shock."""
    found = etdrk4.solve(burgers_equation(1023, NU), minus_sine(1023), 0.6, 600)
    x = np.linspace(-1, 1, 201)
    for t in (0.1, 0.3123, 0.5105, 0.6):
        np.testing.assert_allclose(found(t, x), burgers.exact(t, x), rtol=0, atol=1e-7)


# --- The spectral solver ---------------------------------------------------------------------


def weights_of_step(z):
    """½ φ₁(z/2), and α, 2β, γ in terms of φ₁, φ₂, φ₃, by Taylor series in 60 digits."""
    with decimal.localcontext(prec=60):
        argument = Decimal(z)

        def phi(j, at):
            total = Decimal(0)
            for n in reversed(range(200)):
                total = total * at + Decimal(1) / math.factorial(n + j)
            return total

        stage = phi(1, argument / 2) / 2
        one, two, three = (phi(j, argument) for j in (1, 2, 3))
        last = (one - 3 * two + 4 * three, 2 * two - 4 * three, 4 * three - two)
        return [float(number) for number in (stage, *last)]


def test_step_coefficients_are_accurate_for_every_eigenvalue():
    z = np.array([0.0, -1e-9, 1e-4, -0.3, 1.0, -1.7, 5.0, -20.0])
    got = etdrk4.coefficients(z / 0.1, 0.1)
    for i, value in enumerate(z):
        row = [part[i] / 0.1 for part in got[2:]]
        np.testing.assert_allclose(row, weights_of_step(value), rtol=2e-13, err_msg=str(value))
    # the same numbers on the imaginary axis: φ₁(iy) = (exp(iy) - 1)/(iy)
    y = 2.3
    stage = etdrk4.coefficients(np.array([1j * y]), 1.0).stage[0]
    np.testing.assert_allclose(stage, (np.exp(0.5j * y) - 1) / (1j * y), rtol=1e-13)


def test_error_falls_with_the_fourth_power_of_the_step():
    equation = burgers_equation(40, 0.05)
    x = np.linspace(-1, 1, 50)
    exact = etdrk4.solve(equation, minus_sine(40), 0.5, 800)(0.5, x)
    errors = [
        np.abs(etdrk4.solve(equation, minus_sine(40), 0.5, steps)(0.5, x) - exact).max()
        for steps in (25, 50, 100)
    ]
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert np.all((orders > 3.8) & (orders < 4.3)), orders


def test_a_soliton_travels_unchanged():
    """u = A sech²((x - ct)/Δ), Δ² = 12μ²/A, c = A/3: exact up to its tails, exp(-2/Δ)."""
    amplitude, modes = 2.0, 160
    width, speed = math.sqrt(12 / amplitude) * 0.022, amplitude / 3

    def soliton(t, x):
        place = (x - speed * t + 1) % 2 - 1
        return amplitude / np.cosh(place / width) ** 2

    samples = soliton(0, np.arange(400) / 200)
    spectrum = np.fft.rfft(samples, norm="forward")[: modes + 1]
    found = etdrk4.solve(kdv.equation(modes), spectrum, 0.3, 3600)
    x = np.linspace(-1, 1, 101)
    for t in (0.0, 0.1, 0.23456, 0.3):
        np.testing.assert_allclose(found(t, x), soliton(t, x), rtol=0, atol=1e-8)


def test_any_time_and_any_arrangement_of_points(monkeypatch):
    """Between steps as accurate as at steps; grids, scattered points and scalars agree."""
    equation = burgers_equation(40, 0.05)
    coarse, fine = (etdrk4.solve(equation, minus_sine(40), 0.5, n) for n in (200, 800))
    t, x = np.meshgrid([0.0, 0.1003, 0.25, 0.4999, 0.5], np.linspace(-1, 1, 30), indexing="ij")
    grid = coarse(t, x)
    monkeypatch.setattr(etdrk4, "_CHUNK", 80)  # two times together, and no product over a grid
    np.testing.assert_allclose(coarse(t, x), grid, rtol=0, atol=1e-13)
    assert grid.shape == t.shape and grid.dtype == np.float64
    np.testing.assert_allclose(grid, fine(t, x), rtol=0, atol=1e-9)
    np.testing.assert_allclose(coarse(0.1003, x[1]), grid[1], rtol=0, atol=1e-14)
    rng = np.random.default_rng(0)
    times, places = rng.uniform(0, 0.5, 7), rng.uniform(-1, 1, 7)
    scattered = coarse(times, places)
    single = [coarse(a, b) for a, b in zip(times, places, strict=True)]
    np.testing.assert_allclose(scattered, single, rtol=0, atol=1e-14)
    np.testing.assert_allclose(coarse(times, places + 2), scattered, rtol=0, atol=1e-13)


def test_the_solver_refuses_what_it_cannot_do():
    equation = burgers_equation(40, 0.05)
    found = etdrk4.solve(equation, minus_sine(40), 0.5, 10)
    for t in (-0.1, 0.6, np.nan):
        with pytest.raises(ValueError, match=r"covers t in \(0, 0\.5\)"):
            found(t, 0.0)
    with pytest.raises(ValueError, match="41 coefficients"):
        etdrk4.solve(equation, minus_sine(30), 0.5, 10)
    with pytest.raises(ValueError, match="20 steps to t=1 are too few"):
        kdv.trajectory(144, 20)


# --- Allen-Cahn and Korteweg-de Vries --------------------------------------------------------


class Window(eqx.Module):
    """The reference near a time, as a polynomial in t of Fourier series in x, for JAX."""

    center: float
    half_width: float
    powers: jax.Array
    wavenumbers: jax.Array

    @classmethod
    def around(cls, trajectory, center, half_width, count=9):
        nodes = np.cos(PI * (np.arange(count) + 0.5) / count)
        k = trajectory.equation.wavenumbers
        spectra = trajectory.spectrum(center + half_width * nodes) * np.where(k > 0, 2.0, 1.0)
        powers = np.linalg.solve(np.vander(nodes), spectra)  # the highest one first
        return cls(center, half_width, jnp.asarray(powers), jnp.asarray(k))

    def __call__(self, point):
        t, x = point
        angles = self.wavenumbers * x
        terms = self.powers.real @ jnp.cos(angles) - self.powers.imag @ jnp.sin(angles)
        total = 0.0
        for term in terms:
            total = total * (t - self.center) / self.half_width + term
        return jnp.stack([total])


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("name", "modes", "steps", "half_width", "start", "by_hand"),
    [
        (
            "allen-cahn",
            *(700, 500, 0.02),
            lambda x: x**2 * jnp.cos(PI * x),
            lambda u: (
                lambda t, x: (
                    d(u, 0)(t, x) - 1e-4 * d(u, 1, 1)(t, x) - 5 * u(t, x) + 5 * u(t, x) ** 3
                )
            ),
        ),
        (
            "kdv",
            *(144, 12_000, 0.002),
            lambda x: jnp.cos(PI * x),
            lambda u: (
                lambda t, x: (
                    d(u, 0)(t, x) + u(t, x) * d(u, 1)(t, x) + 0.022**2 * d(u, 1, 1, 1)(t, x)
                )
            ),
        ),
    ],
)
def test_a_reference_solves_its_equation(name, modes, steps, half_width, start, by_hand):
    problem = poise.zoo.load(name)
    exact = problem.exact["u"]
    trajectory = kdv._solution() if name == "kdv" else allen_cahn.trajectory(modes, steps)
    network = Window.around(trajectory, 0.4, half_width)
    rng = np.random.default_rng(0)
    points = np.stack([0.4 + half_width * rng.uniform(-0.7, 0.7, 24), rng.uniform(-1, 1, 24)])
    values = quick(jax.vmap(lambda t, x: network(jnp.stack([t, x]))[0]))(*points)
    np.testing.assert_allclose(values, exact(*points), rtol=0, atol=3e-9)

    objective = objective_of(problem)

    def residuals(points):
        model = Model(network, {})
        own = objective.term_residuals("residual", model, (points,))[0][0]
        hand = jax.vmap(by_hand(lambda t, x: network(jnp.stack([t, x]))[0]))(*points)
        terms = jax.vmap(d(lambda t, x: network(jnp.stack([t, x]))[0], 0))(*points)
        return own, hand, terms

    own, hand, rate = quick(residuals)(jnp.asarray(points))
    assert np.abs(rate).max() > 1
    assert max(np.abs(own).max(), np.abs(hand).max()) < 1e-6 * np.abs(rate).max()
    # the initial values, in the term and in the reference
    x = np.linspace(-1, 1, 301)
    np.testing.assert_allclose(exact(np.zeros_like(x), x), start(x), rtol=0, atol=1e-12)
    sizes = largest_residuals(problem, lambda t, x: start(x))
    assert sizes["initial"] < 1e-12 and sizes["residual"] > 0.1


def grid_of(name, times=(0.01, 0.1, 0.37, 0.7503, 1.0)):
    return np.meshgrid(times, np.linspace(-1, 1, 401)[:-1], indexing="ij")


def test_kdv_has_converged():
    """A fourth-order error that halved steps show, and that the reference's steps take to 1e-9."""
    t, x = grid_of("kdv")
    values = kdv.exact(t, x)
    coarse, middle = (np.abs(kdv.trajectory(144, n)(t, x) - values).max() for n in (3000, 6000))
    assert coarse / middle > 14
    assert middle < 14e-9
    few_modes = kdv.trajectory(120, 6000)(t, x)
    assert np.abs(few_modes - values).max() < 20e-9
    assert np.abs(kdv._solution().spectra[:, -5:]).max() < 1e-11


def test_kdv_conserves_mass_momentum_and_energy():
    """∫u, ∫u² and ∫(u³/3 - μ² u_x²) over the period, in time."""
    times = np.linspace(0, 1, 11)
    x = -1 + np.arange(512) / 256
    u = kdv.exact(*np.meshgrid(times, x, indexing="ij"))
    k = PI * np.arange(257)
    slope = np.fft.irfft(1j * k * np.fft.rfft(u), 512)
    np.testing.assert_allclose(u.mean(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose((u**2).mean(axis=1), 0.5, rtol=1e-9)
    energy = (u**3 / 3 - 0.022**2 * slope**2).mean(axis=1)
    np.testing.assert_allclose(energy, -(0.022**2) * PI**2 / 2, atol=1e-8)


def test_kdv_agrees_with_zabusky_and_kruskals_leapfrog():
    """Their scheme of 1965, of second order: the distance falls fourfold as the mesh is halved."""

    def leapfrog(points, duration):
        h = 2 / points
        steps = math.ceil(duration / (0.25 * h**3 / 0.022**2))
        k = duration / steps
        x = -1 + h * np.arange(points)

        def change(u):
            left, right = np.roll(u, 1), np.roll(u, -1)
            steep = np.roll(u, -2) - 2 * right + 2 * left - np.roll(u, 2)
            return -(left + u + right) * (right - left) * k / (3 * h) - 0.022**2 * k / h**3 * steep

        before = np.cos(PI * x)
        now = before + change(before + change(before) / 4) / 2  # half a change is k/2
        for _ in range(steps - 1):
            before, now = now, before + change(now)
        return np.abs(now - kdv.exact(duration, x)).max()

    coarse, fine = leapfrog(200, 0.4), leapfrog(400, 0.4)
    assert fine < 0.02
    assert 3 < coarse / fine < 5.5


def test_allen_cahn_has_converged():
    t, x = grid_of("allen-cahn")
    values = allen_cahn.exact(t, x)
    for modes, steps in ((1024, 1000), (1280, 500)):
        finer = allen_cahn.trajectory(modes, steps)(t, x)
        np.testing.assert_allclose(values, finer, rtol=0, atol=1e-9)


def test_allen_cahn_keeps_its_symmetry_and_its_bounds():
    t, x = grid_of("allen-cahn")
    values = allen_cahn.exact(t, x)
    np.testing.assert_allclose(values, allen_cahn.exact(t, -x), rtol=0, atol=1e-12)
    np.testing.assert_allclose(values, allen_cahn.exact(t, x + 2), rtol=0, atol=1e-11)
    assert np.abs(values).max() <= 1 + 1e-9  # maximum principle
    # near x = 0, u is small: the linear equation gives (ν t u_xx(0) + ...) exp(5t), u_xx(0) = 2
    times = t[:, 0]
    expected = 2e-4 * times * np.exp(5 * times)
    np.testing.assert_allclose(values[:, np.abs(x[0]).argmin()], expected, rtol=5e-3)


def test_allen_cahn_initial_spectrum_is_that_of_the_initial_values():
    """Against the trapezoidal rule with end corrections: a Riemann sum on 2^17 points."""
    points = 2**17
    x = -1 + 2 * np.arange(points) / points
    waves = np.exp(-1j * PI * np.outer(np.arange(6), x))
    sums = waves @ (x**2 * np.cos(PI * x)) / points
    np.testing.assert_allclose(allen_cahn.initial_spectrum(5), sums, rtol=0, atol=1e-9)


def test_allen_cahn_agrees_with_finite_differences():
    """On half a period, mirrored at both ends; LSODA in time."""

    def distance(points):
        x = np.linspace(0, 1, points)
        h = x[1]

        def rate(t, u):
            padded = np.concatenate([u[1:2], u, u[-2:-1]])
            second = (padded[2:] - 2 * u + padded[:-2]) / h**2
            return 1e-4 * second + 5 * (u - u**3)

        found = solve_ivp(
            rate,
            (0, 1),
            x**2 * np.cos(PI * x),
            method="LSODA",
            t_eval=[0.2, 1],
            rtol=1e-7,
            atol=1e-9,
            lband=1,
            uband=1,
        )
        expected = [allen_cahn.exact(t, x) for t in found.t]
        return np.abs(found.y.T - expected).max()

    coarse, fine = distance(501), distance(1001)
    assert fine < 5e-3
    assert 3 < coarse / fine < 5


# --- Every entry -----------------------------------------------------------------------------


def test_every_entry_says_where_its_reference_comes_from():
    assert set(poise.zoo.names()) == {*CLOSED, *LAZY, "burgers", "cavity"}
    for name in poise.zoo.names():
        entry, problem = poise.zoo.entry(name), poise.zoo.load(name)
        assert entry.name == name == problem.name
        assert entry.title and entry.reference and problem.equation
        assert "\n" not in entry.title + entry.reference
        known = {"u", "v"} if name == "cavity" else set(problem.fields)  # pressure has no level
        assert set(problem.exact) == known
    with pytest.raises(ValueError, match=r"'stokes'.*advection, allen-cahn"):
        poise.zoo.load("stokes")


@pytest.mark.parametrize("name", LAZY)
def test_building_a_problem_does_not_solve_it(name):
    before = LAZY[name]._solution.cache_info()
    assert poise.zoo.load(name).exact["u"] is LAZY[name].exact
    assert LAZY[name]._solution.cache_info() == before
    LAZY[name].exact(np.zeros(1), np.zeros(1))
    after = LAZY[name]._solution.cache_info()
    assert after.hits + after.misses == before.hits + before.misses + 1


def test_a_lazy_reference_of_a_users_own_is_met_when_it_scores():
    calls = []

    def prepare():
        calls.append("solved")
        return lambda t, x: t + x

    problem = poise.Problem(
        {"t": (0, 1), "x": (0, 1)},
        ["u"],
        {"residual": poise.interior(lambda u: u.t - u.x)},
        exact={"u": Reference(prepare)},
    )
    assert not calls
    np.testing.assert_array_equal(problem.exact_values(np.full((2, 4), 0.5))["u"], 1.0)
    assert calls == ["solved"]


@pytest.mark.parametrize("name", poise.zoo.names())
def test_every_problem_has_losses_and_gradients_at_a_network_in_float32(name):
    problem = poise.zoo.load(name)
    objective = objective_of(problem, dtype=np.float32)
    architecture = poise.networks.MLP(width=8, depth=2)
    outputs = len(problem.fields)
    network = architecture.build(problem.domain, outputs, jax.random.key(0), np.float32)

    def at(model):
        points = objective.sample(jax.random.key(5))
        return objective.losses_and_gradients(model, points)

    losses, gradients = quick(at)(Model(network, {}))
    assert set(losses) == set(problem.terms)
    for term, loss in losses.items():
        assert 0 < loss < 1e6 and loss.dtype == np.float32, term
        leaves = jax.tree.leaves(gradients[term])
        assert all(np.isfinite(leaf).all() for leaf in leaves), term
        assert any(np.abs(leaf).max() > 0 for leaf in leaves), term


def few_steps(name):
    solution = poise.train(
        poise.zoo.load(name),
        network=poise.networks.MLP(width=8, depth=2),
        weighting=poise.weighting.Fixed(),
        points=16,
        steps=3,
        progress=False,
    )
    assert solution.status == "budget spent", solution.message
    assert 0 < solution.relative_l2["u"] < 100
    for column, values in solution.history.items():
        assert np.isfinite(values).all(), column


def test_a_problem_with_a_lazy_reference_trains():
    few_steps("kdv")


@pytest.mark.slow
@pytest.mark.parametrize("name", poise.zoo.names())
def test_every_problem_trains(name):
    few_steps(name)
