"""Several recipes and seeds on one problem, side by side in the way that is fastest.

On a CPU, networks of this size run fastest on one core each, so every run gets a process of its own
pinned to a core. The processes share the cache of compiled programs. On an accelerator one process
has it, and a recipe's seeds run in one program (`poise.comparison.batch`). What each run leaves
is an ordinary run folder; the comparison reads them when all are done.
"""

from __future__ import annotations

import multiprocessing
import queue
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poise import runs, sources, threads
from poise.comparison import summary
from poise.comparison.baseline import baseline, notes, same_work
from poise.devices import accelerated
from poise.training.interrupt import Interrupt
from poise.training.recipe import Recipe, describe, rebuild_recipe


@dataclass(frozen=True)
class Job:
    """One run of a comparison, in words that another process understands."""

    problem: str
    recipe: Mapping[str, Any]  # as `describe` gives it: functions do not travel
    seed: int
    folder: Path

    @property
    def label(self) -> str:
        return f"{self.recipe['name']}, seed {self.seed}"


Event = tuple[int, str, Any]
"""(job, "at", (how much of its `length`, row or None)), (job, "noted", what the user should know),
(job, "there", status) of a run that had ended before, (job, "ended", status), (job, "failed", why).
"""


class Comparison:
    """A comparison in its folder.

    Parameters
    ----------
    problem
        As the command line takes it: a name of the zoo or a Python file.
    recipes, seeds
        What to run; every recipe with every seed.
    folder
        Where. If it holds the same comparison, finished runs are kept and the others go on.

    Raises
    ------
    ValueError
        If `folder` holds something else.
    """

    def __init__(
        self, problem: str, recipes: Sequence[Recipe], seeds: Sequence[int], folder: Path
    ) -> None:
        loaded, origin = sources.find(problem)
        self.folder = folder
        self.recipes = list(recipes)
        self.seeds = list(seeds)
        self.jobs = [
            Job(problem, describe(recipe), seed, folder / "runs" / f"{recipe.name}-seed{seed}")
            for seed in seeds
            for recipe in recipes
        ]
        self.settings = {
            "problem": loaded.name,
            "equation": loaded.equation,
            "sha256": origin.get("sha256"),  # an edited file is another problem
            "recipes": [recipe.name for recipe in recipes],
            "settings": [describe(recipe) for recipe in recipes],
            "seeds": self.seeds,
            "steps": max(recipe.steps for recipe in recipes),
            "runs": {
                recipe.name: [
                    str(job.folder.relative_to(folder))
                    for job in self.jobs
                    if job.recipe["name"] == recipe.name
                ]
                for recipe in recipes
            },
        }
        self._claim()

    def _claim(self) -> None:
        try:
            there = runs.read(self.folder)
        except runs.RunFolderError:
            runs.write_json(self.folder / runs.COMPARISON, {**self.settings, "table": []})
            return
        same = isinstance(there, runs.Comparison) and all(
            there.summary.get(name) == runs.plain(value) for name, value in self.settings.items()
        )
        if not same:
            raise ValueError(
                f"{self.folder} already holds something else; choose another folder, or give "
                "the very same comparison to go on with it"
            )

    def run(
        self,
        watch: Callable[[Job, str, Any], None] = lambda job, kind, what: None,
        together: bool | None = None,
    ) -> bool:
        """Run what is not finished yet. False if the user interrupted.

        `together`: whether the seeds of a recipe run in one program; None for where it is faster.
        """
        waiting = [i for i, job in enumerate(self.jobs) if not runs.Run(job.folder).finished]
        for index in set(range(len(self.jobs))) - set(waiting):
            watch(self.jobs[index], "there", runs.Run(self.jobs[index].folder).metrics["status"])
        if not waiting:
            return True
        context = multiprocessing.get_context("spawn")
        tasks: Any = context.Queue()
        events: Any = context.Queue()
        if together is None:
            together = accelerated()
        groups = self._groups(waiting) if together else [[index] for index in waiting]
        cores = [None] if together else threads.available()[: len(waiting)]
        for group in groups:
            tasks.put([(index, self.jobs[index]) for index in group])
        for _ in cores:
            tasks.put(None)
        workers = [
            context.Process(target=_work, args=(core, tasks, events), daemon=True) for core in cores
        ]
        left = set(waiting)
        with Interrupt() as interrupt:
            for worker in workers:
                worker.start()
            while left and (any(worker.is_alive() for worker in workers) or not events.empty()):
                if interrupt.requested:
                    _drain(tasks, len(workers))
                    for worker in workers:
                        if worker.is_alive() and worker.pid:
                            worker.terminate()  # a worker ends its run in order and saves it
                    for worker in workers:
                        worker.join()
                    return False
                try:
                    index, kind, what = events.get(timeout=0.2)
                except queue.Empty:
                    continue
                if kind in ("ended", "failed"):
                    left.discard(index)
                watch(self.jobs[index], kind, what)
        for worker in workers:
            worker.join()
        for index in left:
            watch(self.jobs[index], "failed", "its process ended without a word")
        return True

    def _groups(self, waiting: Sequence[int]) -> list[list[int]]:
        """Those that can run in one program: the seeds of a recipe, unless the clock ends it."""
        groups: list[list[int]] = []
        for recipe in self.recipes:
            own = [i for i in waiting if self.jobs[i].recipe["name"] == recipe.name]
            alike = recipe.network is not None and recipe.seconds is None
            if alike and not recipe.optimizer.needs:
                groups.append(own)
            else:
                groups += [[index] for index in own]
        return [group for group in groups if group]

    @property
    def finished(self) -> int:
        """How many of the runs are finished."""
        return sum(runs.Run(job.folder).finished for job in self.jobs)

    def summarize(self, remarks: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Make the table of the runs that finished; write comparison.json, .csv and .tex.

        See `poise.comparison.baseline` for what each recipe is compared with. `remarks` are kept
        with the notes on that.
        """
        finished = {
            recipe.name: [
                runs.Run(job.folder).metrics
                for job in self.jobs
                if job.recipe["name"] == recipe.name and runs.Run(job.folder).finished
            ]
            for recipe in self.recipes
        }
        baselines = {recipe.name: baseline(recipe, self.recipes) for recipe in self.recipes}
        table = summary.table(
            finished, len(self.seeds), {name: usual.name for name, usual in baselines.items()}
        )
        recipes = {recipe.name: recipe for recipe in self.recipes}
        for row in table:
            if not same_work(recipes[row["recipe"]], baselines[row["recipe"]]):
                row["overhead_percent"] = None  # steps of other kinds have no time in common
        runs.write_json(
            self.folder / runs.COMPARISON,
            {**self.settings, "table": table, "notes": [*notes(self.recipes), *remarks]},
        )
        runs.write_text(self.folder / "comparison.csv", summary.csv(finished))
        runs.write_text(self.folder / "comparison.tex", summary.latex(table))
        return table


def length(job: Job) -> float:
    """What a run counts to: its steps, or the seconds of one that ends by the clock."""
    return job.recipe.get("seconds") or job.recipe["steps"]


def _drain(tasks: Any, workers: int) -> None:
    """Take back every job that has not been begun."""
    try:
        while True:
            tasks.get_nowait()
    except queue.Empty:
        for _ in range(workers):
            tasks.put(None)


def _work(core: int | None, tasks: Any, events: Any) -> None:
    """A worker process: jobs one after the other, on one core or on the accelerator."""
    # Ctrl-C reaches the whole process group. The parent hears it and asks each worker to end
    # by SIGTERM, which a run in progress turns into an orderly stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if core is not None:
        threads.pin_to([core])
    from poise import cache
    from poise.training.run import run

    cache.keep_compiled_programs()
    while (group := tasks.get()) is not None:
        statuses = _run_group(group, events) if len(group) > 1 else None
        for index, job in [] if statuses else group:
            try:
                tell = lambda what, index=index: events.put((index, "at", what))  # noqa: E731
                status = _run_job(run, job, tell)
            except Exception as error:
                events.put((index, "failed", f"{type(error).__name__}: {error}"))
                continue
            events.put((index, "ended", status))
            if status == "interrupted":
                return
        if statuses and "interrupted" in statuses:
            return


def _run_group(group: Sequence[tuple[int, Job]], events: Any) -> list[str] | None:
    """Several seeds of a recipe in one program; None where that cannot be, for whatever reason.

    The first job's events say the reason; the jobs are then run one by one.
    """
    from poise.comparison.batch import run_seeds

    indices, jobs = [index for index, _ in group], [job for _, job in group]
    problem, origin = sources.find(jobs[0].problem)
    for job in jobs:
        copy_source(origin, job.folder)
    try:
        statuses = run_seeds(
            problem,
            rebuild_recipe(jobs[0].recipe),
            [job.seed for job in jobs],
            [job.folder for job in jobs],
            origin,
            lambda number, taken, row: events.put((indices[number], "at", (taken, row))),
        )
    except Exception as error:
        why = f"seeds run one by one, for in one program: {type(error).__name__}: {error}"
        events.put((indices[0], "noted", why))
        return None
    for index, status in zip(indices, statuses, strict=True):
        events.put((index, "ended", status))
    return statuses


def _run_job(run: Any, job: Job, tell: Callable[[Any], None]) -> str:
    problem, origin = sources.find(job.problem)
    copy_source(origin, job.folder)
    recipe = rebuild_recipe(job.recipe)
    how: dict[str, Any] = {
        "seed": job.seed,
        "out": job.folder,
        "resume": True,
        "origin": origin,
        "display": _Teller(tell, by_clock=bool(recipe.seconds)),
        "extra": {"threads": 1},
    }
    if recipe.network is None:
        from poise.training import recipes
        from poise.training.solve import run_plan

        plan = recipes.automatic(problem, weighting=recipe.weighting)
        return run_plan(problem, plan, tol=None, budget=recipe.seconds or 60.0, **how).status
    return run(problem, recipe, **how).status


class _Teller:
    """Stands where a display stands, and passes on what it is told."""

    def __init__(self, tell: Callable[[Any], None], by_clock: bool) -> None:
        self._tell = tell
        self._by_clock = by_clock
        self._start = time.perf_counter()

    def __enter__(self) -> _Teller:
        self._start = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def say(self, text: str) -> None:
        self._tell((0, None))

    def choice(self, line: str) -> None:
        pass  # it is in config.json

    def update(self, taken: int, row: dict[str, float] | None) -> None:
        self._tell((time.perf_counter() - self._start if self._by_clock else taken, row))


def copy_source(origin: Mapping[str, Any], folder: Path) -> None:
    """Keep a copy of the user's file in the run folder."""
    if origin.get("source") == "file":
        runs.write_bytes(folder / "problem.py", Path(origin["path"]).read_bytes())
