"""Statistics of gradients, and what they make of `Annealing`, against NumPy and SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from poise.training.recipe import describe, rebuild
from poise.weighting import Annealing, Signals
from poise.weighting.statistics import (
    RMS,
    LogMean,
    Max,
    Mean,
    Median,
    PerLayer,
    Quantile,
    TrimmedMean,
)

pytestmark = pytest.mark.usefixtures("x64")

# Entries 1, 2, 3 and 10; 4, 6.
HAND = [np.array([3.0, 1.0, 10.0, 2.0]), np.array([4.0, 6.0])]

REFERENCE = {
    Max(): np.max,
    Mean(): np.mean,
    Median(): np.median,
    Quantile(0.3): lambda x: np.quantile(x, 0.3),
    TrimmedMean(0.2): lambda x: scipy.stats.trim_mean(x, 0.2),
    LogMean(): scipy.stats.gmean,
    RMS(): lambda x: np.sqrt(np.mean(x**2)),
}


def arrays(layers, dtype="float64"):
    return [jnp.asarray(layer, dtype) for layer in layers]


@pytest.mark.parametrize(
    ("statistic", "expected"),
    [
        (Max(), 10.0),
        (Mean(), 26 / 6),
        (Median(), 3.5),
        (Quantile(0.0), 1.0),
        (Quantile(0.5), 3.5),
        (Quantile(1.0), 10.0),
        (Quantile(0.9), 8.0),  # between the fifth, 6, and the sixth: 0.9·5 = 4.5
        (TrimmedMean(0.2), 15 / 4),  # 1 and 10 left out
        (TrimmedMean(0.0), 26 / 6),
        (LogMean(), 1440 ** (1 / 6)),
        (RMS(), (166 / 6) ** 0.5),
        (PerLayer(), (4 + 5) / 2),
        (PerLayer(Max()), 8.0),
        (PerLayer(Median()), (2.5 + 5) / 2),
    ],
)
def test_by_hand(statistic, expected):
    assert float(statistic(arrays(HAND))) == pytest.approx(expected, rel=1e-14)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), c=st.floats(1e-6, 1e6), statistic=st.sampled_from([*REFERENCE]))
def test_against_numpy_and_a_factor_goes_through(seed, c, statistic):
    random = np.random.default_rng(seed)
    layers = [np.abs(random.normal(size=n)) for n in (40, 7, 1)]
    with jax.enable_x64(True):
        found = float(statistic(arrays(layers)))
        scaled = float(statistic(arrays([c * layer for layer in layers])))
        each = [float(statistic(arrays([layer]))) for layer in layers]
        together = float(PerLayer(statistic)(arrays(layers)))
    assert found == pytest.approx(REFERENCE[statistic](np.concatenate(layers)), rel=1e-12)
    assert scaled == pytest.approx(c * found, rel=1e-12)
    assert together == pytest.approx(np.mean(each), rel=1e-12)


@pytest.mark.parametrize("statistic", [*REFERENCE, PerLayer(LogMean())])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_zeros_and_tiny_numbers(statistic, dtype):
    nothing = statistic(arrays([np.zeros(4), np.zeros(2)], dtype))
    assert float(nothing) == 0 and nothing.dtype == dtype
    small = float(statistic(arrays([1e-30 * layer for layer in HAND], dtype)))
    assert small == pytest.approx(1e-30 * float(statistic(arrays(HAND))), rel=1e-5)


@pytest.mark.parametrize("make", [lambda: Quantile(1.1), lambda: Quantile(-0.1)])
def test_a_quantile_is_a_share(make):
    with pytest.raises(ValueError, match=r"Quantile\(.*between 0 and 1"):
        make()


def test_not_everything_is_trimmed():
    with pytest.raises(ValueError, match=r"TrimmedMean\(0.5\): must be in \[0, 0.5\)"):
        TrimmedMean(0.5)


def gradients():
    random = np.random.default_rng(3)
    shapes = [(5, 2), (5,), (1, 5), (1,)]
    return {
        name: [scale * random.normal(size=shape) for shape in shapes]
        for name, scale in (("residual", 30.0), ("initial", 0.2), ("boundary", 2.0))
    }


@pytest.mark.parametrize(
    ("numerator", "denominator"),
    [(Quantile(0.9), LogMean()), (RMS(), RMS()), (PerLayer(Max()), TrimmedMean(0.1))],
)
def test_annealing_by_other_statistics(numerator, denominator):
    """Over the weight matrices alone, of the weighted loss, two updates."""

    def size(statistic, gradient):
        return float(statistic(arrays([np.abs(g).ravel() for g in gradient if g.ndim == 2])))

    given = gradients()
    rule = Annealing(numerator=numerator, denominator=denominator)
    weights, state = rule.init(tuple(given))
    signals = Signals(gradients=jax.tree.map(jnp.asarray, given))
    expected = dict.fromkeys(given, 1.0)
    for _ in range(2):
        weights, state, info = rule.update(state, signals)
        top = size(numerator, given["residual"])
        for name in ("initial", "boundary"):
            below = expected[name] * size(denominator, given[name]) + 1e-10
            expected[name] = 0.9 * expected[name] + 0.1 * top / below
    assert {n: float(w) for n, w in weights.items()} == pytest.approx(expected, rel=1e-12)
    assert float(info["numerator"]) == pytest.approx(top)


def test_statistics_are_written_down_and_read_again():
    rule = Annealing(numerator=Quantile(0.99), denominator=PerLayer(LogMean()))
    assert rebuild(describe(rule)) == rule
