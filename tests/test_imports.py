"""Data flows one way: which part of poise may import which."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "poise"
FILES = sorted(SOURCE.rglob("*.py"))


def module_of(path):
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def imports(path):
    """Modules of poise that a file imports when it is loaded or later; types do not count."""
    found = set()
    tree = ast.parse(path.read_text())
    skipped = {
        node
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in names}
    return {name for name in found if name.split(".")[0] == "poise"}


GRAPH = {module: imports(path) for module, path in MODULES.items()}


def reachable(module):
    """Everything a module imports, directly or through others; the index `poise` aside."""
    seen, todo = set(), [module]
    while todo:
        for name in GRAPH[todo.pop()]:
            if name not in seen and name != "poise":
                seen.add(name)
                todo.append(name)
    return seen


def inside(module, *rooms):
    return any(module == f"poise.{room}" or module.startswith(f"poise.{room}.") for room in rooms)


@pytest.mark.parametrize("room", ["weighting", "optimizers", "networks", "report"])
def test_these_rooms_do_not_know_the_problem(room):
    for module in filter(lambda m: inside(m, room), MODULES):
        assert not {m for m in reachable(module) if inside(m, "problem", "terms", "block")}


def test_the_report_reads_run_folders_only():
    for module in filter(lambda m: inside(m, "report"), MODULES):
        assert {m for m in reachable(module) if not inside(m, "report")} <= {"poise.runs"}


def test_nobody_imports_the_command_line():
    users = {m for m, names in GRAPH.items() if "poise.cli" in names}
    assert users <= {"poise.__main__"}


def test_step_is_the_only_join():
    """Weighting, optimizer and the losses of a problem meet in training/step.py alone."""
    joins = {
        module
        for module, names in GRAPH.items()
        if any(inside(n, "losses") for n in names)
        and any(inside(n, "weighting") for n in names)
        and any(inside(n, "optimizers") for n in names)
    }
    # run.py hands the user's choices to the step; it computes nothing with them.
    assert joins == {"poise.training.step", "poise.training.run"}


def test_no_cycles():
    for module in MODULES:
        if module != "poise":
            assert module not in reachable(module), f"{module} imports itself through others"


def test_files_stay_short():
    long = {m: n for m, p in MODULES.items() if (n := len(p.read_text().splitlines())) > 400}
    assert not long
