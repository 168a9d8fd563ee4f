"""The init: what it does with a signal, a stopped command, and what is hard to see or to end."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time

import pytest
from support.census import NO_PID, identify, wait_until
from support.programs import executed

from sanic_reaper import platform
from sanic_reaper.platform import Arrival
from sanic_reaper.run import init, terminal
from sanic_reaper.run.init import Init, PatientTerminator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

NEVER = float("inf")


class Lines:
    """A report that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def say(self, level: str, text: str) -> None:
        self.said.append((level, text))


class Command:
    """One that keeps what it gets."""

    pid = 2**22 - 1

    def __init__(self, refuses: bool = False) -> None:
        self.got: list[tuple[str, int]] = []
        self._refuses = refuses

    def __str__(self) -> str:
        return f"command [{self.pid}]"

    def send(self, signum: int) -> None:
        self._get("alone", signum)

    def send_group(self, signum: int) -> None:
        self._get("its group", signum)

    def _get(self, who: str, signum: int) -> None:
        if self._refuses:
            raise PermissionError
        self.got.append((who, signum))


def serving(command: Command) -> Init:
    found = Init("", 10.0, Lines())
    found._command = command
    return found


# -- signals --------------------------------------------------------------------------------------


def test_a_signal_is_passed_on_unless_it_is_for_nobody():
    command = Command()
    one = serving(command)
    one._pass_on(Arrival(signal.SIGPIPE, False, os.getpid()))  # for a line that nobody reads
    assert command.got == []
    one._pass_on(Arrival(signal.SIGPIPE, False, NO_PID))
    assert command.got == [("alone", signal.SIGPIPE)]


def test_a_command_that_may_not_be_signalled_is_told_of_once():
    one = serving(Command(refuses=True))
    for _ in range(3):
        one._pass_on(Arrival(signal.SIGTERM, False, 1))
    [(level, text)] = one._report.said
    assert level == "ERROR"
    assert "runs as another user" in text


STOPPED = {
    # by what; who has the terminal, whether a shell could continue us; what is done
    "it reads": (signal.SIGTTIN, {"hand_over"}, "its group SIGCONT"),
    "it writes, in a shell's background": (signal.SIGTTOU, {"is_resumable"}, "suspended"),
    "it reads, and there is no terminal": (signal.SIGTTIN, set(), ""),
    "Ctrl+Z": (signal.SIGTSTP, {"is_resumable", "hand_over"}, "suspended"),
    "Ctrl+Z, and no shell": (signal.SIGTSTP, {"is_held_by"}, "its group SIGCONT"),
    "Ctrl+Z by hand, and no terminal": (signal.SIGTSTP, set(), ""),
    "a debugger": (signal.SIGSTOP, {"hand_over", "is_resumable", "is_held_by"}, ""),
}


@pytest.mark.parametrize("case", STOPPED)
def test_a_command_that_is_stopped(monkeypatch, case):
    signum, true, expected = STOPPED[case]
    done = []
    for name in ("hand_over", "is_resumable", "is_held_by"):
        monkeypatch.setattr(terminal, name, lambda *_, name=name: name in true)
    monkeypatch.setattr(terminal, "suspend_job", lambda: done.append("suspended"))
    command = Command()
    serving(command)._join(signum)
    done += [f"{who} {signal.Signals(number).name}" for who, number in command.got]
    assert done == ([expected] if expected else [])


# -- somebody in a hurry, once the command has ended ----------------------------------------------


@pytest.fixture
def hear(monkeypatch):
    """Have these signals arrive, one after the other, and then no more."""

    def script(*signums: int) -> None:
        pending = list(signums)
        monkeypatch.setattr(
            platform,
            "next_signal",
            lambda *_: Arrival(pending.pop(0), False, 1) if pending else None,
        )

    return script


HURRIES = {
    # what arrives; when the command was asked to end, and when the grace ends, from now on
    "somebody asks": ([signal.SIGTERM], -NEVER, NEVER, True),
    "Ctrl+C": ([signal.SIGINT], -NEVER, NEVER, True),
    "once more": ([signal.SIGTERM], -120.0, NEVER, True),
    "the same signal, to the group": ([signal.SIGTERM], -1.0, NEVER, False),
    "another signal": ([signal.SIGHUP, signal.SIGUSR1], -NEVER, NEVER, False),
    "another, and then that": ([signal.SIGHUP, signal.SIGTERM], -NEVER, NEVER, True),
    "when SIGKILL has come": ([signal.SIGTERM], -NEVER, -1.0, False),
    "nobody": ([], -NEVER, NEVER, False),
}


@pytest.mark.parametrize("case", HURRIES)
def test_who_cuts_the_grace_short(hear, monkeypatch, case):
    monkeypatch.setattr(init, "REPEATED_WITHIN", 60.0)
    signums, asked, deadline, expected = HURRIES[case]
    one = serving(Command())
    hear(*signums)
    now = time.monotonic()
    one._asked_at = now + asked
    assert one._wait(60.0, now + deadline) == expected


