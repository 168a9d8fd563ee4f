"""Dependencies point one way: a folder of the package knows those below it, and no other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import sanic_reaper

PACKAGE = Path(sanic_reaper.__file__).parent
LEAVES = {"marks", "model", "pid_one", "untrusted"}
"""They import nothing of the package."""

BELOW = {
    "config": {"log", "model", "values"},
    "compat": {"model", "platform", "tree"},
    "environment": {"marks"},
    "events": {"log"},
    "handle": {"compat", "events", "worker"},
    "log": {"untrusted"},
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
"""The doors into the package (the extension, the command, the decorators) may import what they
like; a package that imports them would go round in a circle."""


def rooms_named_in(file: Path) -> set[str]:
    """The modules and folders of the package that a file imports, be it for a type alone."""
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


@pytest.mark.parametrize("room", sorted(LEAVES | BELOW.keys()))
def test_a_room_knows_those_below_it_alone(room: str) -> None:
    files = [PACKAGE / f"{room}.py", *(PACKAGE / room).glob("*.py")]
    known = set().union(*(rooms_named_in(file) for file in files if file.exists()))
    assert known - {room} == BELOW.get(room, set())


def test_there_is_no_circle() -> None:
    left = dict(BELOW)
    while ready := [room for room, below in left.items() if not below & left.keys()]:
        for room in ready:
            del left[room]
    assert left == {}


def test_no_room_was_forgotten() -> None:
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    doors = {"__init__", "cli", "commands", "decorators", "demo", "extension", "examples"}
    assert rooms - doors - {"__pycache__"} == LEAVES | BELOW.keys()
