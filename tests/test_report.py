"""Reports from run folders that no training made: every shape a run folder can have."""

import base64
import math
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import matplotlib
import matplotlib.colors
import numpy as np
import pytest
import xarray
from matplotlib.image import imread

from poise import report, runs
from poise.report import curves, planes, seeds, style, words

TERMS = ["residual", "initial", "boundary"]
VOID = {"meta", "img", "br", "link", "hr"}


def make_run(folder, dims=("t", "x"), fields=("u",), exact=True, recipe="fixed", **changes):
    """A run folder as `poise train` leaves it, with made-up but consistent numbers."""
    final, status = changes.get("final", 0.02), changes.get("status", "budget spent")
    rows, terms = changes.get("rows", 30), changes.get("terms", TERMS)
    problem = {
        "name": "made-up",
        "title": changes.get("title", "Made-up <b>equation</b> & $more"),
        "equation": "u_tt - u_xx + u^3 = f",
        "source": "zoo",
        "coordinates": {name: [0, 1] for name in dims},
        "time": "t" if "t" in dims else None,
        "fields": list(fields),
        "terms": terms,
    }
    config = {
        "poise": "0.1.0",
        "problem": problem,
        "recipe": {"name": recipe, "network": {"width": 50}, "weighting": {"rule": recipe}},
        "seed": 0,
        "threads": 1,
        "versions": {"python": "3.11", "jax": "0.7"},
        "machine": {"system": "Linux"},
        "command": "poise train made-up --note '<i>'",
    }
    runs.write_json(folder / runs.CONFIG, config)

    fall = np.linspace(0, 1, rows)
    history = {"step": np.arange(rows) * 10, "seconds": fall, "loss": np.exp(-fall)}
    history["held_out"] = np.exp(-2 * fall)
    for i, term in enumerate(terms):
        history[f"loss.{term}"] = 10.0 ** (-i - 3 * fall)
    for i, term in enumerate(terms):
        history[f"weight.{term}"] = 1 + i * fall
    for i, field in enumerate(fields if exact else ()):
        history[f"error.{field}"] = (final * (i + 1)) ** fall
    if status == "diverged":
        for name in set(history) - {"step", "seconds"}:
            history[name][-2:] = math.nan
    runs.write_history(folder / runs.HISTORY, history)

    errors = {field: final * (i + 1) for i, field in enumerate(fields)} if exact else {}
    metrics = {
        "problem": "made-up",
        "recipe": recipe,
        "seed": 0,
        "dtype": "float32",
        "parameters": 10401,
        "steps": int(history["step"][-1]) + 1,
        "status": status,
        "message": "term residual is not finite" if status == "diverged" else "",
        "relative_l2": dict.fromkeys(errors) if status == "diverged" else errors,
        "best_relative_l2": {field: 0.8 * x for field, x in errors.items()},
        "best_step": 250,
        "compile_seconds": 2.5,
        "train_seconds": 83.4,
        "steps_per_second": 412.7,
        "peak_memory_mb": 300.0,
        "weights": dict(zip(terms, [1.0, 37.25, 214.6], strict=False)),
    }
    runs.write_json(folder / runs.METRICS, metrics)

    axis = np.linspace(0, 1, 12)
    mesh = np.meshgrid(*[axis] * len(dims), indexing="ij")
    data = {}
    for i, field in enumerate(fields):
        truth = np.prod([np.cos((i + 2) * x) for x in mesh], axis=0)
        error = final * np.prod([np.sin(9 * x + 1) for x in mesh], axis=0)
        data[field] = (dims, truth + error)
        if exact:
            data[f"{field}_exact"] = (dims, truth)
            data[f"{field}_error"] = (dims, np.abs(error))
    dataset = xarray.Dataset(data, coords=dict.fromkeys(dims, axis))
    runs.write_dataset(folder / runs.SOLUTION, dataset)

    layers = np.repeat([0, 1, 2], [20, 400, 20])
    gradient = np.random.default_rng(0).normal(size=(len(terms), layers.size))
    gradient *= 10.0 ** -np.arange(len(terms))[:, None]
    variables = {
        "gradient": (("term", "parameter"), gradient),
        "layer": ("parameter", layers),
        "weight": ("term", np.arange(1.0, len(terms) + 1)),
    }
    runs.write_dataset(folder / runs.GRADIENTS, xarray.Dataset(variables, coords={"term": terms}))
    return runs.Run(folder)


