"""The command line as a user meets it: what it writes, what it prints, what it refuses."""

import contextlib
import csv
import io
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import poise
from poise import cache, cli, options, runs, sources, threads
from poise.comparison import compare
from poise.comparison.display import ComparisonDisplay
from poise.points import Sobol, Uniform
from poise.training.recipe import RECIPES, Recipe, describe, rebuild_recipe
from poise.weighting import Annealing, Fixed

HEAT = """
import jax.numpy as jnp
import poise

problem = poise.Problem(
    coordinates={"t": (0, 1), "x": (0, 1)},
    fields=["u"],
    terms={
        "residual": poise.interior(lambda u: u.t - 0.1 * u.xx),
        "initial": poise.initial(lambda u, x: u - jnp.sin(jnp.pi * x)),
        "boundary": poise.boundary("x", lambda u: u),
    },
    exact={"u": lambda t, x: jnp.exp(-0.1 * jnp.pi**2 * t) * jnp.sin(jnp.pi * x)},
    grid={"t": 6, "x": 8},
    equation="u_t = 0.1 u_xx",
)
"""
SIZE = ["--width", "8", "--depth", "2", "--points", "16"]
TERMS = ["residual", "initial", "boundary"]


def call(*arguments):
    """`poise arguments` in this process: exit code, standard output, standard error."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["poise", *map(str, arguments)])
        # Process-wide settings: the tests have their own cache, and keep their cores.
        patch.setattr(cache, "keep_compiled_programs", lambda: None)
        patch.setattr(threads, "pin_to", lambda cores: None)
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as ended,
        ):
            cli.main()
    return ended.value.code, out.getvalue(), err.getvalue()


@pytest.fixture(autouse=True)
def place(tmp_path, tmp_path_factory, monkeypatch):
    """An empty folder with a problem file, and a cache folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    (tmp_path / "heat.py").write_text(HEAT)
    return tmp_path


def refused(*arguments):
    """The one line that a user's mistake is answered with."""
    code, out, err = call(*arguments)
    assert code == 2, (out, err)
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("poise: ")
    return err


# --- Help ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", cli.cli.commands)
def test_help_documents_every_option(name):
    code, out, err = call(name, "--help")
    assert (code, err) == (0, "")
    command = cli.cli.commands[name]
    assert command.help.split("\n")[0] in " ".join(out.split())
    for parameter in command.params:
        if parameter.param_type_name == "option":
            assert parameter.help, f"{name} {parameter.opts} has no help"
            assert all(flag in out for flag in parameter.opts + parameter.secondary_opts)


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_lists_every_command(arguments):
    code, out, _ = call(*arguments)
    assert code == 0
    assert "Train physics-informed neural networks" in out
    for name in ("problems", "train", "solve", "resume", "compare", "report"):
        assert f"  {name} " in out


def test_defaults_in_the_help_are_the_defaults():
    _, out, _ = call("train", "--help")
    words = " ".join(out.split())
    recipe = Recipe()
    for option, default in (
        ("--steps", recipe.steps),
        ("--points", recipe.points.count),
        ("--width", recipe.network.width),
        ("--depth", recipe.network.depth),
        ("--lr", recipe.optimizer.learning_rate),
        ("--dtype", recipe.dtype),
        ("--weighting-every", recipe.weighting.every),
        ("--ema", recipe.weighting.ema),
        ("--seed", 1234),
    ):
        said = words.split(f" {option} ", 1)[1].split("[default: ", 1)[1].split("]")[0]
        first, *others = said.split("; ")
        assert first == str(default), option
        for name, value in (other.split() for other in others):
            assert value == str(getattr(RECIPES[name], option[2:])), option


def test_problems_lists_the_zoo():
    code, out, _ = call("problems")
    assert code == 0
    for name in poise.zoo.names():
        assert name in out


def test_version():
    assert call("--version")[1] == f"poise {poise.__version__}\n"


