"""A periodic coordinate from the problem to the report: training, prediction, files."""

import copy
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import poise
from poise import runs
from poise.networks import MLP, SIREN, Embedding
from poise.precision import working_in
from poise.report.page import page
from poise.training.recipe import Recipe
from poise.training.record import configuration, write_again
from poise.training.run import prepare


def travelling(x=None, **options):
    """u_t + u_x = 0 on a circle of length 2."""
    return poise.Problem(
        {"t": (0, 0.5), "x": poise.periodic(-1, 1) if x is None else x},
        ["u"],
        {
            "residual": poise.interior(lambda u: u.t + u.x),
            "initial": poise.initial(lambda u, x: u - jnp.sin(jnp.pi * x)),
        },
        exact={"u": lambda t, x: jnp.sin(jnp.pi * (x - t))},
        grid=8,
        **options,
    )


def prepared(network, dtype="float32"):
    """Everything that happens before compiling and training."""
    with working_in(dtype):
        return prepare(travelling(), Recipe(network=network, points=16, dtype=dtype), seed=0)


@pytest.fixture(scope="module")
def solution():
    return poise.train(
        travelling(),
        network=SIREN(12, 2),
        weighting=poise.weighting.Fixed({"initial": 10.0}),
        optimizer=poise.optimizers.Adam(5e-3),
        points=32,
        steps=1500,
        progress=False,
    )


def test_a_problem_without_boundary_terms_is_solved(solution):
    assert solution.status == "budget spent"
    assert solution.best_relative_l2["u"] < 0.1


def test_predictions_repeat_with_the_period(solution):
    x = np.linspace(-1, 1, 7)
    here = solution(t=0.3, x=x)
    for periods in (-3, 1, 5_000_000):  # wrapped before rounding to float32
        there = solution(t=0.3, x=x + 2 * periods)
        np.testing.assert_allclose(there.u.value, here.u.value, rtol=0, atol=1e-5)
        np.testing.assert_allclose(there.u.xx, here.u.xx, rtol=0, atol=1e-3)
    np.testing.assert_allclose(here.u.value[0], here.u.value[-1], atol=1e-5)
    np.testing.assert_allclose(here.u.xx[0], here.u.xx[-1], atol=1e-3)


def test_what_is_not_finite_and_times_outside_are_still_refused(solution):
    with pytest.raises(ValueError, match=r"x=inf\): x is periodic and takes any finite number"):
        solution(t=0.3, x=np.inf)
    with pytest.raises(ValueError, match=r"t=0.6\): outside the domain, t in \(0, 0.5\)"):
        solution(t=0.6, x=7.0)


def test_the_run_folder_and_its_report_say_what_is_periodic(solution, tmp_path):
    folder = solution.save(tmp_path / "run")
    written = json.loads((folder / runs.CONFIG).read_text())["problem"]
    assert written["periodic"] == ["x"]
    assert written["coordinates"]["x"] == [-1, 1]
    assert "t ∈ [0, 0.5], x ∈ [-1, 1), periodic" in page(runs.read(folder), {}, {})
    np.testing.assert_allclose(runs.read(folder).solution["x"], np.linspace(-1, 0.75, 8))


def test_a_run_goes_on_only_with_the_same_periods(tmp_path):
    recipe = Recipe()
    circle, interval = (
        configuration(travelling(x), recipe, 0, None) for x in (poise.periodic(-1, 1), (-1, 1))
    )
    runs.write_start(tmp_path, circle)
    write_again(tmp_path, circle)
    with pytest.raises(ValueError, match=r"its periodic is \['x'\], not \[\]"):
        write_again(tmp_path, interval)


def test_a_run_of_before_there_were_periods_goes_on(tmp_path):
    problem = travelling(x=(-1, 1))
    old, new = (configuration(problem, Recipe(network=n), 0, None) for n in (MLP(), MLP(6, 2)))
    same = copy.deepcopy(old)
    del old["problem"]["periodic"], old["recipe"]["network"]["harmonics"]
    runs.write_start(tmp_path, old)
    write_again(tmp_path, same)
    with pytest.raises(ValueError, match="its network is"):
        write_again(tmp_path, new)


# Networks of one's own


class Own(eqx.Module):
    """A user's network on the features of an embedding, or of a function of the point."""

    features: object
    body: eqx.nn.MLP

    def __init__(self, features, size):
        self.features = features
        self.body = eqx.nn.MLP(size, 1, 6, 2, jnp.tanh, key=jax.random.key(0))

    def __call__(self, x):
        return self.body(self.features(x))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_network_on_the_embedding_is_accepted(dtype):
    embedding = Embedding.of(travelling().domain)
    loop = prepared(Own(embedding, embedding.size), dtype)
    assert loop.step.start.dtype == dtype


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("features", "size", "what"),
    [
        (lambda x: x, 2, "value"),
        # The same at both ends, but going up at one and down at the other.
        (lambda x: jnp.stack([x[0], x[1] ** 2]), 2, "slope"),
    ],
)
def test_a_network_without_the_period_is_refused_before_training(features, size, what, dtype):
    with pytest.raises(ValueError, match=f"x is periodic, but the network's {what}") as caught:
        prepared(Own(features, size), dtype)
    for fragment in ("x=-1 and x=1", "Embedding.of(problem.domain)", "periodic_sides('x')"):
        assert fragment in str(caught.value)


def test_high_frequencies_are_not_mistaken_for_a_gap_in_float32():
    prepared(SIREN(8, 2, oscillations={"x": 200}, harmonics=20))
