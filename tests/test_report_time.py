"""Recipes of different kinds side by side: seconds, early ends, estimates, choices."""

import math
import re

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex

from poise import report, runs
from poise.report import seeds, style, words
from poise.report.seeds import Curve
from test_report import COMPARISON_FIGURES, RUN_FIGURES, Page, check_figures, make_run
from test_report import make_comparison as made_comparison

SOLVE = {"name": "solve", "steps": 20, "optimizer": {"kind": "GaussNewton"}}
FIXED = {"name": "fixed", "steps": 291, "optimizer": {"kind": "Adam"}}


def change(path, **entries):
    """Replace entries of a JSON file."""
    kept = runs.Run(path.parent)
    old = kept.config if path.name == runs.CONFIG else kept.metrics
    runs.write_json(path, {**old, **entries})


def shorten(folder, rows, seconds):
    """Keep the first rows of a run, at these steps 1, 2, ... and seconds."""
    history = {name: values[:rows] for name, values in runs.Run(folder).history.items()}
    history |= {"step": np.arange(rows) + 1.0, "seconds": np.asarray(seconds, np.float64)}
    runs.write_history(folder / runs.HISTORY, history)


@pytest.fixture
def mixed(tmp_path):
    """A comparison of "fixed" (30 rows to step 290) with "solve" (8 steps in 40 seconds)."""
    made_comparison(tmp_path, ("fixed", "solve"))
    for seed in range(3):
        folder = tmp_path / "runs" / f"solve-seed{seed}"
        shorten(folder, 8, 5.0 * np.arange(1, 9) + 0.1 * seed)
        change(folder / runs.METRICS, status="converged", steps=8, compile_seconds=10.0)
        change(folder / runs.CONFIG, choices=["network: SIREN, 3 × 20 <smooth>", "20 steps"])
    summary = runs.Comparison(tmp_path).summary
    runs.write_json(tmp_path / runs.COMPARISON, {**summary, "settings": [FIXED, SOLVE]})
    return runs.Comparison(tmp_path)


def test_error_against_seconds_counts_compiling_and_holds_the_result(mixed):
    (axes,) = report.error_time(mixed).axes
    colours = {n: x["color"].lower() for n, x in style.recipe_styles(["fixed", "solve"]).items()}
    lines = {name: [x for x in axes.lines if to_hex(x.get_color()) == colours[name]]
             for name in colours}  # fmt: skip
    median = lines["fixed"][0]
    # All seeds of "fixed" have rows at the same seconds, after 2.5 s of compiling.
    fixed = mixed.runs["fixed"][1].history
    np.testing.assert_allclose(median.get_xdata(), fixed["seconds"] + 2.5)
    np.testing.assert_allclose(median.get_ydata(), fixed["error.u"])
    # Those of "solve" do not: its first median is there when the second of three has a row.
    x, y = lines["solve"][0].get_data()
    assert x[0] == 15.0 and x[np.isfinite(y)][0] == pytest.approx(15.1)
    held = next(line for line in lines["fixed"] if len(line.get_xdata()) == 2)
    np.testing.assert_allclose(held.get_xdata(), [3.5, 50.2])
    np.testing.assert_allclose(held.get_ydata(), fixed["error.u"][-1])
    assert axes.get_xlabel() == "seconds, compiling included"
    assert axes.get_xscale() == "linear" and axes.get_yscale() == "log"  # 50.2 / 2.5 < 30


def test_the_axis_of_seconds_is_logarithmic_where_it_spans_much(mixed):
    for run in mixed.runs["fixed"]:
        change(run.path / runs.METRICS, compile_seconds=1.0)
    assert report.error_time(runs.Comparison(mixed.path)).axes[0].get_xscale() == "log"


def test_what_has_diverged_is_not_held(mixed):
    for run in mixed.runs["solve"]:
        change(run.path / runs.METRICS, status="diverged")
    for run in mixed.runs["fixed"]:
        change(run.path / runs.METRICS, status="diverged")
    (axes,) = report.error_time(runs.Comparison(mixed.path)).axes
    assert len(axes.lines) == 2  # the medians: no dots, nothing held


