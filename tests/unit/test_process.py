"""A handle reaches one process or nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from sanic_reaper import platform
from sanic_reaper.tree.process import Handle, start_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(params=["pidfd", "no pidfd"])
def open_handle(request, monkeypatch):
    if request.param == "no pidfd":
        monkeypatch.setattr("sanic_reaper.platform.linux.WITHOUT", frozenset({"pidfd"}))
    elif not hasattr(os, "pidfd_open"):
        pytest.skip("no pidfd on this system")
    return Handle.open


def test_reaches_the_process(open_handle, sleeper):
    handle = open_handle(sleeper.pid, start_of(sleeper.pid))
    assert handle.alive()
    assert handle.send(signal.SIGTERM)
    assert sleeper.wait(5) == -signal.SIGTERM
    assert not handle.alive()
    assert not handle.send(signal.SIGTERM)
    handle.close()


def test_a_zombie_is_not_alive(open_handle, sleeper):
    handle = open_handle(sleeper.pid, start_of(sleeper.pid))
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert not handle.alive()
    handle.close()


def test_a_forged_identity_is_refused(open_handle, sleeper):
    """The pid lives, but is another process than the one that was meant: pid reuse."""
    assert open_handle(sleeper.pid, start_of(sleeper.pid) - 1) is None
    assert sleeper.poll() is None


def test_without_a_descriptor_a_recycled_pid_is_not_signalled(sleeper):
    handle = Handle(sleeper.pid, start_of(sleeper.pid) - 1, None)
    assert not handle.send(signal.SIGKILL)
    assert sleeper.poll() is None


def test_a_process_that_never_was(open_handle):
    assert open_handle(2**22 - 1, 1) is None


def test_one_of_whom_the_process_table_says_nothing_is_known_by_its_pid(monkeypatch, sleeper):
    """As under hidepid: it is there, and looks as if it were not."""
    start = start_of(sleeper.pid)
    monkeypatch.setattr("sanic_reaper.platform.row", lambda pid: None)
    handle = Handle(sleeper.pid, start, None)
    assert handle.alive()
    assert handle.send(signal.SIGKILL)
    sleeper.wait(5)
    assert not handle.alive()
    assert not handle.send(signal.SIGKILL)


def test_a_name_with_blanks_and_parentheses_is_read(tmp_path):
    program = tmp_path / "a) S (1 2"
    program.symlink_to("/bin/sleep")
    process = subprocess.Popen([program, "60"])
    try:
        row = platform.row(process.pid)
        assert (row.name, row.ppid, row.alive) == ("a) S (1 2", os.getpid(), True)
    finally:
        process.kill()
        process.wait()


def test_the_subtree_and_the_table_agree():
    shell = subprocess.Popen(["sh", "-c", "sleep 60 & wait"], start_new_session=True)
    try:
        deadline = 500
        while deadline and len(platform.subtree([shell.pid]) or {1: 1, 2: 2}) < 2:
            deadline -= 1
        subtree = platform.subtree([shell.pid])
        if subtree is None:
            pytest.skip("no children files on this kernel")
        below = {row.pid for row in platform.table().values() if row.ppid == shell.pid}
        assert set(subtree) == {shell.pid} | below
    finally:
        os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()
