"""Imports go one way: a module of the package imports the modules below it, and no others.

A subpackage counts as one module here.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import sanic_reaper

PACKAGE = Path(sanic_reaper.__file__).parent
LEAVES = {"marks", "pid_one", "untrusted"}
"""Modules that import nothing of the package."""

BELOW = {
    "config": {"log", "model", "values"},
    "compat": {"model", "platform", "tree"},
    "environment": {"marks"},
    "events": {"log"},
    "handle": {"compat", "events", "worker"},
    "log": {"untrusted"},
    "model": {"untrusted"},
    "platform": {"untrusted"},
    "protocol": {"model", "platform", "untrusted"},
    "stderr": {"untrusted"},
    "tree": {"marks", "model", "platform", "untrusted"},
    "state": {"model", "platform", "tree", "untrusted"},
    "values": {"untrusted"},
    "watchdog": {"model", "platform", "protocol", "state", "stderr", "tree"},
    "worker": {"compat", "config", "log", "marks", "model", "platform", "state", "tree"},
    "main": {
        "compat",
        "config",
        "environment",
        "events",
        "log",
        "marks",
        "model",
        "platform",
        "protocol",
        "state",
        "tree",
        "untrusted",
        "watchdog",
        "worker",
    },
    "report": {"model", "platform", "state", "tree"},
    "run": {"environment", "model", "platform", "stderr", "tree"},
}
"""The modules that each module imports. Entry points are not listed (the extension, the command,
the decorators): they may import every module. No module imports them, which would be a circle."""


def modules_imported_by(file: Path) -> set[str]:
    """The modules and subpackages that a file imports, also if only for a type."""
    home = file.relative_to(PACKAGE).parent.parts
    tree = ast.parse(file.read_text())
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom):
            continue
        path = (node.module or "").split(".")
        if node.level:
            path = [*home[: len(home) - node.level + 1], *path]
        elif path.pop(0) != PACKAGE.name:
            continue
        found |= {next(filter(None, [*path, alias.name])) for alias in node.names}
    return found - {"__version__"}


@pytest.mark.parametrize("module", sorted(LEAVES | BELOW.keys()))
def test_a_module_imports_only_the_modules_below_it(module: str) -> None:
    files = [PACKAGE / f"{module}.py", *(PACKAGE / module).glob("*.py")]
    known = set().union(*(modules_imported_by(file) for file in files if file.exists()))
    assert known - {module} == BELOW.get(module, set())


def test_there_is_no_circle() -> None:
    left = dict(BELOW)
    while ready := [module for module, below in left.items() if not below & left.keys()]:
        for module in ready:
            del left[module]
    assert left == {}


def test_no_module_was_forgotten() -> None:
    modules = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    entry_points = {"__init__", "cli", "commands", "decorators", "demo", "extension", "examples"}
    assert modules - entry_points - {"__pycache__"} == LEAVES | BELOW.keys()
