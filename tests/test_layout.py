"""The shape of the package: imports run one way, and nothing is larger than a reader can hold."""

from __future__ import annotations

import ast
import pathlib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

import pytest

import prodia_async

ROOT = pathlib.Path(prodia_async.__file__).parent
LEAVES = {
    "_display.py",
    "_extras.py",
    "_store_sink.py",
    "_uploads.py",
    "ray.py",
    "remote.py",
    "rows.py",
    "stores.py",
}
AROUND = {
    "batch",
    "blocking.py",
    "cli",
    "emulator",
    "progress.py",
    "pytest_plugin.py",
    "telemetry.py",
    "types.py",
    "web",
    *LEAVES,
}
"""What stands on the core; all else is the core."""

MOST_FILES, MOST_LINES = 48, 7500
LEAST_IN_A_FILE, MOST_IN_A_FILE = 60, 350
MOST_IN_A_FUNCTION, MOST_IN_A_CLASS = 40, 250

SMALL = {
    "__init__.py": "a room's door has its sentence alone",
    "__main__.py": "`python -m prodia_async` asks for this file",
    "_plain.py": "values and errors are written down by it, and neither stands on the other",
}
"""Files that may be small, and why."""

NOT_YET = {"lines of the core"}
"""What is still larger, or smaller, than it may be."""


def is_core(path: pathlib.Path) -> bool:
    return path.relative_to(ROOT).parts[0] not in AROUND


def module(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path): path for path in sorted(ROOT.rglob("*.py"))}
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in MODULES.values()}


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield the modules of ours that a file imports anywhere, for type checkers alone too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from {name if name in MODULES else f"{node.module}" for name in names} & MODULES.keys()


def test_no_circle_of_imports() -> None:
    graph = {name: set(imported(TREES[path])) for name, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def lines(node: ast.AST) -> int:
    return node.end_lineno - node.lineno + 1


def sizes() -> Iterator[tuple[str, int, int, int]]:
    """Yield each thing that has a size: its name, its size, and the least and the most that it may have."""
    core = {path: path.read_text(encoding="utf-8").count("\n") for path in TREES if is_core(path)}
    yield "files of the core", len(core), 0, MOST_FILES
    yield "lines of the core", sum(core.values()), 0, MOST_LINES
    for path, size in core.items():
        name = path.relative_to(ROOT).as_posix()
        yield name, size, 0 if {name, path.name} & SMALL.keys() else LEAST_IN_A_FILE, MOST_IN_A_FILE
        for node in ast.walk(TREES[path]):
            if isinstance(node, ast.ClassDef):
                yield f"{name}: {node.name}", lines(node), 0, MOST_IN_A_CLASS
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{name}: {node.name}", lines(node), 0, MOST_IN_A_FUNCTION


def test_nothing_in_the_core_is_too_large_or_too_small() -> None:
    found = {name: size for name, size, least, most in sizes() if not least <= size <= most}
    assert {name: size for name, size in found.items() if name not in NOT_YET} == {}