# --- Mistakes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "heat.py", "--nonsense"], ["--nonsense"]),
        (["train", "heat.py", "--steps", "0"], ["--steps", "0"]),
        (["train", "heat.py", "--steps", "many"], ["--steps", "'many'"]),
        (["train", "heat.py", "--ema", "1.5"], ["--ema", "1.5"]),
        (["train", "heat.py", "--ema", "1"], ["--ema", "1"]),
        (["train", "heat.py", "--dtype", "float16"], ["--dtype", "'float16'", "float32"]),
        (["train", "heat.py", "--recipe", "magic"], ["--recipe", "'magic'", "annealing"]),
        (["train", "heat.py", "--recipe", "fixed", "--ema", "0.5"], ["--ema", "'fixed'"]),
        (["train", "heat.py", "--lr", "-1"], ["learning_rate=-1"]),
        (["train", "heat.py", "--threads", "99"], ["threads=99"]),
        (["train", "heat.py", "--out", "heat.py"], ["--out", "heat.py"]),
        (["train"], ["PROBLEM"]),
        (["train", "klein-gordan"], ["'klein-gordan'", "klein-gordon"]),
        (["train", "nowhere.py"], ["nowhere.py does not exist"]),
        (["train", "."], [". is a folder, not a Python file"]),
        (["nonsense"], ["nonsense"]),
        (
            ["compare", "heat.py", "--recipes", "fixed,magic"],
            ["'magic'", "there are fixed, "],
        ),
        (["compare", "heat.py", "--recipes", "fixed, fixed"], ["--recipes", "'fixed, fixed'"]),
        (["compare", "heat.py", "--recipes", ","], ["--recipes", "','"]),
        (["train", "heat.py", "--recipe", "newton", "--lr", "0.1"], ["--lr", "'newton'"]),
        (["train", "heat.py", "--recipe", "solve"], ["--recipe", "'solve'"]),
        (["train", "heat.py", "--budget", "soon"], ["budget='soon'", "'60s'"]),
        (["solve", "heat.py", "--budget", "soon"], ["budget='soon'", "'60s'"]),
        (["solve", "heat.py", "--budget", "0"], ["budget='0'", "'60s'"]),
        (["solve", "heat.py", "--tol", "0"], ["--tol", "0"]),
        (["solve", "heat.py", "--tol", "1"], ["--tol", "1"]),
        (["solve", "heat.py", "--tol", "small"], ["--tol", "'small'"]),
        (["solve", "heat.py", "--memory-gb", "0"], ["--memory-gb", "0"]),
        (["solve", "nowhere.py"], ["nowhere.py does not exist"]),
        (["compare", "heat.py", "--recipes", "solve", "--budget", "-3s"], ["budget='-3s'"]),
        (["compare", "heat.py", "--seeds", "0"], ["--seeds", "0"]),
        (["compare", "nowhere.py"], ["nowhere.py does not exist"]),
        (["report", "nowhere"], ["nowhere does not exist"]),
        (["report", "."], ["is not a run folder"]),
        (["resume", "nowhere"], ["nowhere does not exist"]),
        (["resume", "."], ["is not a run folder"]),
    ],
    ids=" ".join,
)
def test_mistakes_are_answered_in_one_line(place, arguments, words):
    said = refused(*arguments)
    for word in words:
        assert word in said
    assert sorted(path.name for path in place.iterdir()) == ["heat.py"], "nothing is left behind"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("x = 1\n", ["must define `problem = poise.Problem(...)`; it has none"]),
        ("problem = 'heat'\n", ["its `problem` is 'heat'"]),
        ("import poise\nproblem = poise.Problem(\n", ["line 2", "SyntaxError"]),
        ("import poise\n\nvalue = 1 / 0\n", ["line 3", "ZeroDivisionError"]),
        ("import nonexistent_module\n", ["line 1", "nonexistent_module"]),
        (HEAT.replace("lambda u: u.t", "lambda u, nu: u.t"), ["line 5", "'residual'", "'nu'"]),
        (HEAT.replace("u.t -", "u.y -"), ["'residual'", "u.y is not a derivative"]),
        (HEAT.replace("u.t -", "[1, 2] +"), ["'residual'"]),
    ],
    ids=["empty", "no-problem", "syntax", "error", "import", "name", "derivative", "type"],
)
@pytest.mark.parametrize("path", ["wrong.py", "./wrong.py", "absolute"])
def test_mistakes_in_a_problem_file_are_answered_with_its_line(place, content, words, path):
    (place / "wrong.py").write_text(content)
    path = str(place / "wrong.py") if path == "absolute" else path
    said = refused("train", path)
    assert said.startswith(f"poise: {path.removeprefix('./')}")
    for word in words:
        assert word in said


def test_a_file_that_raises_system_exit(place):
    (place / "wrong.py").write_text("import sys\nsys.exit('no data')\n")
    assert "no data" in refused("train", "wrong.py")


def test_dataclasses_and_neighbours_in_a_problem_file(place):
    (place / "neighbour.py").write_text("NU = 0.3\n")
    (place / "typed.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "from neighbour import NU\n\n@dataclass\nclass Settings:\n    nu: float = NU\n" + HEAT
    )
    problem, origin = sources.find("typed.py")
    assert problem.name == "typed"
    assert origin["source"] == "file"
    assert str(place) not in sys.path


def test_a_run_folder_without_what_it_should_have(place):
    (place / "run").mkdir()
    (place / "run" / "config.json").write_text('{"problem": ')
    assert "config.json is not valid JSON" in refused("resume", "run")
    assert "config.json is not valid JSON" in refused("report", "run")
    # Somebody else's config.json.
    for content, missing in (("{}", "problem"), ("[]", "problem"), ('{"problem": {}}', "recipe")):
        (place / "run" / "config.json").write_text(content)
        assert f"config.json has no '{missing}': it is not poise's" in refused("resume", "run")
        assert f"config.json has no '{missing}': it is not poise's" in refused("report", "run")


