"""Reference solutions of periodic equations in one space dimension: Fourier series and ETDRK4.

The equation is u_t = L u + N(u) with a linear operator L that is diagonal in Fourier space and
N(u) = D g(u), where D is diagonal too and g a polynomial at each point. Everything is NumPy in
float64; memory and time grow as modes × steps.

- *Space.* u(x) = Σ c_n exp(i k_n x), k_n = 2πn/P, |n| ≤ K. Products are formed on so many points
  that none of their frequencies folds back onto a mode that is kept (Galerkin, not collocation).
- *Time.* The exponential Runge-Kutta method of fourth order: Cox & Matthews, "Exponential time
  differencing for stiff systems", J. Comput. Phys. 176 (2002), equations 26-29. Its coefficients
  are means over a circle around each eigenvalue, because the formulas cancel where the eigenvalue
  is small: Kassam & Trefethen, "Fourth-order time-stepping for stiff PDEs", SIAM J. Sci. Comput.
  26 (2005).
- *Between steps* one shorter step is taken from the step before. So the solution at any time is
  as accurate as at a whole step, also while fast modes are still dying out, where a polynomial in
  time would need far shorter steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

_CHUNK = 100_000
"""Coefficients that are evaluated together: so few that they stay in a processor's cache."""

_CIRCLE = 24
"""Points on the circle; the mean of an entire function over n of them errs as 1/n!."""


@dataclass(frozen=True)
class Equation:
    """u_t = L u + D g(u) on a period.

    Attributes
    ----------
    period
        Its length P.
    modes
        K, the highest frequency kept; K + 1 complex coefficients represent a real u.
    linear
        Eigenvalues of L, from the wavenumbers k, shape (K + 1,). Real or complex.
    outer
        Eigenvalues of D, likewise.
    inner
        g, from values of u to values of the same shape.
    degree
        Of the polynomial g.
    """

    period: float
    modes: int
    linear: Callable[[np.ndarray], np.ndarray]
    outer: Callable[[np.ndarray], np.ndarray]
    inner: Callable[[np.ndarray], np.ndarray]
    degree: int

    @cached_property
    def wavenumbers(self) -> np.ndarray:
        """k_n = 2πn/P for n = 0 … K, shape (K + 1,)."""
        return 2 * np.pi / self.period * np.arange(self.modes + 1)

    @cached_property
    def eigenvalues(self) -> np.ndarray:
        """Of L, shape (K + 1,)."""
        return self.linear(self.wavenumbers)

    @cached_property
    def _outer(self) -> np.ndarray:
        return self.outer(self.wavenumbers)

    @cached_property
    def _points(self) -> int:
        least = (self.degree + 1) * self.modes + 1
        return int(next_fast_len(least, real=True))  # type: ignore[arg-type]

    def nonlinear(self, spectrum: np.ndarray) -> np.ndarray:
        """Coefficients of D g(u), shape (..., K + 1), from those of u."""
        values = np.asarray(irfft(spectrum, self._points, norm="forward"))
        product = np.asarray(rfft(self.inner(values), norm="forward", overwrite_x=True))
        return self._outer * product[..., : self.modes + 1]


class Coefficients(NamedTuple):
    """Of one ETDRK4 step of length h, for each eigenvalue of L; z = hL.

    `half` = exp(z/2), `whole` = exp(z), `stage` = h (exp(z/2) - 1)/z, and the three weights
    α, 2β and γ of the final combination. Shape of z each.
    """

    half: np.ndarray
    whole: np.ndarray
    stage: np.ndarray
    first: np.ndarray
    middle: np.ndarray
    last: np.ndarray


def coefficients(linear: np.ndarray, step: np.ndarray | float) -> Coefficients:
    """The coefficients of a step.

    Parameters
    ----------
    linear
        Eigenvalues of L, shape (K + 1,).
    step
        Length h: a number, or several of shape (T, 1).

    Returns
    -------
    Coefficients
        Arrays of shape (K + 1,) or (T, K + 1); relative error about 1e-15 for every eigenvalue,
        zero included.
    """
    z = np.asarray(step * linear)
    # Angles that miss the real axis, so that the circle around a real z never meets zero. For
    # real z the lower half of the circle is the conjugate of the upper one.
    count = _CIRCLE // 2 if np.isrealobj(z) else _CIRCLE
    total: list[np.ndarray] = [np.zeros(z.shape, complex) for _ in range(4)]
    for angle in 2 * np.pi * (np.arange(count) + 0.5) / _CIRCLE:
        r = z + np.exp(1j * angle)
        root, square = np.exp(r / 2), r * r
        e, over = root * root, 1 / (r * square)
        total[0] += (root - 1) * (over * square)
        total[1] += (-4 - r + e * (4 - 3 * r + square)) * over
        total[2] += (4 + 2 * r + e * (2 * r - 4)) * over
        total[3] += (-4 - 3 * r - square + e * (4 - r)) * over
    means = [step / count * (np.real(part) if np.isrealobj(z) else part) for part in total]
    return Coefficients(np.exp(z / 2), np.exp(z), *means)


