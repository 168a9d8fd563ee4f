"""Main asks how a worker has ended, and a stop signal comes in that very moment."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from multiprocessing.popen_fork import Popen

import pytest

from sanic_reaper.main.popen import keeping
from sanic_reaper.main.signals import StopRequested

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="waitid(2) in each Python")


class KeepingProcess(multiprocessing.get_context("fork").Process):
    _Popen = staticmethod(lambda process: keeping(Popen)(process))


ENDS = {
    "exit 0": (lambda: os._exit(0), 0),
    "exit 3": (lambda: os._exit(3), 3),
    "killed": (lambda: os.kill(os.getpid(), signal.SIGKILL), -signal.SIGKILL),
    "by another signal": (lambda: os.kill(os.getpid(), signal.SIGUSR1), -signal.SIGUSR1),
}


def interrupted(name, monkeypatch):
    """The signal comes when the system call has just returned what it knows."""
    call = getattr(os, name)
    is_due = [True]

    def wait(*arguments):
        found = call(*arguments)
        if is_due and is_due.pop():
            raise StopRequested
        return found

    monkeypatch.setattr(os, name, wait)


def ended(process: multiprocessing.process.BaseProcess) -> None:
    process.start()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("call", ["waitid", "waitpid", ""])
def test_how_it_has_ended_is_not_lost(monkeypatch, call, end):
    target, code = ENDS[end]
    process = KeepingProcess(target=target)
    ended(process)
    if call:
        interrupted(call, monkeypatch)
        with pytest.raises(StopRequested):
            assert process.exitcode
    assert process.exitcode == code
    process.join()
    assert not process.is_alive()
    with pytest.raises(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)


def test_it_is_lost_without_that(monkeypatch):
    """The control: main would take it for one that lives, and wait for it."""
    process = multiprocessing.get_context("fork").Process(target=os._exit, args=(3,))
    ended(process)
    interrupted("waitpid", monkeypatch)
    with pytest.raises(StopRequested):
        assert process.exitcode
    assert process.exitcode is None
    assert process.is_alive()
    process._popen.returncode = 3


def test_it_waits_for_one_that_has_not_ended():
    process = KeepingProcess(target=time.sleep, args=(60,))
    process.start()
    assert process.exitcode is None
    process.join(0.05)
    assert process.is_alive()
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_where_there_is_no_waitid_it_waits_as_multiprocessing_does(monkeypatch):
    """macOS, before Python 3.13."""

    class Elsewhere(Popen):
        pass

    monkeypatch.delattr(os, "waitid")
    assert keeping(Elsewhere) is Elsewhere


def test_every_watched_process_has_it():
    from sanic_reaper.main.processes import WatchedForkProcess, WatchedSpawnProcess

    for watched in (WatchedForkProcess, WatchedSpawnProcess):
        assert "_Popen" in vars(watched)
