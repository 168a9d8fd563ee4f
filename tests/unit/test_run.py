"""Whom a signal is passed on to, how a command line is read, and what is imported for that."""

from __future__ import annotations

import errno
import json
import os
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
from support.census import NO_PID
from support.programs import executed, said_by

from sanic_reaper import run
from sanic_reaper.platform import Arrival
from sanic_reaper.run import command, terminal
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
        ("", "no COMMAND is given"),
        ("--", "no COMMAND is given"),
        ("--json", "no COMMAND is given"),
        ("--grace -1 -- CMD", "'-1' is not a number of seconds"),
        ("--grace nan -- CMD", "'nan' is not a number of seconds"),
        ("--grace inf -- CMD", "'inf' is not a number of seconds"),
        ("--grace soon -- CMD", "'soon' is not a number of seconds"),
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


# -- how it ends ----------------------------------------------------------------------------------

ENDS = [
    # a Ctrl+C was passed on, how the command has ended, how `run` does
    (True, -SIGINT, f"by {SIGINT:d}"),
    (False, -SIGINT, "with 130"),
    (True, 0, "with 0"),
    (True, 130, "with 130"),
    (True, -SIGTERM, "with 143"),
]

END = """
import json, sys
from sanic_reaper import run

for interrupted, status, _ in json.loads(sys.argv[1]):
    class Init:
        has_strangers = False

        def __init__(self, *_):
            self.interrupted = interrupted

        def serve(self, command):
            return status

    by = []
    run.Init, run.start, run._die_by = Init, lambda *_: None, by.append
    code = run.main(["true"])
    print(f"by {by[0]:d}" if by else f"with {code}")
"""


def test_it_dies_of_a_ctrl_c_of_which_its_command_has_died_and_of_nothing_else():
    """A shell gives up its script then. In a process of its own, as `run` blocks each signal."""
    assert said_by(END, json.dumps(ENDS)) == [end for _, _, end in ENDS]


# -- what the command is given --------------------------------------------------------------------

ENVIRONMENT = """
import json, os, sys
from sanic_reaper.run import command
found = command._environment(int(sys.argv[1]))
print(json.dumps({name: found.get(name) for name in ("LC_CTYPE", "LISTEN_PID", "WATCHDOG_PID")}))
print(os.getpid())
"""


GIVEN = {
    "nothing": ({}, {}),
    "a locale for all": ({"LC_ALL": "C.UTF-8"}, {}),
    "a locale": ({"LC_CTYPE": "C.UTF-8"}, {"LC_CTYPE": "C.UTF-8"}),
    "sockets": ({"LISTEN_PID": "run"}, {"LISTEN_PID": "command"}),
    "a watchdog": ({"WATCHDOG_PID": "run"}, {"WATCHDOG_PID": "command"}),
    "sockets of another's": ({"LISTEN_PID": str(NO_PID)}, {"LISTEN_PID": str(NO_PID)}),
}


@pytest.mark.parametrize("case", GIVEN)
def test_a_command_is_whom_a_service_manager_means_and_has_the_locale_it_was_given(case):
    """The interpreter adds LC_CTYPE by itself where it finds the locale of C."""
    given, expected = GIVEN[case]
    me = str(os.getpid())
    of_it = ("LC_", "LANG", "LISTEN_", "WATCHDOG_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(of_it)}
    given = {name: me if value == "run" else value for name, value in given.items()}
    found, pid = said_by(ENVIRONMENT, me, env={**kept, **given})
    expected = {name: pid if value == "command" else value for name, value in expected.items()}
    names = ("LC_CTYPE", "LISTEN_PID", "WATCHDOG_PID")
    assert json.loads(found) == {name: expected.get(name) for name in names}


TIED = """
import sys
from sanic_reaper.run import command
command._die_with(int(sys.argv[1]))
print("begins")
"""


@pytest.mark.parametrize("lives", [True, False])
def test_a_command_does_not_begin_where_run_has_died_before_it_could_ask_for_a_signal(lives):
    """Whose child it is by then is told by nobody but the kernel."""
    parent = os.getpid() if lives else os.getppid()
    done = executed(TIED, parent)
    assert done.returncode == (0 if lives else 128 + SIGTERM), done.stderr
    assert done.stdout == ("begins\n" if lives else "")


MARKED = """
import os, sys
from sanic_reaper import platform
from sanic_reaper.run import command
from sanic_reaper.tree import birthmark

given = command.InheritedSignals()
for with_birthmark in (True, False):
    one = command.start(["sleep", "60"], given, with_birthmark)
    print(one.name, birthmark.is_borne(platform.ignored_signals(one.pid)))
    one.send_group(9)
    os.waitpid(one.pid, 0)
    try:
        command.start([sys.argv[1]], given, with_birthmark)
    except FileNotFoundError as error:
        print(error.filename)
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("and leaves nobody", birthmark.is_borne(platform.ignored_signals(os.getpid())))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_command_gets_the_birthmark_if_it_is_to_and_one_that_is_not_there_is_told(tmp_path):
    none = f"{tmp_path}/none"
    told = ["sleep True", none, "sleep False", none, "and leaves nobody False"]
    assert said_by(MARKED, none) == told


@pytest.mark.parametrize("leads_a_group", [True, False])
def test_a_signal_for_a_group_that_nobody_is_in_is_for_the_command(leads_a_group):
    """It has not made its group yet, or has gone to another one."""
    with subprocess.Popen(["sleep", "60"], start_new_session=leads_a_group) as process:
        one = command.Command(process.pid, "/bin/sleep")
        assert str(one) == f"sleep [{process.pid}]"
        one.send_group(SIGTERM)
        assert process.wait(10) == -SIGTERM


def test_whether_a_group_has_anybody():
    assert terminal._exists(os.getpgrp())
    assert not terminal._exists(NO_PID)


def test_where_the_system_has_no_death_signal_a_command_begins_all_the_same(monkeypatch):
    asked = []

    def refuse(signum):
        asked.append(signum)
        raise OSError(errno.ENOSYS, "no prctl on this system")

    monkeypatch.setattr(command.platform, "parent_death_signal", refuse)
    monkeypatch.setattr(command.os, "_exit", lambda code: pytest.fail("it has not begun"))
    command._die_with(NO_PID)
    assert asked == [SIGTERM]


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