def make_comparison(folder, recipes=("fixed", "annealing"), **changes):
    """A comparison with three seeds a recipe."""
    table, places = [], {}
    for i, recipe in enumerate(recipes):
        middle = 0.2 / 20**i
        places[recipe] = [f"runs/{recipe}-seed{seed}" for seed in range(3)]
        for seed, place in enumerate(places[recipe]):
            make_run(folder / place, recipe=recipe, final=middle * (0.5 + seed / 2), **changes)
        spread = {"median": middle, "min": middle / 2, "max": 1.5 * middle}
        row = {"recipe": recipe, "relative_l2": spread, "best_relative_l2": spread}
        row["train_seconds"] = {"median": 80.0, "min": 79.0, "max": 84.0}
        row["steps_per_second"] = {"median": 412.0, "min": 400.0, "max": 420.0}
        row["overhead_percent"] = 4.25 if i else None
        row["reduction_percent"] = 100 * (1 - middle / 0.2) if i else None
        table.append(row | {"completed": 3, "runs": 3})
    summary = {"problem": "made-up", "recipes": list(recipes), "seeds": [0, 1, 2], "steps": 291}
    runs.write_json(folder / runs.COMPARISON, summary | {"runs": places, "table": table})
    return runs.Comparison(folder)


class Page(HTMLParser):
    """A page taken apart. Fails where tags do not balance."""

    def __init__(self, path):
        super().__init__()
        self.open, self.tags, self.links, self.text, self.values = [], [], [], "", []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]
        self.values += [value for name, value in attrs if tag == "data" and name == "value"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text += data


def check_figures(folder, names):
    """Just these figures exist, as pictures with something on them."""
    files = {file.name for file in (folder / runs.FIGURES).iterdir()}
    assert files == {f"{name}.{kind}" for name in names for kind in ("png", "svg")}
    for name in names:
        picture = imread(folder / runs.FIGURES / f"{name}.png")
        assert picture.shape[1] > 400 and np.ptp(picture[..., :3]) > 0.5
        ElementTree.parse(folder / runs.FIGURES / f"{name}.svg")


def colours_of(figure):
    """Colours of the lines in a figure's panels; of histograms, of the marks of their means."""
    found = set()
    for axes in figure.axes:
        found |= {matplotlib.colors.to_hex(line.get_color()) for line in axes.lines}
    return found


RUN_FIGURES = ["solution", "error", "losses", "weights", "gradients"]
COMPARISON_FIGURES = ["comparison", "error", "error_time", "losses", "weights", "gradients"]


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(
    ("dims", "fields"),
    [(("x",), ("u",)), (("t", "x"), ("u", "v")), (("x", "y"), ("u",)), (("t", "x", "y"), ("u",))],
)
def test_a_report_for_every_number_of_coordinates(tmp_path, dims, fields, exact):
    make_run(tmp_path, dims=dims, fields=fields, exact=exact)
    path = report.write(tmp_path)
    assert path == tmp_path / runs.REPORT
    check_figures(tmp_path, RUN_FIGURES)
    page = Page(path)
    assert page.tags.count("img") == len(RUN_FIGURES)
    assert ("relative L2 error" in page.text.split("Solution")[0]) == exact


def test_the_page_stands_alone_and_escapes_what_users_wrote(tmp_path):
    make_run(tmp_path)
    path = report.write(tmp_path)
    page = Page(path)
    assert all(link.startswith("data:image/svg+xml;base64,") for link in page.links)
    assert "url(" not in path.read_text() and "script" not in page.tags
    assert "Made-up <b>equation</b> & $more" in page.text
    assert "poise train made-up --note '<i>'" in page.text
    assert "b" not in page.tags and "i" not in page.tags
    assert "u<sub>tt</sub> − u<sub>xx</sub> + u<sup>3</sup> = f" in path.read_text()
    for link in page.links:
        ElementTree.fromstring(base64.b64decode(link.partition(",")[2]))


def test_numbers_in_the_table_are_those_of_the_metrics(tmp_path):
    run = make_run(tmp_path, fields=("u", "v"))
    page = Page(report.write(tmp_path))
    values = {float(value) for value in page.values}
    metrics = run.metrics
    expected = [*metrics["relative_l2"].values(), *metrics["best_relative_l2"].values()]
    expected += [*metrics["weights"].values(), metrics["train_seconds"], metrics["parameters"]]
    expected += [metrics["steps_per_second"], metrics["steps"], run.history["loss.initial"][-1]]
    assert values >= set(expected)
    assert "2.00e-2 (u), 4.00e-2 (v)" in page.text
    assert "10,401" in page.text and "83.4 s" in page.text


def test_a_term_has_one_colour_in_every_figure(tmp_path):
    run = make_run(tmp_path)
    expected = {colour.lower() for colour in style.term_colours(run.terms).values()}
    for draw in (report.losses, report.weights, report.gradients):
        assert colours_of(draw(run)) == expected
    recipes = {look["color"] for look in style.recipe_styles(list("abcdefgh")).values()}
    assert not recipes & set(style.TERM_PALETTE)
    loss, weight = report.losses(run).axes[0], report.weights(run).axes[0]
    for one, other in zip(loss.lines, weight.lines, strict=True):
        assert one.get_color() == other.get_color()


def test_matplotlib_is_left_as_it_was(tmp_path):
    make_run(tmp_path)
    before = dict(matplotlib.rcParams)
    report.write(tmp_path)
    assert dict(matplotlib.rcParams) == before


def test_a_comparison_shows_its_recipes_side_by_side(tmp_path):
    comparison = make_comparison(tmp_path)
    page = Page(report.write(tmp_path))
    check_figures(tmp_path, COMPARISON_FIGURES)
    assert not list(tmp_path.glob("runs/*/report.html"))
    assert (
        "“annealing” lowers the relative L2 error of “fixed” from 2.00e-1 to 1.00e-2: 95.0 % less "
        "(median of 3 seeds). A step takes 4.2 % more time."
    ) in page.text
    values = {float(value) for value in page.values}
    for row in comparison.summary["table"]:
        assert values >= set(row["relative_l2"].values())
    error = report.error(comparison).axes[0]
    looks = style.recipe_styles(["fixed", "annealing"])
    assert [line.get_color() for line in error.lines] == [x["color"] for x in looks.values()]
    np.testing.assert_allclose(
        error.lines[1].get_ydata(), comparison.runs["annealing"][1].history["error.u"], rtol=1e-9
    )
    for draw in (report.losses, report.weights):
        assert [axes.get_title("left") for axes in draw(comparison).axes] == ["fixed", "annealing"]
    rows = [axes.get_ylabel() for axes in report.gradients(comparison).axes[::3]]
    assert rows == ["fixed", "annealing"]


@pytest.mark.parametrize("changes", [{"dims": ("x",)}, {"fields": ("u", "v")}, {"exact": False}])
def test_comparisons_of_every_kind(tmp_path, changes):
    comparison = make_comparison(tmp_path, ("a", "b", "c", "d"), **changes)
    for draw in (report.comparison, report.error):
        assert report.render(draw(comparison), "png").startswith(b"\x89PNG")


def test_a_comparison_with_missing_and_diverged_runs_tells_of_them(tmp_path):
    make_comparison(tmp_path, ("fixed", "annealing", "ntk"))
    place = tmp_path / "runs" / "annealing-seed1"
    for file in sorted(place.rglob("*"), reverse=True):
        file.unlink()
    place.rmdir()
    make_run(tmp_path / "runs" / "annealing-seed2", recipe="annealing", status="diverged")
    for seed in range(3):
        for file in (tmp_path / "runs" / f"ntk-seed{seed}").iterdir():
            file.unlink()
    comparison = runs.Comparison(tmp_path)
    page = Page(report.write(tmp_path))
    assert "annealing (annealing-seed1) is missing." in page.text
    assert "annealing (annealing-seed2) diverged: term residual is not finite" in page.text
    assert "ntk (ntk-seed0) has not finished." in page.text
    check_figures(tmp_path, ["ranking", *COMPARISON_FIGURES])
    assert len(report.losses(comparison).axes) == 2


def test_a_diverged_run_says_so_first(tmp_path):
    make_run(tmp_path, status="diverged")
    (tmp_path / runs.SOLUTION).unlink()
    (tmp_path / runs.GRADIENTS).unlink()
    (tmp_path / runs.FIGURES).mkdir()
    (tmp_path / runs.FIGURES / "solution.png").write_bytes(b"of an earlier report")
    page = Page(report.write(tmp_path))
    assert "The run diverged after 291 steps: term residual is not finite." in page.text
    assert "No figure of solution: no solution was recorded." in page.text
    check_figures(tmp_path, ["error", "losses", "weights"])


@pytest.mark.parametrize("dims", [("x",), ("t", "x")])
@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("rows", [4, 3])  # the last two of them hold no number
def test_a_run_that_lost_every_number(tmp_path, dims, exact, rows):
    run = make_run(tmp_path, dims=dims, exact=exact, status="diverged", rows=rows)
    broken = run.solution.copy()
    broken["u"] = broken["u"] * math.nan
    runs.write_dataset(tmp_path / runs.SOLUTION, broken)
    assert run.gradients is not None
    wild = run.gradients.assign(weight=("term", [math.inf, math.nan, 1.0]))
    wild["gradient"][:, 0] = 0.0
    runs.write_dataset(tmp_path / runs.GRADIENTS, wild)
    page = Page(report.write(tmp_path))
    check_figures(tmp_path, RUN_FIGURES if rows == 4 else ["solution", "gradients"])
    for name in ("error", "losses", "loss weights"):
        assert (f"No figure of {name}: too few rows to draw." in page.text) == (rows == 3)


def test_a_long_record_is_thinned_and_keeps_its_end():
    steps = np.arange(40_001.0)
    thin, values = curves.thinned(steps, 2 * steps)
    assert len(thin) <= seeds.MOST_POINTS and values[-1] == 80_000


def test_a_folder_with_a_configuration_alone_still_gets_a_page(tmp_path):
    make_run(tmp_path)
    for name in (runs.HISTORY, runs.METRICS, runs.SOLUTION, runs.GRADIENTS):
        (tmp_path / name).unlink()
    page = Page(report.write(tmp_path))
    assert "The run has not finished" in page.text and page.tags.count("img") == 0


def test_a_folder_of_another_kind_is_refused(tmp_path):
    with pytest.raises(runs.RunFolderError, match="not a run folder"):
        report.write(tmp_path)


def test_three_coordinates_are_cut_at_the_end_of_time_and_in_the_middle(tmp_path):
    run = make_run(tmp_path, dims=("t", "x", "y", "z"))
    (plane,) = planes.cut(run)
    assert plane.coordinates == ("x", "y") and plane.spatial
    assert plane.held == "t = 1, z = 0.545"
    np.testing.assert_array_equal(plane.predicted, run.solution["u"].values[-1, :, :, 6])


def test_time_goes_across_whatever_its_place(tmp_path):
    (plane,) = planes.cut(make_run(tmp_path, dims=("x", "t")))
    assert plane.coordinates == ("t", "x") and not plane.spatial


def test_noise_is_smoothed_and_gaps_stay_gaps():
    values = np.exp(np.random.default_rng(0).normal(size=1000))
    values[500] = np.nan
    smooth = curves.running_mean(values)
    assert np.isnan(smooth[500]) and smooth[0] == pytest.approx(values[0])
    assert np.nanstd(np.log(smooth[20:])) < 0.4
    short = values[:100]
    assert curves.running_mean(short) is short


def test_names_that_matplotlib_would_misread(tmp_path):
    run = make_run(tmp_path, terms=["_wall", "a$b$", "热"], fields=("u_1",))
    report.write(tmp_path)
    legend = report.losses(run).legends[0]
    assert [text.get_text().strip() for text in legend.get_texts()] == ["_wall", r"a\$b\$", "热"]


def test_numbers_in_words():
    assert style.short(0.00910) == "9.10e-3" and style.short(123.4) == "1.23e2"
    assert words.duration(250) == "4 min 10 s" and words.duration(7260) == "2 h 1 min"
    assert words.count(40001) == "40,001" and words.count(None) == "–"