def test_a_storm_of_signals_does_not_hold_up_the_next_look(monkeypatch):
    def one_more(*_):
        time.sleep(0.01)
        return Arrival(signal.SIGUSR1, False, 1)

    monkeypatch.setattr(platform, "next_signal", one_more)
    began = time.monotonic()
    assert not serving(Command())._wait(0.1, NEVER)
    assert 0.1 <= time.monotonic() - began < 5


def test_who_has_ended_meanwhile_is_nobody_that_was_left_behind():
    """Nor is another process that has its pid by now."""
    lines = []
    with subprocess.Popen(["sleep", "60"]) as process:
        pid, start = identify(process.pid)
        terminator = PatientTerminator(lambda *line: lines.append(line))
        terminator.terminate({(pid, start - 1): "descends from it"}, {}, set(), NEVER)
        assert (terminator.left_behind, terminator.targets, lines) == (0, {}, [])
        assert process.poll() is None
        terminator.terminate({(pid, start): "descends from it"}, {}, set(), NEVER)
        assert terminator.left_behind == 1
        assert process.wait(10) == -signal.SIGTERM
    terminator = PatientTerminator(lambda *line: lines.append(line))
    terminator.terminate({(pid, start): "descends from it"}, {}, set(), NEVER)
    assert (terminator.left_behind, len(lines)) == (0, 1)


# -- what is hard to see --------------------------------------------------------------------------

LEAVES = """
import os, subprocess, sys, time
from sanic_reaper import platform
from sanic_reaper.run import init
from sanic_reaper.run.init import Init
from sanic_reaper.run.report import Report

platform.become_subreaper()
one = Init("", 0.0, Report(False))
left = subprocess.Popen(["sh", "-c", "sleep 60 & wait"], start_new_session=True)
one._status, one._command, one._ended_at = 0, "command", time.monotonic()
table = platform.table
"""
"""In a process of its own, which reaps whatever there is: with a child that is to be ended."""


def ended_by(program: str) -> tuple[list[str], list[str]]:
    """What it prints, and what it logs."""
    done = executed(LEAVES + program)
    assert done.returncode == 0, done.stderr
    logged = [line.partition("[reaper] ")[2] for line in done.stderr.splitlines()]
    return done.stdout.splitlines(), logged


def test_a_child_that_two_looks_have_missed_is_ended():
    program = """
looks = []
platform.table = lambda: looks.append(1) or (table() if len(looks) > 3 else {})
init.RESCAN_EVERY = 0.05
one._kill_leftovers()
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("nobody is left")
"""
    printed, logged = ended_by(program)
    assert printed == ["nobody is left"]
    assert any(line.startswith("SIGKILL to sh ") for line in logged)


@pytest.mark.parametrize("passes", [True, False], ids=["for a moment", "for good"])
def test_a_process_table_that_cant_be_read(passes):
    program = f"""
passes_at = time.monotonic() + ({0.1 if passes else 60})

def refuse():
    if time.monotonic() < passes_at:
        raise OSError({errno.EIO}, os.strerror({errno.EIO}))
    return table()

platform.table = refuse
init.RESCAN_EVERY, init.GIVE_UP_AFTER = 0.02, 0.3
one._kill_leftovers()
is_left = left.poll() is None
print(is_left)
if is_left:
    os.killpg(left.pid, 9)
"""
    printed, logged = ended_by(program)
    assert printed == [str(not passes)]
    given_up = f"no process table: {os.strerror(errno.EIO)}: giving up"
    assert [line for line in logged if "giving up" in line] == ([] if passes else [given_up])


def test_a_child_that_nobody_shows_holds_it_up_no_longer_and_is_told_of(tmp_path):
    """As under hidepid, for one that has become another user."""
    line = 'sleep 60 >/dev/null 2>&1 & echo $! >"$1"'
    file = tmp_path / "pid"
    run = [sys.executable, "-m", "sanic_reaper.cli", "run", "--grace", "0", "--"]
    done = subprocess.run(
        [*run, "sh", "-c", line, "sh", str(file)],
        env={**os.environ, "SANIC_REAPER_WITHOUT": "denied"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    left = identify(int(file.read_text()))
    assert left.alive
    left.send(signal.SIGKILL)
    wait_until(lambda: not left.alive, 5, "its end")
    assert done.returncode == 0
    [told] = done.stderr.splitlines()
    assert "children are left that the process table does not show: giving up" in told


def test_a_moment_in_which_the_processes_cannot_be_listed_is_no_end(monkeypatch):
    """While the command runs, the next look comes anyhow."""

    def refuse(*_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    one = Init("", 10.0, Lines())
    with subprocess.Popen(["sleep", "60"]) as process:
        assert tuple(identify(process.pid)) in one._children()
        monkeypatch.setattr(init, "children_of", refuse)
        assert one._children() == set()
        monkeypatch.setattr(one._descendants, "scan", refuse)
        assert one._look() == init.SCAN_EVERY
        process.kill()
