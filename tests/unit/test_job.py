"""A job in a terminal: who could continue it, and what is not to be stopped."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support.programs import said_by

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

IN_A_SHELLS_JOB = """
import os, signal, sys
path, depth = sys.argv[1], int(sys.argv[2])
held = os.open(path, os.O_RDWR)  # who leads a session is controlled by what it opens
from sanic_reaper.run import terminal

def child(work):
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)  # the end of it, whatever the matter
        os._exit(work())
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def job():
    os.setpgid(0, 0)
    return below(depth)

def below(depth):
    return child(lambda: below(depth - 1)) if depth else int(terminal.is_resumable())

print(child(job) if depth >= 0 else int(terminal.is_resumable()))
"""


def is_resumable(path: str, depth: int, without: str = "") -> bool:
    env = {**os.environ, "SANIC_REAPER_WITHOUT": without}
    return said_by(IN_A_SHELLS_JOB, path, depth, env=env, start_new_session=True) == ["1"]


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_job_can_be_continued_by_the_shell_whose_it_is(terminal, depth):
    """However far below the shell's own child: the line of a script of a script."""
    assert is_resumable(terminal.path, depth)


def test_one_that_is_its_own_shell_can_be_continued_by_nobody(terminal):
    assert not is_resumable(terminal.path, -1)


def test_nor_one_without_a_terminal():
    assert not is_resumable(os.devnull, 0)


@pytest.mark.parametrize(("depth", "expected"), [(0, True), (1, False), (2, False)])
def test_of_whom_it_can_see_nothing_it_expects_nothing(terminal, depth, expected):
    """Its parent it knows by itself; that one's parent only the process table could tell."""
    assert is_resumable(terminal.path, depth, without="denied") == expected


SUSPENDS = """
import os, signal
from sanic_reaper.run import terminal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCONT})
os.kill(os.getpid(), signal.SIGCONT)
terminal.suspend_job()
print(signal.SIGCONT in signal.sigpending())
"""


def test_a_job_that_has_just_been_continued_is_not_stopped():
    """A stop would cancel that SIGCONT, and no other would come."""
    with subprocess.Popen(
        [sys.executable, "-c", SUSPENDS], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            said, _ = process.communicate(timeout=20)
        finally:
            process.kill()
    assert said == b"True\n"
