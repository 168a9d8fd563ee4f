"""Whom a signal is passed on to, how a command line is read, and what is imported for that."""

from __future__ import annotations

import subprocess
import sys
from signal import (
    SIGABRT,
    SIGALRM,
    SIGCHLD,
    SIGCONT,
    SIGHUP,
    SIGINT,
    SIGPIPE,
    SIGQUIT,
    SIGRTMIN,
    SIGTERM,
    SIGTSTP,
    SIGTTIN,
    SIGTTOU,
    SIGWINCH,
    SIGXFSZ,
)

import pytest

from sanic_reaper import run
from sanic_reaper.platform import Arrival
from sanic_reaper.run.report import exit_code
from sanic_reaper.run.routing import COMMAND, GROUP, NOBODY, route
from sanic_reaper.stderr import printable

ME, OTHER = 10, 20


def sent(signum: int, sender: int = OTHER) -> Arrival:
    return Arrival(signum, False, sender)


def key(signum: int) -> Arrival:
    return Arrival(signum, True, 0)


def unknown(signum: int) -> Arrival:
    return Arrival(signum, None, 0)


ROUTES = {
    "a kill": (sent(SIGTERM), {}, COMMAND),
    "a kill from outside the container": (sent(SIGTERM, 0), {}, COMMAND),
    "a real-time signal": (sent(SIGRTMIN), {}, COMMAND),
    "a service manager's watchdog": (sent(SIGABRT), {}, COMMAND),
    "Ctrl+C by hand": (sent(SIGINT), {}, COMMAND),
    "Ctrl+C": (key(SIGINT), {}, GROUP),
    "Ctrl+backslash": (key(SIGQUIT), {}, GROUP),
    "Ctrl+Z": (key(SIGTSTP), {}, GROUP),
    "Ctrl+Z where nobody could continue it": (key(SIGTSTP), {"resumable": False}, NOBODY),
    "the same by hand": (sent(SIGTSTP), {"resumable": False}, COMMAND),
    "the window is closed": (key(SIGHUP), {}, GROUP),
    "the window has another size": (key(SIGWINCH), {}, GROUP),
    "fg, bg": (sent(SIGCONT), {"resuming": True}, GROUP),
    "a SIGCONT without a stop": (sent(SIGCONT), {}, COMMAND),
    "we read from the terminal": (key(SIGTTIN), {}, NOBODY),
    "we write to it": (key(SIGTTOU), {}, NOBODY),
    "somebody sends that": (sent(SIGTTIN), {}, COMMAND),
    "an alarm set before the exec": (key(SIGALRM), {}, COMMAND),
    "nobody reads our lines": (sent(SIGPIPE, ME), {}, NOBODY),
    "the log is full": (sent(SIGXFSZ, ME), {}, NOBODY),
    "our own suspension": (sent(SIGTSTP, ME), {}, NOBODY),
    "SIGPIPE from somebody": (sent(SIGPIPE), {}, COMMAND),
    "a child has ended": (sent(SIGCHLD), {}, NOBODY),
    "nobody reads our lines, perhaps": (unknown(SIGPIPE), {}, NOBODY),
    "a key, perhaps": (unknown(SIGINT), {"in_foreground": True}, GROUP),
    "no key": (unknown(SIGINT), {}, COMMAND),
    "no key's signal": (unknown(SIGTERM), {"in_foreground": True}, COMMAND),
}


@pytest.mark.parametrize("case", ROUTES)
def test_whom_a_signal_is_for(case):
    arrival, circumstances, expected = ROUTES[case]
    usual = {"in_foreground": False, "resumable": True, "resuming": False}
    assert route(arrival, ME, **{**usual, **circumstances}) == expected


LINES = {
    "-- CMD": ["CMD"],
    "CMD": ["CMD"],
    "CMD --json": ["CMD", "--json"],
    "-- CMD --help -- x": ["CMD", "--help", "--", "x"],
    "CMD -- --grace 1": ["CMD", "--", "--grace", "1"],
    "--grace 10 -- CMD": ["CMD"],
    "--grace=10 CMD --grace 1": ["CMD", "--grace", "1"],
    "--grace 1e1 -- CMD -- --json": ["CMD", "--", "--json"],
}


@pytest.mark.parametrize("line", LINES)
def test_the_command_begins_where_the_options_end(line):
    assert run.parse(line.split()) == (LINES[line], 10.0, False)


def test_options():
    assert run.parse(["--json", "--grace", "0", "CMD"]) == (["CMD"], 0.0, True)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "which command?"),
        ("--", "which command?"),
        ("--json", "which command?"),
        ("--grace -1 -- CMD", "'-1' is no number of seconds"),
        ("--grace nan -- CMD", "'nan' is no number of seconds"),
        ("--grace inf -- CMD", "'inf' is no number of seconds"),
        ("--grace soon -- CMD", "'soon' is no number of seconds"),
        ("--grace", "expected one argument"),
        ("--nonsense -- CMD", "unrecognized arguments: --nonsense"),
        ("--gra 1 -- CMD", "--gra"),
    ],
)
def test_wrong_usage(line, words, capsys):
    with pytest.raises(SystemExit) as error:
        run.parse(line.split())
    assert error.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(("status", "code"), [(0, 0), (7, 7), (255, 255), (-15, 143), (-9, 137)])
def test_the_exit_code_of_a_status(status, code):
    assert exit_code(status) == code


@pytest.mark.parametrize(
    ("name", "shown"),
    [("sleep", "sleep"), ("x\nforged\x1b[2J", r"x\nforged\x1b[2J"), ("Größe", "Größe")],
)
def test_a_name_is_no_line_and_no_order_to_the_terminal(name, shown):
    assert printable(name) == shown


DEAR = ("argparse", "asyncio", "ctypes", "json", "logging", "psutil", "sanic", "socket",
        "subprocess", "threading", "typing")  # fmt: skip


def test_it_imports_nothing_that_costs_much():
    """It lives as long as the server."""
    code = (
        "import sys; before = set(sys.modules); from sanic_reaper.cli import main;"
        "main(['run', '--', 'true']); print(*set(sys.modules) - before)"
    )
    interpreter = [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"]
    done = subprocess.run(interpreter, capture_output=True, check=True, text=True)
    imported = done.stdout.split()
    assert "sanic_reaper.run.init" in imported
    assert not set(DEAR) & set(imported)