def advance(equation: Equation, spectrum: np.ndarray, c: Coefficients) -> np.ndarray:
    """One ETDRK4 step, or many at once: coefficients of shape (..., K + 1) to the same."""
    at_start = equation.nonlinear(spectrum)
    drift = c.half * spectrum
    a = drift + c.stage * at_start
    at_a = equation.nonlinear(a)
    at_b = equation.nonlinear(drift + c.stage * at_a)
    at_c = equation.nonlinear(c.half * a + c.stage * (2 * at_b - at_start))
    ends = c.first * at_start + c.last * at_c
    return c.whole * spectrum + ends + c.middle * (at_a + at_b)


@dataclass(frozen=True)
class Trajectory:
    """The solution on 0 ≤ t ≤ T, at any points.

    Attributes
    ----------
    equation
        What was solved.
    step
        Length of a time step.
    spectra
        Coefficients at every step, shape (steps + 1, K + 1), complex128.
    """

    equation: Equation
    step: float
    spectra: np.ndarray

    def spectrum(self, t: np.ndarray) -> np.ndarray:
        """Coefficients at times of shape (T,), shape (T, K + 1).

        Raises
        ------
        ValueError
            For a time outside the solved interval.
        """
        steps = len(self.spectra) - 1
        outside = ~((t >= 0) & (t <= self.step * steps * (1 + 1e-6)))
        if outside.any():
            raise ValueError(
                f"t={t[outside][0]:g}: the reference solution covers t in (0, "
                f"{self.step * steps:g})"
            )
        before = np.minimum((t / self.step).astype(int), steps)
        rest = (t - before * self.step)[:, None]
        shorter = coefficients(self.equation.eigenvalues, rest)
        return advance(self.equation, self.spectra[before], shorter)

    def __call__(self, t: Any, x: Any) -> np.ndarray:
        """u at points; t and x of one shape (or such that they broadcast), float64.

        Costs one step for each different time, and a sum over the modes for each point: less on
        a grid, where it is a matrix product.
        """
        t, x = np.broadcast_arrays(np.asarray(t, np.float64), np.asarray(x, np.float64))
        shape, t, x = t.shape, t.ravel(), x.ravel()
        k = self.equation.wavenumbers
        twice = np.where(k > 0, 2.0, 1.0)  # the modes n and -n are conjugates
        places, column = np.unique(x, return_inverse=True)
        times, row = np.unique(t, return_inverse=True)
        by_time = np.argsort(row, kind="stable")
        ends = np.searchsorted(row[by_time], np.arange(len(times) + 1))
        on_grid = len(times) * len(places) <= 4 * t.size and len(places) * len(k) <= 50 * _CHUNK
        waves = np.exp(1j * k[:, None] * places) if on_grid else None
        out = np.empty(t.size)
        chunk = max(1, _CHUNK // len(k))
        for start in range(0, len(times), chunk):
            spectra = self.spectrum(times[start : start + chunk]) * twice
            first, last = ends[start], ends[start + len(spectra)]
            if waves is not None:
                here = by_time[first:last]
                values = np.real(spectra @ waves)
                out[here] = values[row[here] - start, column[here]]
                continue
            for low in range(first, last, chunk):
                here = by_time[low : min(low + chunk, last)]
                modes = spectra[row[here] - start]
                pairs = modes * np.exp(1j * x[here, None] * k)
                out[here] = np.real(pairs).sum(axis=1)
        return out.reshape(shape)


def solve(equation: Equation, spectrum: np.ndarray, duration: float, steps: int) -> Trajectory:
    """Integrate from t = 0 by ETDRK4 with steps of one length.

    Parameters
    ----------
    equation
        What to solve.
    spectrum
        Coefficients c_n of the initial values for n = 0 … K, shape (K + 1,).
    duration
        End of the time interval.
    steps
        Number of steps.

    Returns
    -------
    Trajectory
        A function of t and x. Error O(h⁴) in time; in space as the series decays.

    Raises
    ------
    ValueError
        If the initial values have the wrong number of coefficients, or the numbers grow without
        bound because the step is too long.
    """
    spectrum = np.asarray(spectrum, np.complex128)
    if spectrum.shape != (equation.modes + 1,):
        raise ValueError(
            f"initial values of shape {spectrum.shape}: give {equation.modes + 1} coefficients, "
            f"n = 0 to {equation.modes}"
        )
    step = duration / steps
    c = coefficients(equation.eigenvalues, step)
    spectra = np.empty((steps + 1, equation.modes + 1), np.complex128)
    spectra[0] = spectrum
    with np.errstate(over="ignore", invalid="ignore"):
        for i in range(steps):
            spectra[i + 1] = advance(equation, spectra[i], c)
    bad = np.flatnonzero(~np.isfinite(spectra).all(axis=1))
    if bad.size:
        raise ValueError(
            f"{steps} steps to t={duration:g} are too few: not finite after step {bad[0]}"
        )
    return Trajectory(equation, step, spectra)