# --- poise train -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run made by the command line, with report, and what it printed."""
    home = tmp_path_factory.mktemp("trained")
    (home / "heat.py").write_text(HEAT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
        code, out, err = call("train", "heat.py", *SIZE, "--steps", 40, "--record-every", 10)
    assert code == 0, err
    return home / "runs" / "heat-annealing-seed1234", out, err


def test_train_leaves_the_documented_files(trained):
    folder, out, err = trained
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoints",
        "config.json",
        "figures",
        "gradients.nc",
        "history.csv",
        "metrics.json",
        "problem.py",
        "report.html",
        "solution.nc",
    ]
    figures = {path.name for path in (folder / "figures").iterdir()}
    stems = {name.rsplit(".", 1)[0] for name in figures}
    assert figures == {f"{stem}.{kind}" for stem in stems for kind in ("png", "svg")}
    assert stems >= {"solution", "error", "losses", "weights", "gradients"}
    assert (folder / "problem.py").read_text() == HEAT
    assert "budget spent: all 40 steps were taken" in out
    assert f"report: {folder.relative_to(folder.parent.parent)}/report.html" in out
    assert "heat: step 40/40" in err


def test_history_has_the_documented_columns(trained):
    with (trained[0] / "history.csv").open(newline="") as stream:
        header, *rows = csv.reader(stream)
    assert header == [
        *("step", "seconds", "loss", "held_out"),
        *(f"loss.{term}" for term in TERMS),
        *(f"held_out.{term}" for term in TERMS),
        *(f"weight.{term}" for term in TERMS),
        "error.u",
    ]
    assert [row[0] for row in rows] == ["10", "20", "30", "40"]
    assert all(np.isfinite(float(cell)) for row in rows for cell in row)


def test_metrics_have_the_documented_entries(trained):
    folder, out, _ = trained
    metrics = runs.read(folder).metrics
    assert list(metrics["relative_l2"]) == list(metrics["best_relative_l2"]) == ["u"]
    assert set(metrics) == {
        *("problem", "recipe", "seed", "dtype", "parameters", "steps", "status", "message"),
        *("relative_l2", "best_relative_l2", "lowest_relative_l2", "best_step", "best_held_out"),
        *("weights", "coefficients"),
        *("compile_seconds", "train_seconds", "steps_per_second", "peak_memory_mb"),
    }
    assert metrics["problem"] == "heat"
    assert metrics["parameters"] == 16 + 8 + 64 + 8 + 8 + 1
    assert list(metrics["weights"]) == TERMS
    assert f"{metrics['best_relative_l2']['u']:.3e} (chosen, step {metrics['best_step']})" in out


def test_config_is_enough_to_repeat_the_run(trained):
    config = runs.read(trained[0]).config
    assert config["problem"]["terms"] == TERMS
    assert config["problem"]["coordinates"] == {"t": [0.0, 1.0], "x": [0.0, 1.0]}
    assert config["problem"]["grid"] == {"t": 6, "x": 8}
    assert config["seed"] == 1234
    assert config["threads"] == 1
    assert config["command"].startswith("poise train heat.py --width 8")
    assert {"python", "jax", "poise"} <= set(config["versions"])
    assert rebuild_recipe(config["recipe"]) == Recipe(
        network=poise.networks.MLP(8, 2), points=Uniform(16), steps=40, record_every=10
    )


def test_solution_file_is_readable_by_anybody(trained):
    import xarray

    with xarray.open_dataset(trained[0] / "solution.nc") as dataset:
        assert set(dataset.data_vars) == {"u", "u_exact", "u_error"}
        assert dataset["u"].dims == ("t", "x")
        assert dataset["u"].dtype == np.float64
        np.testing.assert_array_equal(dataset["t"], np.linspace(0, 1, 6))
        np.testing.assert_array_equal(dataset["x"], np.linspace(0, 1, 8))
        t, x = np.meshgrid(dataset["t"], dataset["x"], indexing="ij")
        exact = np.exp(-0.1 * np.pi**2 * t) * np.sin(np.pi * x)
        np.testing.assert_allclose(dataset["u_exact"], exact, rtol=1e-12, atol=1e-15)
        error = np.abs(dataset["u"] - dataset["u_exact"])
        np.testing.assert_allclose(dataset["u_error"], error, rtol=1e-12)
        relative = np.linalg.norm(error) / np.linalg.norm(exact)
        metrics = runs.read(trained[0]).metrics
        assert metrics["best_relative_l2"]["u"] == pytest.approx(float(relative), rel=1e-10)


def test_used_folders_are_refused_and_never_overwritten(trained, place):
    folder = trained[0]
    said = refused("train", "heat.py", *SIZE, "--out", folder)
    assert f"--out {folder}" in said
    assert "poise resume" in said
    assert cli.unused(folder).name == f"{folder.name}-2"
    assert cli.unused(place / "fresh") == place / "fresh"


def test_resume_of_a_finished_run(trained):
    before = (trained[0] / "metrics.json").read_bytes()
    code, out, _ = call("resume", trained[0])
    assert (code, out) == (0, "nothing to do: budget spent, all 40 steps were taken\n")
    assert (trained[0] / "metrics.json").read_bytes() == before


