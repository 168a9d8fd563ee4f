"""`sanic-reaper dump`, where it can't show a stack: it says why, and what would help."""

from __future__ import annotations

import fcntl
import os
import time

import pytest
from support.programs import program
from support.written import NOW, a_server

from sanic_reaper import cli, state
from sanic_reaper.commands import dump
from sanic_reaper.model.questions import REQUEST
from sanic_reaper.state import main_stack
from sanic_reaper.state.main_stack import ask_main
from sanic_reaper.tree.process import start_of


@pytest.mark.parametrize(
    ("servers", "arguments", "code", "words"),
    [
        ([], [], 1, "no running server has a worker Sanic-Server-0-0"),
        ([a_server("1 serving")], [], 1, "no running server has a worker Sanic-Server-0-0"),
        ([a_server("1 serving")], [], 1, "] has main, Sanic-Server-1-0"),
        ([a_server("0 serving")], ["--app", "Bakery"], 1, "no running server"),
        ([a_server("0 serving"), a_server("0 serving", app="Bakery")], [], 2, "give a pid"),
        ([a_server("0 serving"), a_server("0 serving", app="Bakery")], [], 2, "--app"),
        ([a_server("0 serving")], [], 1, "Sanic-Server-0-0 of Shop: "),
    ],
    ids=[
        "no server",
        "no such worker",
        "which there are",
        "another app",
        "two of this name",
        "by app",
        "nobody answers",
    ],
)
def test_no_stack(monkeypatch, capsys, servers, arguments, code, words):
    monkeypatch.setattr(dump.elsewhere.discovery, "servers", lambda *_: servers)
    assert cli.main(["dump", "Sanic-Server-0-0", *arguments]) == code
    out, error = capsys.readouterr()
    assert out == ""
    assert (
        error.count("sanic-reaper dump: ") == 1
    )  # lines on servers that can not be seen may follow
    assert words in error


@pytest.mark.parametrize(
    ("servers", "words"),
    [
        ([], "name a process: no server is running"),
        ([a_server("0 serving", "1 serving")], "has main, Sanic-Server-0-0, Sanic-Server-1-0"),
    ],
)
def test_without_a_name_it_says_which_there_are(monkeypatch, capsys, servers, words):
    monkeypatch.setattr(dump.elsewhere.discovery, "servers", lambda *_: servers)
    assert cli.main(["dump"]) == 2
    assert words in capsys.readouterr().err


STACK = """\
Current thread 0x0001 (most recent call first):
  File "/srv/shop.py", line 7 in count
  File "/srv/shop.py", line 9 in <module>
"""


@pytest.mark.parametrize(
    ("beats_for", "words"),
    [
        (0.1, "its loop runs"),
        (60.0, "its loop has been stalled for 60 s"),
        (None, "its loop has been stalled since its start"),
    ],
)
def test_what_main_is_at_is_said_before_its_stack(monkeypatch, capsys, beats_for, words):
    age = None if beats_for is None else NOW - time.monotonic() + beats_for
    server = a_server("0 serving", age=age)
    monkeypatch.setattr(dump.elsewhere.discovery, "servers", lambda *_: [server])
    monkeypatch.setattr(dump, "ask_main", lambda *_: STACK)
    assert cli.main(["dump", "main"]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == f"main [{os.getpid()}]: {words}"
    assert second == '  File "/srv/shop.py", line 7 in count'


# -- main, which shows itself ---------------------------------------------------------------------

A_SLEEPER = """
import signal, sys, time
if sys.argv[1] == "handles":
    signal.signal({signum}, lambda *_: None)
print(flush=True)
time.sleep(60)
"""


@pytest.fixture
def place(tmp_path):
    """A directory as a server has one, with the file for a stack."""
    tmp_path.chmod(0o700)
    (tmp_path / f"run{state.STACK}").touch(0o600)
    return tmp_path


def ask(place, process, uid=None):
    uid = os.geteuid() if uid is None else uid
    return ask_main(str(place), uid, "run", (process.pid, start_of(process.pid)))


def a_sleeper(how):
    return program(A_SLEEPER.format(signum=REQUEST), how)


def test_who_would_die_of_the_question_is_not_asked(place):
    """A state file may name any pid."""
    with a_sleeper("does not") as process:
        with pytest.raises(OSError, match="does not handle SIGRTMAX-3"):
            ask(place, process)
        assert process.poll() is None


def test_one_that_does_not_answer(place, monkeypatch):
    monkeypatch.setattr(main_stack, "PATIENCE", 0.3)
    with a_sleeper("handles") as process, pytest.raises(TimeoutError, match="has not answered"):
        ask(place, process)


def test_one_that_is_gone(place):
    with pytest.raises(OSError, match="main has exited"):
        ask_main(str(place), os.geteuid(), "run", (os.getpid(), 1))


def test_somebody_else_asks_just_now(place, monkeypatch):
    monkeypatch.setattr(main_stack, "PATIENCE", 0.2)
    with (place / f"run{state.STACK}").open() as file, a_sleeper("handles") as process:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(TimeoutError, match="another command is asking"):
            ask(place, process)


@pytest.mark.parametrize("kind", ["none", "link", "second name", "directory"])
def test_a_file_that_is_none_of_a_servers(place, kind):
    file, other = place / f"run{state.STACK}", place / "other"
    other.write_text("precious")
    file.unlink()
    if kind == "link":
        file.symlink_to(other)
    elif kind == "second name":
        file.hardlink_to(other)
    elif kind == "directory":
        file.mkdir()
    with a_sleeper("handles") as process, pytest.raises(OSError, match=r"main|file|link|directory"):
        ask(place, process)
    assert other.read_text() == "precious"


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be asked for another user")
def test_root_asks_nobody_but_the_user_whose_file_it_is(place):
    os.chown(place, 65534, 65534)
    os.chown(place / f"run{state.STACK}", 65534, 65534)
    with (
        a_sleeper("handles") as process,
        pytest.raises(OSError, match="does not run as user 65534"),
    ):
        ask(place, process, 65534)
