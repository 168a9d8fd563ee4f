"""Which processes exit by themselves, and how long they may take for it."""

from __future__ import annotations

import os
import socket
import sys

import pytest
from support.census import wait_until
from support.programs import program

from sanic_reaper.main.watchdog_process import _COMMAND
from sanic_reaper.run.helpers import NEVER, PATIENCE, channels_of, patience

PYTHON = [b"/usr/bin/python3", b"-I", b"-c"]
TRACKER = b"from multiprocessing.resource_tracker import main;main(7)"
FORK_SERVER = b"from multiprocessing.forkserver import main; main(5, 6, ['x'], **{'main(': (1,)})"
WATCHDOG = [*(word.encode() for word in _COMMAND), b"12", b"3456", b"9", b"0123abcd", b"10.0"]


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ([*PYTHON, TRACKER], {7: "pipe"}),
        ([*PYTHON, TRACKER.replace(b";", b"; ")], {7: "pipe"}),
        ([*PYTHON, FORK_SERVER], {5: "socket", 6: "pipe"}),
        (WATCHDOG, {9: "socket"}),
        (WATCHDOG[:-3], {}),
        ([*WATCHDOG[:-3], b"x"], {}),
        ([*PYTHON, TRACKER.replace(b"7", b"seven")], {}),
        ([*PYTHON, b"import time; time.sleep(7)"], {}),
        ([b"/usr/bin/python3", TRACKER], {}),
        ([b"python", b"app.py"], {}),
        ([*PYTHON], {}),
        ([], {}),
    ],
)
def test_what_it_waits_on(command, found):
    assert channels_of(command) == found


SERVER = {5: "socket", 6: "pipe"}


@pytest.mark.parametrize(
    ("channels", "kinds", "seconds"),
    [
        ({}, {}, 0),
        ({7: "pipe"}, {7: "pipe"}, NEVER),
        ({7: "pipe"}, {7: "?"}, NEVER),
        ({7: "pipe"}, {7: ""}, PATIENCE),
        ({9: "socket"}, {9: "socket"}, NEVER),
        ({9: "socket"}, {9: "pipe"}, PATIENCE),
        (SERVER, SERVER, NEVER),
        (SERVER, {5: "socket", 6: ""}, PATIENCE),
        (SERVER, {5: "", 6: "pipe"}, PATIENCE),
        (SERVER, {5: "", 6: ""}, PATIENCE),
        (SERVER, {5: "pipe", 6: "socket"}, 0),
        (SERVER, {5: "pipe", 6: "pipe"}, 0),
    ],
)
def test_how_long_it_may_take(channels, kinds, seconds):
    assert patience(channels, kinds) == seconds


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_the_system_says_of_a_process():
    from sanic_reaper.platform import fallback, linux

    me = os.getpid()
    reading, writing = os.pipe()
    with socket.socket() as one, open(os.devnull) as file:
        kinds = [linux.channel(me, fd) for fd in (reading, writing, one.fileno(), file.fileno())]
    assert kinds == ["pipe", "pipe", "socket", ""]
    os.close(reading)
    os.close(writing)
    assert linux.channel(me, reading) == ""
    assert fallback.channel(me, reading) == "?"
    assert linux.command(me) == fallback.command(me) != []
    assert linux.command(2**22 - 1) == fallback.command(2**22 - 1) == []
    assert not linux.is_exiting(me)
    with program("print(flush=True)") as process:
        wait_until(lambda: linux.row(process.pid).state == "Z", 10, "a zombie")
        assert linux.is_exiting(process.pid)
    assert not linux.is_exiting(process.pid)