def test_a_run_that_diverges_says_so_and_exits_with_one(place):
    code, out, _ = call(
        *("train", "heat.py", *SIZE, "--steps", 20, "--record-every", 10),
        *("--lr", "1e30", "--out", "wild", "--no-report"),
    )
    assert code == 1
    assert out.startswith("diverged: the loss of term ")
    assert out.endswith("run folder: wild\n")
    assert not (place / "wild" / "report.html").exists()
    assert call("report", "wild")[:2] == (0, "report: wild/report.html\n")
    assert (place / "wild" / "report.html").exists()
    code, out, _ = call("resume", "wild")
    assert code == 0
    assert out.startswith("nothing to do: diverged, the loss of term ")


def test_a_run_made_in_python_is_resumed_in_python(place):
    config = {
        "problem": {"name": "mine", "source": "python"},
        "recipe": describe(Recipe()),
        "seed": 0,
        "threads": 1,
    }
    runs.write_json(place / "mine" / runs.CONFIG, config)
    assert "made in Python: run the script again" in refused("resume", "mine")
    network = poise.networks.MLP(4, 1, lambda x: x**3)
    runs.write_json(
        place / "net" / runs.CONFIG, {**config, "recipe": describe(Recipe(network=network))}
    )
    assert "something made in Python" in refused("resume", "net")


def test_the_copy_serves_where_the_original_has_changed(place):
    _, origin = sources.find("heat.py")
    (place / "copy.py").write_text(HEAT)
    (place / "heat.py").write_text("problem = None\n")
    problem = sources.reload("heat", origin, place / "copy.py")
    assert problem.name == "heat"
    assert problem.terms == tuple(TERMS)


# --- Recipes ---------------------------------------------------------------------------------

WRITTEN = [
    *RECIPES.values(),
    Recipe(points=Sobol(64, fresh=False), dtype="float64", record_every=5),
    Recipe(points={"residual": Sobol(64), "boundary": 16}, weighting=Fixed({"boundary": 7.5})),
    Recipe(
        network=poise.networks.MLP(7, 3, jnp.sin),
        weighting=Annealing(
            every=5,
            ema=0.5,
            minimum=0.1,
            maximum=1e4,
            weighted=False,
            reference="initial",
            epsilon=1e-8,
            warmup=10,
            freeze=300,
        ),
        optimizer=poise.optimizers.Adam(3e-4, 0.95, 500),
        points=Uniform(32, fresh=False),
        steps=7,
    ),
]


@pytest.mark.parametrize("recipe", WRITTEN)
def test_recipes_survive_being_written_down(recipe, tmp_path):
    runs.write_json(tmp_path / "recipe.json", describe(recipe))
    read = json.loads((tmp_path / "recipe.json").read_text())
    assert rebuild_recipe(read) == recipe
    assert rebuild_recipe(describe(recipe)) == recipe


def test_a_class_of_ones_own_is_not_taken_for_ours():
    """Even under the name of one of ours: resuming must not put ours in its place."""

    class Fixed(poise.weighting.Fixed):
        pass

    description = describe(Fixed({"boundary": 2.0}))
    assert set(description) == {"python"}


def test_options_become_a_recipe():
    chosen = {
        "steps": 12,
        "count": 33,
        "sampler": "sobol",
        "fixed_points": True,
        "width": 9,
        "depth": 3,
        "activation": "sin",
        "lr": 0.01,
        "dtype": "float64",
        "weighting_every": 4,
        "ema": 0.0,
        "record_every": 3,
    }
    assert options.build_recipe("annealing", chosen) == Recipe(
        name="annealing",
        network=poise.networks.MLP(9, 3, jnp.sin),
        points=Sobol(33, fresh=False),
        weighting=Annealing(every=4, ema=0.0),
        optimizer=poise.optimizers.Adam(0.01),
        steps=12,
        dtype="float64",
        record_every=3,
    )
    nothing = dict.fromkeys(chosen) | {"fixed_points": False}
    for name, recipe in RECIPES.items():
        assert options.build_recipe(name, nothing, strict=False) == recipe
        if name != "solve":
            assert options.build_recipe(name, nothing) == recipe
    with pytest.raises(ValueError, match="'solve' makes its own choices: use `poise solve`"):
        options.build_recipe("solve", nothing)
    loose = options.build_recipe("fixed", {"ema": 0.5, "steps": 3}, strict=False)
    assert loose == replace(RECIPES["fixed"], steps=3)


def test_options_of_newton():
    newton = RECIPES["newton"]
    chosen = {"width": 8, "depth": 3, "count": 64, "steps": 7, "seconds": 5.0}
    built = options.build_recipe("newton", chosen)
    assert built.network == replace(newton.network, width=8, depth=3)
    assert built.points == replace(newton.points, count=64)
    assert (built.steps, built.seconds, built.dtype) == (7, 5.0, "float64")
    assert built.optimizer == newton.optimizer
    fixed = options.build_recipe("newton", {"fixed_points": True})
    assert fixed.points == Sobol(newton.points.count, fresh=False)
    # In a comparison, steps and learning rate are those of the first-order recipes.
    loose = options.build_recipe("newton", {"steps": 3, "lr": 0.1, "seconds": 9.0}, strict=False)
    assert loose == replace(newton, seconds=9.0)
    alone = options.build_recipe("solve", {"steps": 3, "seconds": 9.0}, strict=False)
    assert alone == replace(RECIPES["solve"], seconds=9.0)


