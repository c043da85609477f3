"""Everything a run writes down about itself, beside its history and checkpoints."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from poise import runs
from poise.problem import Problem
from poise.training.recipe import Recipe, describe, rebuild

try:
    import resource
except ImportError:  # Windows has none
    resource = None

if TYPE_CHECKING:
    import xarray

    from poise.training.loop import Loop

_PACKAGES = ("poise", "jax", "jaxlib", "equinox", "optax", "orbax-checkpoint", "numpy", "scipy")


def configuration(
    problem: Problem, recipe: Recipe, seed: int, origin: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The content of config.json: what is needed to repeat the run.

    Parameters
    ----------
    origin
        Where the problem came from: {"source": "zoo"}, or {"source": "file", "path": ...,
        "sha256": ...}; a problem made in Python has none.
    """
    return {
        "problem": {
            "name": problem.name,
            "equation": problem.equation,
            **(origin or {"source": "python"}),
            "coordinates": {
                name: [low, high]
                for name, low, high in zip(
                    problem.coordinates, problem.domain.lower, problem.domain.upper, strict=True
                )
            },
            "periodic": list(problem.domain.periodic),
            "time": problem.time,
            "fields": list(problem.fields),
            "terms": list(problem.terms),
            "coefficients": problem.coefficients,
            "grid": problem.grid,
        },
        "recipe": describe(recipe),
        "seed": seed,
        "command": " ".join(["poise", *sys.argv[1:]]) if _is_command_line() else None,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "machine": machine(),
    }


def machine() -> dict[str, Any]:
    """What the run was computed on."""
    device = jax.devices()[0]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "cores_used": cores,
        "device": device.device_kind,
    }


def results(loop: Loop, problem: Problem, recipe: Recipe, seed: int) -> dict[str, Any]:
    """The content of metrics.json, less status and message."""
    evaluation, state = loop.evaluation, loop.state
    _, final = evaluation(state.params)
    _, best = evaluation(loop.chosen.params)
    clock = loop.clock
    return {
        "problem": problem.name,
        "recipe": recipe.name,
        "seed": seed,
        "dtype": recipe.dtype,
        "parameters": state.params.size,
        "steps": loop.taken,
        "relative_l2": final,
        "best_relative_l2": best,
        "lowest_relative_l2": {
            field: _lowest(loop.history[f"error.{field}"]) for field in problem.exact
        },
        "best_step": loop.chosen.step,
        "best_held_out": loop.chosen.value,
        "weights": {term: float(state.weights[term]) for term in problem.terms},
        "coefficients": loop.coefficients(loop.chosen.params),
        "compile_seconds": clock.compiling,
        "train_seconds": clock.training,
        "steps_per_second": loop.taken / clock.stepping if clock.stepping else None,
        "peak_memory_mb": peak_memory_mb(),
    }


def _lowest(errors: np.ndarray) -> float | None:
    numbers = errors[np.isfinite(errors)]
    return float(numbers.min()) if numbers.size else None


def peak_memory_mb() -> float | None:
    """The largest resident memory of this process so far, in MiB; None on Windows."""
    if resource is None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def solution_dataset(loop: Loop, problem: Problem) -> xarray.Dataset:
    """Prediction of the chosen parameters, exact solution and absolute error on the grid."""
    import xarray

    evaluation = loop.evaluation
    predicted = evaluation.on_grid(loop.chosen.params)
    variables: dict[str, Any] = {}
    names = tuple(problem.coordinates)
    for field, values in predicted.items():
        variables[field] = (names, values, {"long_name": f"predicted {field}"})
    for field, values in evaluation.exact_on_grid().items():
        error = np.abs(predicted[field] - values)
        variables[f"{field}_exact"] = (names, values, {"long_name": f"exact {field}"})
        variables[f"{field}_error"] = (names, error, {"long_name": f"absolute error of {field}"})
    return xarray.Dataset(variables, coords=evaluation.axes, attrs={"units": "nondimensional"})


def gradient_dataset(loop: Loop) -> xarray.Dataset:
    """∇Lₖ of every term over the weight matrices, at the last step's parameters.

    Variables: ``gradient`` (term, parameter), ``layer`` (parameter), ``weight`` (term).
    """
    import xarray

    _, gradients = jax.jit(loop.step.signals)(loop.state)
    rows, layers = [], np.zeros(0, np.int32)
    terms = list(loop.step.objective.terms)  # in the user's order: JAX sorts the keys of dicts
    for term in terms:
        matrices = [np.asarray(g) for g in jax.tree.leaves(gradients[term]) if g.ndim >= 2]
        rows.append(np.concatenate([m.ravel() for m in matrices] or [np.zeros(0)]))
        layers = np.repeat(np.arange(len(matrices), dtype=np.int32), [m.size for m in matrices])
    weights = [float(loop.state.weights[term]) for term in terms]
    return xarray.Dataset(
        {
            "gradient": (("term", "parameter"), np.stack(rows)),
            "layer": (("parameter",), layers),
            "weight": (("term",), weights),
        },
        coords={"term": terms},
    )


def write_again(folder: Path, config: Mapping[str, Any]) -> None:
    """Begin to go on with a run. More steps are allowed, and written down.

    Raises
    ------
    ValueError
        If the run in the folder differs in anything else that its numbers depend on.
    """
    former = runs.Run(folder).config
    for room, free in (("problem", _ORIGIN), ("recipe", {"steps", "name"})):
        old, new = _completed(room, former[room]), runs.plain(config[room])
        _refuse_change(folder, old, {n: part for n, part in new.items() if n not in free})
    _refuse_change(folder, former, {"seed": config["seed"]})
    if former["recipe"]["steps"] != config["recipe"]["steps"]:
        runs.write_json(folder / runs.CONFIG, {**former, "recipe": config["recipe"]})


def begun_again(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a solve that is gone on with: it began when and as it did.

    Raises
    ------
    ValueError
        If the folder holds the run of another problem or seed.
    """
    former = runs.Run(folder).config
    new = {n: part for n, part in runs.plain(config["problem"]).items() if n not in _ORIGIN}
    _refuse_change(folder, _completed("problem", former["problem"]), new)
    _refuse_change(folder, former, {"seed": config["seed"]})
    kept = {name: former[name] for name in ("created", "command") if name in former}
    return {**config, **kept}


_ORIGIN = {"source", "path", "sha256", "title", "reference", "equation"}
"""What config.json says of a problem that its numbers do not depend on."""


def _completed(room: str, old: Mapping[str, Any]) -> Mapping[str, Any]:
    """What an earlier version wrote down, with the defaults of settings that it did not have."""
    if room == "problem":
        return {"periodic": [], **old}
    complete = {}
    for name, part in old.items():
        try:
            complete[name] = runs.plain(describe(rebuild(part)))
        except (KeyError, TypeError, ValueError):  # made in Python
            complete[name] = part
    return complete


def _refuse_change(folder: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    for name, value in new.items():
        if _comparable(old.get(name)) != _comparable(value):
            raise ValueError(
                f"{folder} holds another run: its {name} is {old.get(name)}, not {value}; choose "
                "another folder, or leave this setting as it was"
            )


def _comparable(description: Any) -> Any:
    """Without the reprs of Python objects, which hold addresses."""
    if isinstance(description, Mapping):
        if "python" in description:
            return "python"
        return {name: _comparable(part) for name, part in description.items()}
    return description


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers may depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed as a package"
    return found


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as stream:
            for line in stream:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _is_command_line() -> bool:
    return os.path.basename(sys.argv[0]) in ("poise", "__main__.py")