def test_steps_of_different_size_share_a_logarithmic_axis(mixed):
    assert [axes.get_xscale() for axes in report.error(mixed).axes] == ["log", "log"]
    losses = report.losses(mixed).axes  # here each recipe has an axis of its own
    assert [round(axes.get_xlim()[1], -1) for axes in losses] == [290, 10]
    equal = made_comparison(mixed.path / "equal")
    assert [axes.get_xscale() for axes in report.error(equal).axes] == ["linear", "linear"]
    one, other = report.losses(equal).axes
    assert one.get_xlim() == other.get_xlim()


def test_the_page_of_recipes_of_different_kinds(mixed):
    table = [dict(row) for row in mixed.summary["table"]]
    table[1] |= {"overhead_percent": 290000.0, "reduction_percent": 100 * (1 - 2.6e-7)}
    table[1]["estimate"] = {"median": 3.25e-7, "min": 3e-7, "max": 4e-7}
    table[1]["train_seconds"] = {"median": 40.0, "min": 40.0, "max": 40.0}
    runs.write_json(mixed.path / runs.COMPARISON, {**mixed.summary, "table": table})
    page = Page(report.write(mixed.path))
    check_figures(mixed.path, COMPARISON_FIGURES)
    assert "20 to 291 steps" in page.text
    assert "Error against seconds" in page.text
    assert "99.99997 % less (median of 3 seeds). Training took 40 s, against 80 s." in page.text
    assert "290000" not in page.text and "290,000" not in page.text
    assert "estimated error" in page.text and 3.25e-7 in {float(x) for x in page.values}
    assert "“solve” chose for this problem:" in page.text and "“fixed” chose" not in page.text
    assert "network: SIREN, 3 × 20 <smooth>" in page.text


def test_without_an_exact_solution_the_estimate_is_told(tmp_path):
    comparison = made_comparison(tmp_path, exact=False)
    table = [{"recipe": "fixed"}, {"recipe": "annealing", "estimate": {"median": 3.3e-7}}]
    runs.write_json(tmp_path / runs.COMPARISON, {**comparison.summary, "table": table})
    page = Page(report.write(tmp_path))
    assert "independent solve: 3e-7 (“annealing”); median of 3 seeds." in page.text
    assert "No figure of error against seconds: no error was recorded." in page.text
    check_figures(tmp_path, [name for name in COMPARISON_FIGURES if name != "error_time"])


@pytest.mark.parametrize(
    ("status", "message", "lead"),
    [
        ("converged", "", "Converged after 8 steps, 83.4 s. The relative L2 error is 2.00e-2;"),
        ("stalled", "no damping helps.", "Stalled after 8 steps, 83.4 s: no damping helps. The"),
        ("budget spent", "", "After 8 steps the relative L2 error is 2.00e-2;"),
    ],
)
def test_how_a_run_ended(tmp_path, status, message, lead):
    make_run(tmp_path)
    change(
        tmp_path / runs.METRICS, status=status, message=message, steps=8, estimate={"u": 3.21e-7}
    )
    change(tmp_path / runs.CONFIG, choices=["network: MLP", "points: 128"])
    page = Page(report.write(tmp_path))
    check_figures(tmp_path, RUN_FIGURES)
    assert lead in page.text
    assert "estimated error 3e-7, from the difference to an independent solve." in page.text
    assert 3.21e-7 in {float(value) for value in page.values}
    assert page.tags.count("ul") == 1 and "Chosen for this problem:" in page.text
    marks = [text.get_text() for text in report.losses(runs.Run(tmp_path)).axes[0].texts]
    assert marks == ([] if status == "budget spent" else [status])


def test_an_estimate_stands_in_for_the_error(tmp_path):
    make_run(tmp_path, exact=False)
    change(tmp_path / runs.METRICS, status="converged", estimate={"u": 3.21e-7})
    assert words.outcome(runs.Run(tmp_path)) == (
        "Converged after 291 steps, 83.4 s. Estimated error 3e-7, from the difference to an "
        "independent solve."
    )