# --- poise compare ---------------------------------------------------------------------------

COMPARED = ["compare", "heat.py", *SIZE, "--steps", "5000", "--record-every", "100", "--seeds", "2"]


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A comparison interrupted in the middle, and the same command once more."""
    home = tmp_path_factory.mktemp("compared")
    (home / "heat.py").write_text(HEAT)
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XDG_CACHE_HOME": str(tmp_path_factory.getbasetemp() / "cache"),
    }
    command = [sys.executable, "-m", "poise", *COMPARED, "--out", "both"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    first = subprocess.Popen(command, cwd=home, env=environment, **pipes)
    folder = home / "both"

    def in_the_middle():
        done = list(folder.glob("runs/*/metrics.json"))
        rows = [path.read_text().count("\n") for path in folder.glob("runs/*/history.csv")]
        return done and any(2 < count < 15 for count in rows)

    deadline = time.monotonic() + 120
    while first.poll() is None and time.monotonic() < deadline and not in_the_middle():
        time.sleep(0.001)
    first.send_signal(signal.SIGINT)
    first_out, first_err = first.communicate(timeout=60)
    left = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/metrics.json")}
    states = {path: json.loads(path.read_text())["status"] for path in left}
    second = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True)
    return {
        "folder": folder,
        "first": (first.returncode, first_out, first_err),
        "second": (second.returncode, second.stdout, second.stderr),
        "left": left,
        "states": states,
    }


def test_an_interrupted_comparison_keeps_what_is_finished(compared):
    code, out, err = compared["first"]
    assert code == 130, err
    assert "the same command with --out both goes on where it stopped" in out
    assert "Traceback" not in err
    assert {"budget spent", "interrupted"} == set(compared["states"].values())


def test_the_same_command_goes_on_and_finishes(compared):
    code, _, err = compared["second"]
    assert code == 0, err
    assert "Traceback" not in err
    for path, modified in compared["left"].items():
        again = path.stat().st_mtime_ns != modified
        assert again is (compared["states"][path] == "interrupted"), path
    names = sorted(path.name for path in (compared["folder"] / "runs").iterdir())
    assert names == ["annealing-seed0", "annealing-seed1", "fixed-seed0", "fixed-seed1"]
    for path in compared["folder"].glob("runs/*"):
        run = runs.Run(path)
        assert run.metrics["status"] == "budget spent"
        assert run.metrics["steps"] == 5000
        assert run.history["step"].tolist() == list(range(100, 5001, 100))
        assert run.config["threads"] == 1


def test_the_comparison_is_told_in_every_form(compared):
    folder, (_, out, _) = compared["folder"], compared["second"]
    assert {path.name for path in folder.iterdir()} == {
        *("comparison.json", "comparison.csv", "comparison.tex"),
        *("figures", "report.html", "runs"),
    }
    lines = [line for line in out.splitlines() if line.startswith(("fixed", "annealing"))]
    assert [line.split()[0] for line in lines] == ["fixed", "annealing"]
    assert all(line.rstrip().endswith("2/2") for line in lines)
    with (folder / "comparison.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["recipe"], row["seed"]) for row in rows] == [
        *(("fixed", "0"), ("fixed", "1"), ("annealing", "0"), ("annealing", "1"))
    ]
    for row in rows:
        metrics = runs.Run(folder / "runs" / f"{row['recipe']}-seed{row['seed']}").metrics
        assert float(row["relative_l2"]) == metrics["relative_l2"]["u"]
        assert float(row["best_relative_l2"]) == metrics["best_relative_l2"]["u"]
        assert float(row["steps_per_second"]) == metrics["steps_per_second"]


def test_overhead_and_reduction_follow_from_the_runs(compared):
    folder = compared["folder"]
    table = {
        row["recipe"]: row for row in json.loads((folder / "comparison.json").read_text())["table"]
    }

    def medians(recipe):
        found = [runs.Run(folder / "runs" / f"{recipe}-seed{seed}").metrics for seed in (0, 1)]
        return (
            statistics.median(m["steps_per_second"] for m in found),
            statistics.median(m["best_relative_l2"]["u"] for m in found),
        )

    (plain_speed, plain_error), (speed, error) = medians("fixed"), medians("annealing")
    row = table["annealing"]
    assert row["overhead_percent"] == pytest.approx(100 * (plain_speed / speed - 1))
    assert row["reduction_percent"] == pytest.approx(100 * (1 - error / plain_error))
    assert table["fixed"]["overhead_percent"] is None
    assert table["fixed"]["reduction_percent"] is None


def comparison_in(folder, **changes):
    sizes = dict(zip(SIZE[::2], map(int, SIZE[1::2]), strict=True))
    chosen = {
        "width": sizes["--width"],
        "depth": sizes["--depth"],
        "count": sizes["--points"],
        "steps": 5000,
        "record_every": 100,
        **changes,
    }
    recipes = [options.build_recipe(name, chosen, strict=False) for name in ("fixed", "annealing")]
    return compare.Comparison("heat.py", recipes, range(2), folder)


def test_a_finished_comparison_runs_nothing_again(compared):
    told = []
    assert comparison_in(compared["folder"]).run(lambda job, kind, what: told.append((kind, what)))
    assert told == [("there", "budget spent")] * 4


def test_another_comparison_in_the_same_folder_is_refused(compared, place):
    before = (compared["folder"] / "comparison.json").read_bytes()
    for change in (["--steps", "99"], ["--ema", "0.5"], ["--seeds", "3"], ["--recipes", "fixed"]):
        said = refused(*COMPARED, *change, "--out", compared["folder"])
        assert "already holds something else" in said
    (place / "heat.py").write_text(HEAT.replace("0.1 * u.xx", "0.2 * u.xx"))
    assert "already holds something else" in refused(*COMPARED, "--out", compared["folder"])
    assert (compared["folder"] / "comparison.json").read_bytes() == before


def test_resume_sends_a_comparison_to_compare(compared):
    assert "is a comparison: give the same `poise compare`" in refused("resume", compared["folder"])


def made_up(folder, recipe, seed, status="budget spent", error=1.0, speed=100.0, seconds=1.0):
    """A run whose worst field is u or v, with `error`, and 1 more at the last step."""
    worst, other = ("u", "v") if seed % 2 else ("v", "u")
    metrics = {
        "seed": seed,
        "status": status,
        "relative_l2": {other: error and error / 2, worst: error and error + 1},
        "best_relative_l2": {other: error and error / 10, worst: error},
        "best_held_out": 0.1,
        "steps_per_second": speed,
        "train_seconds": seconds,
        "peak_memory_mb": 200.0 + seed,
    }
    runs.write_json(folder / "runs" / f"{recipe}-seed{seed}" / runs.METRICS, metrics)


def test_table_by_hand(place):
    """Medians, ranges, the worst of several fields, a run that diverged, one that stopped."""
    recipes = [replace(RECIPES[name], steps=10) for name in ("annealing", "fixed")]
    comparison = compare.Comparison("heat.py", recipes, range(3), place / "both")
    for seed, (error, speed) in enumerate([(0.4, 210.0), (0.2, 100.0), (0.25, 150.0)]):
        made_up(place / "both", "fixed", seed, error=error, speed=speed, seconds=seed**2 + 1.0)
    made_up(place / "both", "annealing", 0, error=0.03, speed=125.0)
    made_up(place / "both", "annealing", 1, status="diverged", error=None, speed=115.0)
    made_up(place / "both", "annealing", 2, status="interrupted", error=9.0, speed=1.0)
    fixed, annealing = comparison.summarize()
    assert fixed["recipe"] == "fixed"
    for key, median, least, most in (
        ("best_relative_l2", 0.25, 0.2, 0.4),
        ("relative_l2", 1.25, 1.2, 1.4),
        ("peak_memory_mb", 201.0, 200.0, 202.0),
        ("train_seconds", 2.0, 1.0, 5.0),
    ):
        found = fixed[key]
        assert (found["median"], found["min"], found["max"]) == (median, least, most)
    assert (fixed["completed"], fixed["runs"]) == (3, 3)
    assert fixed["overhead_percent"] is fixed["reduction_percent"] is None
    # Speeds 125 and 115, median 120, against 150: a step takes 25 % more time.
    assert annealing["overhead_percent"] == pytest.approx(25.0)
    # 0.03 against 0.25.
    assert annealing["reduction_percent"] == pytest.approx(88.0)
    assert (annealing["completed"], annealing["runs"]) == (1, 3)
    lines = (place / "both" / "comparison.csv").read_text().splitlines()
    assert lines[1:3] == [
        "annealing,0,budget spent,1.03,0.03,1.0,125.0",
        "annealing,1,diverged,,,1.0,115.0",
    ]
    assert len(lines) == 6


# --- poise solve, and recipes of the second order ---------------------------------------------

OSCILLATOR = """
import jax.numpy as jnp
import poise

