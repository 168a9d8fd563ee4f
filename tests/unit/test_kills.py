"""The words for each signal that the Reaper sends, and the roles that they name."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from sanic_reaper.model import kills, roles

BY_MAIN = kills.STARTED_BY_MAIN


@pytest.mark.parametrize(
    ("fields", "run", "line"),
    [
        (
            (signal.SIGKILL, "worker", "Sanic-Server-0-0", 7, BY_MAIN, "x", 15.004, "the stop"),
            "",
            "SIGKILL to worker Sanic-Server-0-0 [7]: started by main, x; 15.00 s after the stop",
        ),
        (
            (signal.SIGTERM, "worker", "W", 7, BY_MAIN, "", 0.0, "the stop"),
            "",
            "SIGTERM to worker W [7]: started by main; 0.00 s after the stop",
        ),
        (
            (signal.SIGKILL, "main", "main", 1, "started the watchdog", "x", 1.0, "the stop"),
            "",
            "SIGKILL to main [1]: started the watchdog, x; 1.00 s after the stop",
        ),
        (
            (signal.SIGTERM, "", "sleep", 9, "descends from worker W [7]", "", 0.5, "the stop"),
            "",
            "SIGTERM to sleep [9]: descends from worker W [7]; 0.50 s after the stop",
        ),
        (
            (signal.SIGTERM, "", "sleep", 9, "bears its mark", "", 0.5, "the sweep began"),
            "Shop (main was 5)",
            "SIGTERM to sleep [9], left by Shop (main was 5): bears its mark; "
            "0.50 s after the sweep began",
        ),
        (
            (kills.NO_SIGNAL, "worker", "W", 7, BY_MAIN, kills.FOREIGN, 2.0, "the stop"),
            "",
            "no signal to worker W [7]: started by main, runs as another user and may not be "
            "signalled; 2.00 s after the stop",
        ),
    ],
)
def test_the_line_for_a_signal(fields, run, line):
    assert kills.sentence(*fields, run=run) == line


def test_the_roles_of_a_list_have_an_order_and_an_unknown_one_comes_last():
    names = ["robot", *reversed(roles.ROLES)]
    assert sorted(names, key=roles.order) == [*roles.ROLES, "robot"]


@pytest.mark.parametrize(
    ("role", "name", "title"),
    [("worker", "W", "worker W"), ("main", "main", "main"), ("", "sleep", "sleep")],
)
def test_how_a_process_is_called(role, name, title):
    assert roles.title(role, name) == title


def test_nobody_compares_a_role_with_a_literal():
    """The names of the roles are in `roles`, and nowhere else."""
    package = Path(roles.__file__).parents[1]
    literal = re.compile(rf'role (?:==|!=|(?:not )?in) [("]+(?:{"|".join(roles.ROLES)})"')
    assert len(list(package.rglob("*.py"))) > 100
    for file in package.rglob("*.py"):
        if "demo" not in file.parts:  # which looks at plain Sanic too, and has roles of its own
            assert not literal.search(file.read_text()), file
