"""Main asks how a worker has ended, and a stop signal comes in that very moment."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from multiprocessing.popen_fork import Popen

import pytest

from sanic_reaper.main.popen import LOST, keeping
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


@pytest.mark.parametrize("end", ENDS)
def test_where_there_is_no_waitid_it_asks_waitpid(monkeypatch, end):
    """macOS, before Python 3.13."""
    target, code = ENDS[end]
    process = KeepingProcess(target=target)
    ended(process)
    monkeypatch.delattr(os, "waitid")
    process.join()
    assert process.exitcode == code


@pytest.mark.parametrize("waitid", [True, False], ids=["waitid", "waitpid"])
def test_one_that_something_else_has_reaped_has_ended(monkeypatch, waitid):
    process = KeepingProcess(target=os._exit, args=(3,))
    ended(process)
    os.waitpid(process.pid, 0)
    if not waitid:
        monkeypatch.delattr(os, "waitid")
    assert not process.is_alive()
    process.join()
    assert (process.exitcode, process._popen.is_lost) == (LOST, True)


def test_a_child_of_main_does_not_take_its_siblings_for_ended():
    """There waitid(2) fails in the same way: they are not its children."""
    process = KeepingProcess(target=time.sleep, args=(60,))
    process.start()
    child = os.fork()
    if child == 0:
        os._exit(process._popen.poll() is not None)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    process.kill()
    process.join()


@pytest.mark.parametrize("send", ["terminate", "kill"])
def test_whoever_has_its_pid_by_now_gets_no_signal(monkeypatch, send):
    """By the creation time: a child that was reaped elsewhere, before anybody has noticed it."""
    process = KeepingProcess(target=time.sleep, args=(60,))
    process.start()
    process._popen.start -= 1
    getattr(process, send)()
    process.join(0.2)
    assert process.is_alive()
    process._popen.start += 1
    getattr(process, send)()
    process.join()
    assert process.exitcode in (-signal.SIGTERM, -signal.SIGKILL)


def test_every_watched_process_has_it():
    from sanic_reaper.main import contexts, sync_process

    for watched in (*contexts._CLASSES.values(), *sync_process._CLASSES.values()):
        assert "_Popen" in vars(watched)
