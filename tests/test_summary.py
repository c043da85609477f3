"""The table of a comparison, against figures by hand."""

import io
import math
import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from rich.console import Console

from poise import tables
from poise.comparison import summary
from poise.comparison.baseline import baseline, main, notes, same_work
from poise.points import Sobol
from poise.training.recipe import named


def metrics(seed, error, status="budget spent", speed=100.0):
    return {
        "seed": seed,
        "status": status,
        "relative_l2": {"u": error},
        "best_relative_l2": {"u": error},
        "best_held_out": 0.1,
        "steps_per_second": speed,
        "train_seconds": 10.0,
        "peak_memory_mb": 200.0,
    }


def several(*errors):
    return [metrics(seed, error) for seed, error in enumerate(errors)]


def test_quartiles():
    found = summary.spread([4.0, 1.0, None, 3.0, 2.0, 5.0])
    assert found == {"median": 3.0, "lower": 2.0, "upper": 4.0, "min": 1.0, "max": 5.0}
    assert summary.spread([None]) is None


def test_all_seeds_better():
    """Of all ways to order five and five, 2 in 252 set them apart as far as this."""
    found = summary.against(several(1, 2, 3, 4, 5), several(6, 7, 8, 9, 10))
    assert found == {"wins": 5, "pairs": 5, "p": pytest.approx(2 / math.comb(10, 5))}
    turned = summary.against(several(6, 7, 8, 9, 10), several(1, 2, 3, 4, 5))
    assert turned == {"wins": 0, "pairs": 5, "p": found["p"]}


def test_luck_is_not_called_progress():
    found = summary.against(several(1, 8, 3, 10), several(2, 7, 4, 9))
    assert found["wins"] == 2
    assert found["p"] > 0.9


def test_a_run_that_failed_is_worse_than_any():
    better = [*several(1, 2, 3, 4), metrics(4, 0.01, status="diverged")]
    found = summary.against(better, several(5, 6, 7, 8, 9))
    assert found["wins"] == 4 and found["pairs"] == 5
    assert found["p"] > 2 / math.comb(10, 5)
    both = [*several(1, 2, 3, 4), metrics(4, None, status="diverged")]
    again = summary.against(both, several(5, 6, 7, 8, 9))
    assert again == found


def test_seeds_that_only_one_has_are_no_pairs():
    assert summary.against(several(1, 2, 3), several(5, 6))["pairs"] == 2
    assert summary.against(several(1), several(5, 6)) is None
    nothing = [metrics(0, None), metrics(1, None)]
    assert summary.against(nothing, nothing) is None, "no exact solution"


def made_up():
    finished = {
        "fixed": several(0.2, 0.1, 0.3),
        "in_verse": [metrics(s, e, speed=80.0) for s, e in enumerate((0.02, 0.03, 0.01))],
        "lost": [],
    }
    return finished, summary.table(finished, 3, dict.fromkeys(finished, "fixed"))


def test_rows():
    _, (fixed, other, lost) = made_up()
    assert fixed["against"] is fixed["overhead_percent"] is fixed["reduction_percent"] is None
    assert fixed["baseline"] is None and other["baseline"] == "fixed"
    assert other["overhead_percent"] == pytest.approx(25.0)
    assert other["reduction_percent"] == pytest.approx(90.0)
    assert other["against"] == {"wins": 3, "pairs": 3, "p": pytest.approx(0.1)}
    assert lost["completed"] == 0 and lost["best_relative_l2"] is lost["against"] is None


def test_the_table_for_a_paper():
    _, rows = made_up()
    text = summary.latex(rows)
    lines = text.splitlines()
    assert lines[-1] == r"\end{tabular}"
    assert "% overhead, better and p against fixed: in_verse, lost" in lines
    assert r"\ast" not in text
    lost = next(row for row in rows if row["recipe"] == "lost") | {"baseline": "in_verse"}
    starred = summary.latex([*rows[:2], lost])
    assert r"lost$^\ast$ &" in starred and r"in\_verse$^\ast$" not in starred
    assert r"% overhead, better and p against in_verse$^\ast$: lost" in starred
    body = [line for line in lines if line.endswith(r"\\")][1:]
    assert body[1] == (
        r"in\_verse & $2.00 \cdot 10^{-2}$ & $1.50 \cdot 10^{-2}$, $2.50 \cdot 10^{-2}$ & 10.0 "
        r"& $+25.0\,\%$ & 3/3 & 0.100 \\"
    )
    columns = re.search(r"tabular\}\{(\w+)\}", text)[1]
    assert all(line.count("&") == len(columns) - 1 for line in body)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no LaTeX here")