def test_a_run_of_one_step_and_one_row(tmp_path):
    make_run(tmp_path)
    shorten(tmp_path, 1, [0.5])
    change(tmp_path / runs.METRICS, status="diverged", message="it broke", steps=1)
    page = Page(report.write(tmp_path))
    check_figures(tmp_path, ["solution", "gradients"])
    assert "The run diverged after 1 step: it broke." in page.text
    assert "No figure of losses: too few rows to draw." in page.text
    assert "Exact solution, prediction" in page.text  # though its last error is not known


def test_a_recipe_with_one_row_has_a_panel_that_says_so(mixed):
    for run in mixed.runs["solve"]:
        shorten(run.path, 1, [0.5])
    again = runs.Comparison(mixed.path)
    texts = [[text.get_text() for text in axes.texts] for axes in report.losses(again).axes]
    assert texts == [[], ["too few rows to draw"]]
    assert [axes.get_xscale() for axes in report.error(again).axes] == ["linear", "linear"]


def test_a_run_that_diverged_before_its_first_row_counts(mixed):
    for run in mixed.runs["solve"][:2]:
        (run.path / runs.HISTORY).unlink()
        change(run.path / runs.METRICS, status="diverged")
    found = seeds.curves(runs.Comparison(mixed.path).runs["solve"], "error.u", seeds.seconds)
    assert [len(curve.at) for curve in found] == [0, 0, 8]
    assert np.isnan(seeds.spread(found).middle).all()


def test_a_seed_that_diverges_is_not_left_out_of_the_median():
    steps = np.arange(4.0)
    good = Curve(steps, np.full(4, 0.1), True)
    lost = Curve(steps[:2], np.array([1.0, np.nan]), False)
    band = seeds.spread([good, lost, lost])
    np.testing.assert_allclose(band.low, 0.1)
    np.testing.assert_allclose(band.middle, [1.0, np.nan, np.nan, np.nan])
    np.testing.assert_allclose(band.high, [1.0, 0.1, 0.1, 0.1])
    assert not band.lasts


@st.composite
def some_curves(draw):
    """Up to five runs with times of their own."""
    found = []
    for _ in range(draw(st.integers(1, 5))):
        count = draw(st.integers(1, 6))
        times = st.lists(st.integers(0, 20), min_size=count, max_size=count, unique=True)
        numbers = st.sampled_from([1e-3, 0.02, 0.3, 4.0, math.nan, math.inf])
        values = draw(arrays.arrays(np.float64, count, elements=numbers))
        found.append(Curve(np.array(sorted(draw(times)), float), values, draw(st.booleans())))
    return found


@given(some_curves())
def test_spread_at_every_time_is_that_of_the_results_at_hand(found):
    band = seeds.spread(found)
    for place, now in enumerate(band.at):
        at_hand = []
        for curve in found:
            rows = [(t, v) for t, v in zip(curve.at, curve.values, strict=True) if np.isfinite(v)]
            past = [v for t, v in rows if t <= now]
            over = bool(rows) and now > rows[-1][0]
            kept = curve.lasts and np.isfinite(curve.values[-1])
            at_hand.append(past[-1] if past and (kept or not over) else math.inf)
        finite = [value for value in at_hand if math.isfinite(value)]
        expected = [min(at_hand), np.median(at_hand), max(finite, default=math.nan)]
        shown = [band.low[place], band.middle[place], band.high[place]]
        np.testing.assert_allclose(shown, [x if np.isfinite(x) else math.nan for x in expected])
    lasting = sum(curve.lasts and bool(np.isfinite(curve.values[-1])) for curve in found)
    assert band.lasts == (2 * lasting > len(found))


@given(st.floats(-1e3, 100 * (1 - 1e-10)))
def test_a_share_never_reads_as_all(percent):
    text = words.share(percent)
    assert re.fullmatch(r"-?\d+\.\d{1,12}", text) and float(text) < 100
    assert abs(float(text) - percent) <= 0.05 + 1e-12


def test_numbers_in_words():
    assert words.counted(1, "step") == "1 step" and words.counted(0, "step") == "0 steps"
    assert words.counted(40001, "step") == "40,001 steps"
    assert words.share(95.0) == "95.0" and words.share(99.99998) == "99.99998"
    assert words.share(100.0) == "100.0" and words.share(-20) == "-20.0"
    assert style.short(3.21e-7, 1) == "3e-7"
