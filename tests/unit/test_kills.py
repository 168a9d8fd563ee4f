"""The words for each signal that the Reaper sends, and the roles that they name."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from sanic_reaper.events import NAMES
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


@pytest.mark.parametrize(
    ("facts", "fields"),
    [
        (
            (signal.SIGKILL, "worker", "W", 7, BY_MAIN, "x", 15.0042, "the stop", kills.STOP),
            {
                "reaper_event": "worker.killed",
                "worker": "W",
                "pid": 7,
                "cause": "stop",
                "signal": "SIGKILL",
                "evidence": BY_MAIN,
                "seconds": 15.004,
            },
        ),
        (
            (signal.SIGKILL, "process", "P", 7, BY_MAIN, "x", 1.0, "the stop", kills.FORCED),
            {
                "reaper_event": "worker.killed",
                "worker": "P",
                "pid": 7,
                "cause": "forced",
                "signal": "SIGKILL",
                "evidence": BY_MAIN,
                "seconds": 1.0,
            },
        ),
        (
            (signal.SIGTERM, "worker", "W", 7, BY_MAIN, "", 0.0, "main died"),
            {
                "worker": "W",
                "pid": 7,
                "signal": "SIGTERM",
                "evidence": BY_MAIN,
                "seconds": 0.0,
            },
        ),
        (
            (signal.SIGABRT, "worker", "W", 7, BY_MAIN, "x", 2.0, "its start", kills.HUNG),
            {
                "worker": "W",
                "pid": 7,
                "cause": "hung",
                "signal": "SIGABRT",
                "evidence": BY_MAIN,
                "seconds": 2.0,
            },
        ),
        (
            (signal.SIGTERM, "", "sleep", 9, "descends from worker W [7]", "", 0.5, "the stop"),
            {
                "reaper_event": "orphan.killed",
                "orphan": "sleep",
                "pid": 9,
                "signal": "SIGTERM",
                "evidence": "descends from worker W [7]",
                "seconds": 0.5,
            },
        ),
        (
            (signal.SIGKILL, "helper", "SyncManager-1", 9, BY_MAIN, "x", 0.5, "the stop"),
            {
                "role": "helper",
                "pid": 9,
                "signal": "SIGKILL",
                "evidence": BY_MAIN,
                "seconds": 0.5,
            },
        ),
        (
            (kills.NO_SIGNAL, "", "sleep", 9, "bears its mark", kills.FOREIGN, 2.0, "the stop"),
            {"orphan": "sleep", "pid": 9, "evidence": "bears its mark", "seconds": 2.0},
        ),
        (
            (kills.NO_SIGNAL, "worker", "W", 7, BY_MAIN, kills.FOREIGN, 2.0, "the stop"),
            {"worker": "W", "pid": 7, "evidence": BY_MAIN, "seconds": 2.0},
        ),
    ],
)
def test_the_fields_of_a_signal(facts, fields):
    """A field that is not known is absent."""
    found = kills.fields(*facts)
    assert found == fields
    assert found.get("reaper_event", NAMES[0]) in NAMES


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