def test_latex_takes_it(tmp_path):
    _, rows = made_up()
    document = r"\documentclass{article}\usepackage{booktabs}\begin{document}"
    (tmp_path / "a.tex").write_text(document + summary.latex(rows) + r"\end{document}")
    subprocess.run(
        ["pdflatex", "-halt-on-error", "a.tex"], cwd=tmp_path, check=True, capture_output=True
    )


def test_the_terminal_shows_it():
    _, rows = made_up()
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(tables.comparison(rows, 200))
    lines = console.export_text().splitlines()
    assert "1.50e-02 to 2.50e-02" in lines[2] and "2.00e-02" in lines[2]
    assert "3/3, p = 0.100" in lines[2]
    assert lines[3].split()[0] == "lost" and lines[3].rstrip().endswith("0/3")


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_a_narrow_terminal_gets_fewer_columns_and_whole_numbers(width):
    _, rows = made_up()
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(tables.comparison(rows, width))
    lines = console.export_text().splitlines()
    assert len(lines) == 1 + len(rows) and max(map(len, lines)) <= width
    assert all(row["recipe"] in line for row, line in zip(rows, lines[1:], strict=True))
    assert "2.00e-02" in lines[2]
    assert ("steps/s" in lines[0]) is (width == 160)


def test_each_is_compared_with_fixed_weights_on_its_own_points():
    recipes = [named(name) for name in ("fixed", "fixed-kept", "annealing", "rba", "newton")]
    found = {recipe.name: baseline(recipe, recipes).name for recipe in recipes}
    assert found == {
        "fixed": "fixed",
        "fixed-kept": "fixed",  # what more points that stay do by themselves
        "annealing": "fixed",
        "rba": "fixed-kept",
        "newton": "fixed",
    }
    assert notes(recipes) == ["rba: compared with fixed-kept, which has the same points"]
    fixed, kept, annealing, rba, newton = recipes
    assert same_work(fixed, annealing) and same_work(kept, rba)
    assert not same_work(fixed, rba) and not same_work(fixed, newton)


def test_without_its_points_a_rule_is_compared_all_the_same_and_it_is_said():
    recipes = [named("fixed"), named("annealing"), named("rba")]
    assert baseline(recipes[2], recipes) is recipes[0]
    (note,) = notes(recipes)
    assert note.startswith("rba: the points stay, and those of fixed do not; with the recipe fixed")
    alike = [replace(recipe, points=Sobol(64, fresh=False)) for recipe in recipes]
    assert notes(alike) == []
    causal = [named("fixed-kept"), named("causal")]
    assert notes(causal) == [], "its points need not stay"
    others = [named("ntk"), named("annealing")]
    assert baseline(others[1], others) is others[0], "there are no fixed weights: the first"


def test_rows_are_ranked():
    """The baseline first, then the best first; without an error last."""
    finished = {
        "lost": [],
        "middling": several(0.2, 0.3, 0.25),
        "fixed": several(0.9, 0.8, 0.7),
        "best": several(0.01, 0.02, 0.03),
    }
    rows = summary.table(finished, 3, dict.fromkeys(finished, "fixed"))
    assert [row["recipe"] for row in rows] == ["fixed", "best", "middling", "lost"]
    # Where most seeds failed, what the others reached is no rank.
    best = [metrics(0, 0.01), metrics(1, 0.02, "diverged"), metrics(2, 0.03, "diverged")]
    rows = summary.table({**finished, "best": best}, 3, dict.fromkeys(finished, "fixed"))
    assert [row["recipe"] for row in rows][:2] == ["fixed", "middling"]


def test_somebody_is_the_baseline():
    for names in (("rba", "fixed-kept"), ("annealing", "rba", "fixed-kept"), ("ntk", "rba")):
        recipes = [named(name) for name in names]
        own = [recipe.name for recipe in recipes if baseline(recipe, recipes) is recipe]
        assert own == [main(recipes).name]
    assert main([named("rba"), named("fixed-kept")]).name == "fixed-kept"
