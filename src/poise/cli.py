"""The command line. Strings become objects here and nowhere else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from poise import cache, options, runs, sources, tables, threads
from poise.comparison import baseline
from poise.comparison import compare as comparing
from poise.comparison.display import ComparisonDisplay
from poise.training import recipes as automatic
from poise.training.display import Display, SolveDisplay
from poise.training.recipe import EXPERIMENTS, RECIPES, Recipe, describe, rebuild_recipe
from poise.training.run import run
from poise.training.solve import run_plan

INTERRUPTED_EXIT = 130

out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="poise", message="poise %(version)s")
def cli() -> None:
    """Train physics-informed neural networks that keep the terms of their loss in balance.

    PROBLEM is a name that `poise problems` lists, or a Python file that defines `problem`.
    """


@cli.command(short_help="List the problems that are ready to run.")
def problems() -> None:
    """List the problems that are ready to run."""
    out.print(tables.problems())


@cli.command(short_help="Train a network on PROBLEM.")
@click.argument("problem")
@click.option(
    "--recipe",
    type=click.Choice([name for name in RECIPES if name != "solve"]),
    default="annealing",
    show_default=True,
    help="fixed: all loss weights 1; annealing: weights from gradient statistics; newton: "
    "Gauss-Newton in float64.",
)
@options.recipe_options
@options.seed
@options.run_folder
@options.checkpointing
@options.running(threads="measured for long runs, else 1")
def train(
    problem: str,
    recipe: str,
    seed: int,
    thread_count: int | None,
    folder: Path | None,
    checkpoint_seconds: float,
    report: bool,
    **chosen: Any,
) -> None:
    """Train a network on PROBLEM and write a run folder."""
    loaded, origin = sources.find(problem)
    built = options.build_recipe(recipe, chosen)
    folder = folder or unused(Path("runs") / f"{loaded.name}-{recipe}-seed{seed}")
    _refuse_used(folder)
    thread_count = _set_threads(thread_count, problem, built)
    comparing.copy_source(origin, folder)
    _train(loaded, built, seed, folder, False, origin, checkpoint_seconds, report, thread_count)


@cli.command(short_help="Solve PROBLEM to a wanted accuracy, without tuning.")
@click.argument("problem")
@click.option(
    "--tol",
    default=1e-6,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Wanted relative L2 error, by the difference to a second solve.",
)
@click.option("--no-estimate", is_flag=True, help="One solve only: no estimate, use all the time.")
@click.option("--budget", default="60s", show_default=True, help="Time, as 60s, 5min or 1h.")
@click.option(
    "--memory-gb",
    default=2.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="What an optimizer step may hold.",
)
@options.seed
@options.run_folder
@options.running(threads="2 where there are as many")
def solve(
    problem: str,
    tol: float,
    no_estimate: bool,
    budget: str,
    memory_gb: float,
    seed: int,
    folder: Path | None,
    thread_count: int | None,
    report: bool,
) -> None:
    """Solve PROBLEM to a wanted accuracy within a time: network, points, loss weights and
    optimizer are chosen, and every choice is printed."""
    seconds = automatic.seconds(budget)
    loaded, origin = sources.find(problem)
    folder = folder or unused(Path("runs") / f"{loaded.name}-solve-seed{seed}")
    _refuse_used(folder)
    comparing.copy_source(origin, folder)
    wanted = {"tol": None if no_estimate else tol, "budget": seconds, "memory_gb": memory_gb}
    config = {"solve": wanted, "seed": seed}
    _solve(loaded, origin, config, folder, thread_count, report)


def _solve(
    problem: Any,
    origin: dict[str, Any],
    config: dict[str, Any],
    folder: Path,
    thread_count: int | None,
    report: bool,
    resuming: bool = False,
) -> None:
    wanted = config["solve"]
    # A second core takes a seventh off, compiling included; these sizes have no use for more.
    count: int = thread_count or config.get("threads") or min(2, len(threads.available()))
    threads.pin(count)
    solution = run_plan(
        problem,
        automatic.automatic(problem, memory_gb=wanted.get("memory_gb", 2.0)),
        tol=wanted["tol"],
        budget=wanted["budget"],
        seed=config["seed"],
        out=folder,
        resume=resuming,
        display=SolveDisplay(wanted["budget"], problem.name),
        origin=origin,
        extra={"threads": count},
    )
    _tell(solution)
    if solution.status == "interrupted":
        if (folder / runs.CHECKPOINTS).exists():
            out.print(f"go on with: poise resume {folder}")
        else:
            out.print(
                "networks were still being tried, and nothing was worth keeping yet: "
                f"`poise resume {folder}` begins anew"
            )
        sys.exit(INTERRUPTED_EXIT)
    for field, error in (solution.estimate or {}).items():
        out.print(f"estimated relative L2 error of {field}: {error:.1e} (no exact solution used)")
    if solution.metrics["doubt"]:
        out.print(solution.metrics["doubt"])
    _finish(solution, folder, report)


@cli.command(short_help="Go on with an interrupted or killed run.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@options.checkpointing
@options.running(threads="as many as before")
def resume(folder: Path, thread_count: int | None, checkpoint_seconds: float, report: bool) -> None:
    """Go on with the interrupted or killed run in DIR: a training to the same numbers, a solve with
    what is left of its time."""
    found = runs.read(folder)
    if isinstance(found, runs.Comparison):
        raise ValueError(f"{folder} is a comparison: give the same `poise compare` with --out")
    if found.finished:
        out.print(f"nothing to do: {found.metrics['status']}, {found.metrics['message']}")
        return
    config = found.config
    recipe = None if "solve" in config else rebuild_recipe(config["recipe"])
    problem = sources.reload(config["problem"]["name"], config["problem"], folder / "problem.py")
    if recipe is None:
        _solve(problem, config["problem"], config, folder, thread_count, report, resuming=True)
        return
    # As many threads as before: another number may round differently.
    thread_count = _set_threads(thread_count or config.get("threads", 1), "", recipe)
    _train(
        problem,
        recipe,
        config["seed"],
        folder,
        True,
        config["problem"],
        checkpoint_seconds,
        report,
        thread_count,
    )


def _train(
    problem: Any,
    recipe: Recipe,
    seed: int,
    folder: Path,
    resuming: bool,
    origin: dict[str, Any],
    checkpoint_seconds: float,
    report: bool,
    thread_count: int,
) -> None:
    solution = run(
        problem,
        recipe,
        seed=seed,
        out=folder,
        resume=resuming,
        origin=origin,
        checkpoint_seconds=checkpoint_seconds,
        display=Display(recipe.steps, problem.name),
        extra={"threads": thread_count},
    )
    _tell(solution)
    if solution.status == "interrupted":
        out.print(f"go on with: poise resume {folder}")
        sys.exit(INTERRUPTED_EXIT)
    _finish(solution, folder, report)


def _tell(solution: Any) -> None:
    """What came out, in a few lines."""
    metrics, problem = solution.metrics, solution.problem
    out.print(f"{solution.status}: {solution.message}")
    for field, error in solution.best_relative_l2.items():
        last = solution.relative_l2[field]
        out.print(
            f"relative L2 error of {field}: {error:.3e} "
            f"(chosen, step {metrics['best_step']}), {last:.3e} (last step)"
        )
    for name, value in solution.coefficients.items():
        out.print(f"coefficient {name}: {value:.6g} (first guess {problem.coefficients[name]:g})")
    weights = ", ".join(f"{term} {weight:.4g}" for term, weight in solution.weights.items())
    out.print(f"loss weights: {weights}")
    out.print(
        f"{metrics['train_seconds']:.1f} s training, {metrics['compile_seconds']:.1f} s compiling, "
        f"{metrics['steps_per_second'] or 0:.3g} steps/s, {metrics['peak_memory_mb'] or 0:.0f} MB"
    )


def _finish(solution: Any, folder: Path, report: bool) -> None:
    """Draw the report, and end with a code that tells of failure."""
    if report:
        out.print(f"report: {solution.report()}")
    else:
        out.print(f"run folder: {folder}")
    if solution.status == "diverged":
        sys.exit(1)


@cli.command(short_help="Compare recipes over several seeds.")
@click.argument("problem")
@click.option(
    "--recipes",
    default="fixed,annealing",
    show_default=True,
    help=f"Which to compare, separated by commas: {', '.join(RECIPES)}; all stands for all "
    f"but {' and '.join(name for name in RECIPES if name not in EXPERIMENTS)}.",
)
@click.option(
    "--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Runs per recipe."
)
@click.option("--first-seed", type=int, default=0, show_default=True, help="The others follow it.")
@options.recipe_options
@click.option(
    "--out",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder; an unfinished comparison in it goes on.  [default: a new one in runs/]",
)
def compare(
    problem: str,
    recipes: str,
    seeds: int,
    first_seed: int,
    folder: Path | None,
    **chosen: Any,
) -> None:
    """Run several recipes with several seeds on PROBLEM and compare: one process a core, or on an
    accelerator the seeds of a recipe in one program."""
    given = [name.strip() for name in recipes.split(",") if name.strip()]
    loaded, _ = sources.find(problem)
    suited, unsuited = options.every_rule(loaded)
    names = [name for each in given for name in (suited if each == "all" else (each,))]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"--recipes {recipes!r}: name each recipe once, separated by commas")
    built, unused_options = options.build_recipes(names, chosen)
    folder = folder or unused(Path("runs") / f"compare-{loaded.name}")
    runs.check_writable(folder)
    left_out = [f"{name} is left out: {why}" for name, why in unsuited.items() if "all" in given]
    for line in [*left_out, *unused_options]:
        out.print(line)
    comparison = comparing.Comparison(problem, built, range(first_seed, first_seed + seeds), folder)
    if there := comparison.finished:
        out.print(f"{there} of {len(comparison.jobs)} runs are there already")
    lengths = {job.label: comparing.length(job) for job in comparison.jobs}
    with ComparisonDisplay(lengths) as display:
        done = comparison.run(lambda job, kind, what: display.update(job.label, kind, what))
    table = comparison.summarize(left_out)
    out.print(tables.comparison(table, out.width))
    if any(row["against"] for row in table):
        out.print("better: seeds with a lower error than the baseline; p: rank test (Mann-Whitney)")
    for note in baseline.notes(built):
        out.print(note)
    if len(loaded.exact) > 1:
        out.print(f"errors: the largest over the fields {', '.join(loaded.exact)}")
    if not done:
        out.print(f"interrupted; the same command with --out {folder} goes on where it stopped")
        sys.exit(INTERRUPTED_EXIT)
    if not any(row["completed"] for row in table):
        raise ValueError("no run was completed; see the reasons above")
    from poise.report import write

    out.print(f"report: {write(folder)}")
    if any(row["completed"] < row["runs"] for row in table):
        sys.exit(1)


@cli.command(short_help="Draw figures and report.html again.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def report(folder: Path) -> None:
    """Draw the figures and report.html of the run or comparison in DIR."""
    from poise.report import write

    out.print(f"report: {write(folder)}")


def unused(path: Path) -> Path:
    """`path`, or the first of path-2, path-3, ... that does not exist: nothing is overwritten."""
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate


def _refuse_used(folder: Path) -> None:
    runs.check_writable(folder)
    if (folder / runs.CONFIG).exists() or (folder / runs.COMPARISON).exists():
        raise ValueError(
            f"--out {folder}: already holds a run; choose another folder, or go on with it by "
            f"`poise resume {folder}`"
        )


def _set_threads(count: int | None, problem: str, recipe: Recipe) -> int:
    """Pin this process to cores before JAX makes its threads."""
    if count is None:
        count, why = threads.choose(problem, describe(recipe), recipe.steps, _note)
        _note(f"threads: {count} ({why})")
    threads.pin(count)
    return count


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Entry point of `poise`: no traceback for a user's mistake, one line and exit code 2."""
    try:
        cache.keep_compiled_programs()
        code = cli.main(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
        sys.exit(0)
    except click.ClickException as error:
        _fail(error.format_message())
    except click.Abort:
        sys.exit(INTERRUPTED_EXIT)
    except ValueError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED_EXIT)


def _fail(message: str) -> None:
    line = " ".join(message.split())
    print(f"poise: {line}", file=sys.stderr)
    sys.exit(2)
