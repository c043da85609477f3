"""Reports of comparisons of many recipes: what is shown in full, and what is ranked."""

import matplotlib.colors
import numpy as np
import pytest

from poise import report, runs
from poise.report import choose, style
from test_report import Page, make_comparison, make_run

MANY = ("fixed", "kept", "b", "c", "d", "e", "f", "g", "h")  # each better than the one before


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return make_comparison(tmp_path_factory.mktemp("many"), MANY)


@pytest.fixture(scope="module")
def page(many):
    return Page(report.write(many.path))


def test_the_baseline_and_the_best_are_featured(many):
    assert choose.ranked(many) == list(reversed(MANY))
    assert choose.featured(many) == ["fixed", "h", "g", "f", "e", "d"]
    looks = choose.looks(many)
    shown = [(looks[r]["color"], str(looks[r]["linestyle"])) for r in choose.featured(many)]
    assert len(set(shown)) == len(shown)
    assert all(looks[r] is style.OTHER_RECIPE for r in ("kept", "b", "c"))


def test_a_few_recipes_are_all_featured(tmp_path):
    few = make_comparison(tmp_path, MANY[:6])
    assert choose.featured(few) == list(MANY[:6])
    assert style.OTHER_RECIPE not in choose.looks(few).values()


@pytest.mark.parametrize("draw", [report.error, report.error_time])
def test_other_recipes_are_pale_lines_below(many, draw):
    figure = draw(many)
    axes = figure.axes[0]
    pale = matplotlib.colors.to_hex(style.OTHER_RECIPE["color"])
    colours = [matplotlib.colors.to_hex(line.get_color()) for line in axes.lines]
    assert colours[:3] == [pale] * 3 and pale not in colours[3:]
    assert len(axes.collections) == 6  # bands are of those in full
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == [f"{r} (3 seeds)" for r in ("fixed", "h", "g", "f", "e", "d")] + ["3 others"]


@pytest.mark.parametrize("draw", [report.losses, report.weights])
def test_panels_are_of_the_featured(many, draw):
    assert [axes.get_title(loc="left") for axes in draw(many).axes if axes.get_visible()] == [
        "fixed", "h", "g", "f", "e", "d",
    ]  # fmt: skip


def test_the_ranking_has_every_seed_in_the_order_of_medians(many):
    (axes,) = report.ranking(many).axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == list(MANY)  # from below: the worst first
    usual, *marks = axes.lines
    for place, (dots, bar) in enumerate(zip(marks[::2], marks[1::2], strict=True)):
        middle = 0.8 * 0.2 / 20**place  # `make_comparison`'s errors of the chosen parameters
        np.testing.assert_allclose(dots.get_xdata(), middle * np.array([0.5, 1.0, 1.5]))
        np.testing.assert_array_equal(dots.get_ydata(), place)
        np.testing.assert_allclose(bar.get_xdata(), middle)
    np.testing.assert_allclose(usual.get_xdata(), 0.8 * 0.2)
    assert axes.get_xscale() == "log" and axes.get_xlabel() == "relative L2 error"


def test_runs_without_a_number_are_counted(tmp_path):
    comparison = make_comparison(tmp_path, MANY[:3])
    place = comparison.runs["b"][1].path
    make_run(place, recipe="b", status="diverged")
    (axes,) = report.ranking(runs.Comparison(tmp_path)).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "fixed",
        "kept",
        "b (2 of 3 runs)",
    ]
    *_, dots, bar = axes.lines
    errors = 0.8 * 0.2 / 20**2 * np.array([0.5, 1.5])
    np.testing.assert_allclose(dots.get_xdata(), errors)
    np.testing.assert_allclose(bar.get_xdata(), errors[1])  # the one that failed is the worst


def test_without_an_exact_solution_the_criterion_ranks(tmp_path):
    (axes,) = report.ranking(make_comparison(tmp_path, MANY[:3], exact=False)).axes
    assert axes.get_xlabel() == "held-out criterion"


def test_nothing_to_rank(tmp_path):
    comparison = make_comparison(tmp_path, MANY[:3])
    for group in comparison.runs.values():
        for run in group:
            for name in (runs.METRICS, runs.HISTORY):
                (run.path / name).unlink()
    with pytest.raises(report.NothingToDrawError, match="no run has ended"):
        report.ranking(runs.Comparison(tmp_path))


def test_the_page_says_what_it_shows(many, page):
    assert "Ranking" in page.text and "the dashed line that of “fixed”" in page.text
    assert page.text.count("Shown are “fixed” and the 5 best.") == 6
    assert page.text.count("3 others are pale.") == 2
    assert all(recipe in page.text for recipe in MANY)
    assert "runs completed" not in page.text  # all are


def test_a_row_says_what_it_is_compared_with(many, tmp_path):
    table = [dict(row) for row in many.summary["table"]]
    for row in table[1:]:
        row |= {"baseline": "fixed", "against": {"wins": 3, "pairs": 3, "p": 0.1}}
    table[-1]["baseline"] = "kept"
    table[-1]["reduction_percent"] = 12.5  # of what “kept” has
    folder = make_comparison(tmp_path, MANY).path
    runs.write_json(folder / runs.COMPARISON, {**many.summary, "table": table})
    text = Page(report.write(folder)).text
    assert text.count("than kept") == 1 and "than fixed" not in text
    # What is said of the best is against its own baseline, as in the table.
    assert "“h” lowers the relative L2 error of “kept” from" in text and "12.5 % less" in text
    assert "That may be luck: p = 0.1 in a rank test." in text


def test_what_stands_beside_what_is_on_the_page(many, tmp_path):
    folder = make_comparison(tmp_path, MANY).path
    noted = {**many.summary, "notes": ["h: compared with kept, which has the same points"]}
    runs.write_json(folder / runs.COMPARISON, noted)
    assert "h: compared with kept, which has the same points." in Page(report.write(folder)).text


def test_a_baseline_without_an_error_is_not_replaced_in_silence(many, tmp_path):
    table = [{**row, "baseline": "fixed"} for row in many.summary["table"]]
    table[0] |= {"baseline": None, "best_relative_l2": None, "completed": 0}
    for row in table[1:]:
        row["reduction_percent"] = None
    folder = make_comparison(tmp_path, MANY).path
    runs.write_json(folder / runs.COMPARISON, {**many.summary, "table": table})
    text = Page(report.write(folder)).text
    assert "“fixed” left no error to compare with. “h” reaches a relative L2 error of" in text


def test_few_survivors_do_not_win(many, tmp_path):
    table = [dict(row) for row in many.summary["table"]]
    table[-1]["completed"] = 1
    folder = make_comparison(tmp_path, MANY).path
    runs.write_json(folder / runs.COMPARISON, {**many.summary, "table": table})
    assert "“g” lowers the relative L2 error of “fixed”" in Page(report.write(folder)).text


def test_one_other_is_one(tmp_path):
    folder = make_comparison(tmp_path, MANY[:7]).path
    text = Page(report.write(folder)).text
    assert "One other is pale." in text
    (legend,) = report.error(runs.Comparison(folder)).legends
    assert legend.get_texts()[-1].get_text() == "1 other"


def test_two_recipes_need_no_ranking(tmp_path):
    folder = make_comparison(tmp_path).path
    assert "Ranking" not in Page(report.write(folder)).text
    assert not (folder / "figures" / "ranking.svg").exists()