problem = poise.Problem(
    coordinates={"x": (0, 1.5)},
    fields=["u"],
    terms={
        "residual": poise.interior(lambda u: u.xx + u),
        "end": poise.boundary("x", lambda u, x: u - jnp.sin(x)),
    },
    exact={"u": lambda x: jnp.sin(x)},
    grid=50,
)
"""


@pytest.fixture
def oscillator(place):
    (place / "oscillator.py").write_text(OSCILLATOR)
    return place / "oscillator.py"


def test_solve_prints_its_choices_and_leaves_a_folder(oscillator):
    code, out, err = call("solve", "oscillator.py", "--budget", "8s", "--tol", "1e-3")
    assert code == 0, err
    for choice in ("network: SIREN", "points per place: residual", "loss weights: NTK"):
        assert f"  {choice}" in err
    run = runs.Run(Path("runs/oscillator-solve-seed1234"))
    assert run.finished
    assert run.config["solve"] == {"tol": 1e-3, "budget": 8.0, "memory_gb": 2.0}
    (estimate,) = run.metrics["estimate"].values()
    assert f"estimated relative L2 error of u: {estimate:.1e} (no exact solution used)" in out
    assert f"{run.metrics['status']}: {run.metrics['message']}" in out
    assert (run.path / "report.html").exists()
    assert (run.path / "problem.py").read_text() == OSCILLATOR
    assert "already holds a run" in refused("solve", "oscillator.py", "--out", run.path)


def test_a_killed_solve_goes_on(oscillator):
    """Killed after its first checkpoint, which the end of the trial of networks brings."""
    command = [sys.executable, "-m", "poise"]
    wanted = ["--budget", "14s", "--no-estimate", "--no-report", "--out", "run"]
    folder, quiet = oscillator.parent / "run", subprocess.DEVNULL
    process = subprocess.Popen(
        [*command, "solve", "oscillator.py", *wanted], stdout=quiet, stderr=quiet
    )
    noted, deadline = folder / "checkpoints" / "solve.json", time.monotonic() + 60
    while not noted.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (folder / runs.METRICS).exists()
    assert (folder / runs.HISTORY).read_text().count("\n") > 1  # rows are written as they come
    before = json.loads(noted.read_text())
    code, _, err = call("resume", "run", "--no-report")
    assert code == 0, err
    assert "the first solve goes on from step" in err
    run = runs.Run(folder)
    assert run.finished
    assert run.metrics["steps"] > 0 and (np.diff(run.history["step"]) > 0).all()
    # No second trial of networks, and no second share of the time.
    assert run.config["choices"][: len(before["choices"])] == before["choices"]
    assert run.history["seconds"][-1] < 14
    assert max(run.metrics["best_relative_l2"].values()) < 1e-5


def test_train_with_newton(oscillator):
    arguments = ("--recipe", "newton", "--steps", 5, "--width", 8, "--no-report", "--out", "run")
    code, out, err = call("train", "oscillator.py", *arguments)
    assert code == 0, err
    assert "budget spent: all 5 steps were taken" in out
    run = runs.Run(oscillator.parent / "run")
    assert run.history["step"].tolist() == [2, 4, 5]
    assert (np.diff(run.history["loss"]) < 0).all()
    newton = RECIPES["newton"]
    network = replace(newton.network, width=8)
    assert rebuild_recipe(run.config["recipe"]) == replace(newton, network=network, steps=5)


@pytest.mark.slow
def test_compare_newton_and_solve(oscillator):
    command = [sys.executable, "-m", "poise", "compare", "oscillator.py", "--seeds", "1"]
    command += ["--recipes", "newton,solve", "--budget", "6s", "--out", "both"]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith(("newton", "solve"))]
    assert [line.split()[0] for line in lines] == ["newton", "solve"]
    assert all(line.rstrip().endswith("1/1") for line in lines)
    left = {path: path.stat().st_mtime_ns for path in Path("both").glob("runs/*/*.*")}
    again = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert {
        path: path.stat().st_mtime_ns
        for path in left
        if path.name in ("config.json", "metrics.json", "history.csv")
    }.items() <= left.items()


@pytest.mark.parametrize("by_clock", [True, False])
def test_a_comparison_hears_of_steps_or_of_seconds(by_clock):
    told = []
    teller = compare._Teller(told.append, by_clock)
    with teller:
        teller.choice("network: wide")
        teller.update(500, None)
    ((taken, row),) = told
    assert row is None
    assert (0 <= taken < 60) if by_clock else (taken == 500)


def test_lengths_of_a_comparison(place, capsys):
    recipes = [replace(RECIPES["fixed"], steps=10), replace(RECIPES["solve"], seconds=4.0)]
    jobs = compare.Comparison("heat.py", recipes, [0], place / "both").jobs
    lengths = {job.label: compare.length(job) for job in jobs}
    assert lengths == {"fixed, seed 0": 10, "solve, seed 0": 4.0}
    display = ComparisonDisplay(lengths)
    for label, at, share in (("fixed, seed 0", 5, 0.5), ("solve, seed 0", 1.0, 0.25)):
        display.update(label, "at", (at, {"seconds": 3.0, "held_out": 1.0}))
        assert display._taken[label] == share
    display.update("solve, seed 0", "ended", "converged")
    assert display._taken["solve, seed 0"] == 1.0
    assert "solve, seed 0: ended, converged" in capsys.readouterr().err


# --- Threads ---------------------------------------------------------------------------------


@pytest.fixture
def measured(monkeypatch):
    """`threads.choose` on two cores; measurements are counted and made up."""
    calls = []

    def measure(problem, recipe, counts):
        calls.append(counts)
        return {1: 10.0, 2: 30.0}

    monkeypatch.setattr(threads, "available", lambda: [0, 1])
    monkeypatch.setattr(threads, "measure", measure)
    return calls


def test_a_measurement_is_made_once(measured):
    recipe = describe(Recipe())
    assert threads.choose("heat.py", recipe, 20_000)[0] == 2
    count, why = threads.choose("heat.py", recipe, 20_000)
    assert count == 2
    assert "1: 10, 2: 30" in why
    assert measured == [[1, 2]]
    # Another length of the same run needs no other measurement, another network does.
    assert threads.choose("heat.py", describe(Recipe(steps=3)), 3)[0] == 2
    assert len(measured) == 1
    wide = Recipe(network=poise.networks.MLP(width=500))
    threads.choose("heat.py", describe(wide), 20_000)
    threads.choose("other.py", recipe, 20_000)
    assert len(measured) == 3


def test_a_short_run_is_not_measured(measured):
    assert threads.choose("heat.py", describe(Recipe()), 100)[0] == 1
    assert measured == []


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"1": "fast"}', "null"])
def test_a_damaged_memory_is_measured_again(measured, content):
    recipe = describe(Recipe())
    threads.choose("heat.py", recipe, 20_000)
    (memory,) = (cache.folder() / "threads").iterdir()
    memory.write_text(content)
    assert threads.choose("heat.py", recipe, 20_000)[0] == 2
    assert len(measured) == 2


def test_a_failed_measurement_and_a_single_core_give_one_thread(measured, monkeypatch):
    monkeypatch.setattr(threads, "measure", lambda *_: {})
    assert threads.choose("heat.py", describe(Recipe()), 20_000)[0] == 1
    monkeypatch.setattr(threads, "available", lambda: [7])
    assert threads.choose("heat.py", describe(Recipe()), 20_000)[0] == 1
    assert measured == []


@pytest.mark.parametrize("count", [0, -1, 3])
def test_pin_refuses_more_cores_than_there_are(monkeypatch, count):
    monkeypatch.setattr(threads, "available", lambda: [4, 6])
    with pytest.raises(ValueError, match=rf"threads={count}: this process may use 1 to 2"):
        threads.pin(count)


def test_pin_takes_the_idlest_core(monkeypatch):
    pinned = []
    ticks = iter([{4: 100, 6: 100, 9: 0}, {4: 101, 6: 109, 9: 900}])
    monkeypatch.setattr(threads, "available", lambda: [4, 6])
    monkeypatch.setattr(threads, "_idle_ticks", lambda: next(ticks))
    monkeypatch.setattr(threads, "pin_to", pinned.append)
    threads.pin(1)
    assert pinned == [[6]]


# --- The installed program -------------------------------------------------------------------


@pytest.mark.parametrize("module", [True, False], ids=["python -m poise", "poise"])
def test_the_program_itself_refuses_in_one_line(module, place):
    script = os.path.join(os.path.dirname(sys.executable), "poise")
    program = [sys.executable, "-m", "poise"] if module else [script]
    done = subprocess.run(
        [*program, "train", "nowhere.py"],
        capture_output=True,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "poise: nowhere.py does not exist\n"


IMPATIENT = """
import os, signal, sys
import poise.__main__

