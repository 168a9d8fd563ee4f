"""What the watchdog does where its own work fails: says so, goes on, and gives up late."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from sanic_reaper.tree.process import start_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

BROKEN = """
import sys
from sanic_reaper.watchdog import entry
from sanic_reaper.watchdog.progress import GONE
from sanic_reaper.watchdog.watch import Watch

failures = int(sys.argv[1])

def turn(watch, *_):
    global failures
    if failures:
        failures -= 1
        raise ZeroDivisionError("by nobody")
    watch.progress.phase = GONE

Watch.turn = turn
entry.main(sys.argv[2:])
"""


@pytest.mark.parametrize(("failures", "code"), [(0, 0), (4, 0), (5, 1)])
def test_errors_that_nobody_has_foreseen(failures, code):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        me = (str(os.getpid()), str(start_of(os.getpid())))
        done = subprocess.run(
            [sys.executable, "-c", BROKEN, str(failures), *me, str(theirs.fileno()), "run", "1"],
            pass_fds=[theirs.fileno()],
            capture_output=True,
            text=True,
            timeout=60,
        )
    lines = [line for line in done.stderr.splitlines() if "ERROR" in line]
    assert (done.returncode, len(lines)) == (code, failures), done.stderr
    assert all(": ZeroDivisionError('by nobody')" in line for line in lines)
    assert all("<string>:13" in line for line in lines), "where, without a traceback"
