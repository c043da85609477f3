"""From what a user types to a problem: a name of the zoo, or a Python file that defines one."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from pathlib import Path
from typing import Any

from poise import zoo
from poise.near import near
from poise.problem import Problem


def find(text: str) -> tuple[Problem, dict[str, Any]]:
    """The problem that `text` names, and where it came from.

    Returns
    -------
    problem
        Ready to train.
    origin
        For config.json: {"source": "zoo", ...} or {"source": "file", "path", "sha256"}.

    Raises
    ------
    ValueError
        If there is no such name or file, or the file fails or does not define `problem`.
    """
    if text in zoo.names():
        entry = zoo.entry(text)
        return entry.build(), {"source": "zoo", "title": entry.title, "reference": entry.reference}
    path = Path(text)
    if path.suffix == ".py" or path.exists():
        return load_file(path)
    raise ValueError(
        f"{text!r} is neither a problem of the zoo{near(text, zoo.names())} nor a Python file; the "
        f"zoo has {', '.join(zoo.names())}"
    )


def load_file(path: Path) -> tuple[Problem, dict[str, Any]]:
    """Run a Python file and take its `problem`. Raises as `find` does."""
    if not path.is_file():
        why = "is a folder, not a Python file" if path.is_dir() else "does not exist"
        raise ValueError(f"{path} {why}")
    content = path.read_bytes()
    spec = importlib.util.spec_from_file_location(f"poise_problem_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is not a Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)  # so that the file can import its neighbours
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{path}{_line(path, error)}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(folder)
    problem = getattr(module, "problem", None)
    if not isinstance(problem, Problem):
        found = "it has none" if problem is None else f"its `problem` is {problem!r}"
        raise ValueError(f"{path} must define `problem = poise.Problem(...)`; {found}")
    if problem.name == "problem":
        problem.name = path.stem
    digest = hashlib.sha256(content).hexdigest()
    return problem, {"source": "file", "path": str(path.resolve()), "sha256": digest}


def reload(name: str, origin: dict[str, Any], copy: Path) -> Problem:
    """The problem of a run folder, for going on with the run.

    Parameters
    ----------
    name, origin
        As config.json has them.
    copy
        The run folder's copy of the user's file; used where the original has changed or gone.

    Raises
    ------
    ValueError
        If the problem was made in Python, or cannot be loaded any more.
    """
    match origin.get("source"):
        case "zoo":
            return zoo.load(name)
        case "file":
            original = Path(origin["path"])
            unchanged = (
                original.is_file()
                and hashlib.sha256(original.read_bytes()).hexdigest() == origin["sha256"]
            )
            problem, _ = load_file(original if unchanged else copy)
            problem.name = name
            return problem
    raise ValueError(
        "the problem was made in Python: run the script again, with out=... and resume=True in its "
        "poise.solve or poise.train"
    )


def _line(path: Path, error: BaseException) -> str:
    """Where in the user's file an error arose."""
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}" if error.lineno else ""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if Path(f.filename) == path.absolute()]
    return f", line {own[-1].lineno}" if own else ""