class Impatient:
    def find_spec(self, name, *_):
        if name == "poise.cli":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Impatient())
poise.__main__.main()
"""


def test_ctrl_c_while_everything_is_still_being_imported():
    done = subprocess.run([sys.executable, "-c", IMPATIENT], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_the_command_begins_without_the_rest():
    """JAX takes more than a second to import: Ctrl-C has to be heard before that."""
    loaded = "import sys, poise.__main__; print('jax' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"]


def test_every_public_name_is_there_when_asked_for():
    for name in poise.__all__:
        assert getattr(poise, name) is not None and name in dir(poise)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = poise.nonsense


def test_steps_are_for_first_order_recipes_where_there_are_some():
    built, said = options.build_recipes(["fixed", "newton"], {"steps": 5})
    assert [recipe.steps for recipe in built] == [5, 200]
    assert said == ["newton keeps its own 200 steps: --steps is for first-order recipes"]
    built, said = options.build_recipes(["newton"], {"steps": 3})
    assert [recipe.steps for recipe in built] == [3] and said == []
    built, said = options.build_recipes(["newton", "solve"], {"steps": 3, "seconds": 5.0})
    assert [recipe.seconds for recipe in built] == [5.0, 5.0] and built[0].steps == 3
    with pytest.raises(ValueError, match="the recipe 'newton' has no learning rate"):
        options.build_recipes(["newton"], {"lr": 0.1})


def test_runs_that_are_there_are_not_announced_as_ended_now(capsys):
    display = ComparisonDisplay({"a": 10, "b": 10})
    display.update("a", "there", "budget spent")
    display.update("b", "ended", "budget spent")
    assert capsys.readouterr().err == "b: ended, budget spent\n"
