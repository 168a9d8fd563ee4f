"""Main asks how a worker has ended, and a stop signal comes in that very moment."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from multiprocessing.popen_fork import Popen
from multiprocessing.process import BaseProcess
from types import SimpleNamespace

import pytest

from sanic_reaper.main import processes
from sanic_reaper.main.popen import LOST, keeping
from sanic_reaper.main.processes import WatchedForkProcess, WatchedSpawnProcess
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


def test_nobody_is_signalled_after_the_end_of_what_was_meant():
    """Its exit code is known, and its pid free for anybody."""
    first, other = KeepingProcess(target=os._exit, args=(0,)), a_sleeper(KeepingProcess)
    first.start()
    first.join()
    first._popen.pid, first._popen.start = other._popen.pid, other._popen.start
    first.terminate()
    other.join(0.2)
    assert other.is_alive()
    other.kill()
    other.join()


def test_where_there_is_no_waitid_one_that_lives_has_no_exit_code(monkeypatch):
    process = a_sleeper(KeepingProcess)
    monkeypatch.delattr(os, "waitid")
    assert process.exitcode is None
    assert process.is_alive()
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


# -- a watched process ----------------------------------------------------------------------------


class Watched(WatchedForkProcess):
    """One that is started as `multiprocessing` does it, without the launcher and without a pipe."""

    start = BaseProcess.start
    run = BaseProcess.run


def a_sleeper(kind, **options):
    process = kind(target=time.sleep, args=(60,), **options)
    process.start()
    return process


def test_one_that_nobody_watches_is_told_to_stop_all_the_same():
    """A worker has no watcher: that of a process which a worker inherits has stayed in main."""
    process = a_sleeper(Watched, watcher=None, role="worker")
    process.terminate()
    process.join()
    assert process.exitcode == -signal.SIGTERM


@pytest.mark.parametrize("is_allowed", [True, False])
def test_a_watcher_hears_whether_main_was_allowed_to_stop_it(monkeypatch, is_allowed):
    """If not, the watchdog does it, which has not become another user."""
    told = []
    watcher = SimpleNamespace(on_terminate=lambda process, was_asked: told.append(was_asked))
    process = a_sleeper(Watched, watcher=watcher, role="worker")
    with monkeypatch.context() as other_user:
        if not is_allowed:
            other_user.setattr(type(process._popen), "_send_signal", refuse)
        process.terminate()
    assert told == [is_allowed]
    process.kill()
    process.join()
    assert process.exitcode in ((-signal.SIGTERM, -signal.SIGKILL) if is_allowed else (-9,))


def refuse(*_: object) -> None:
    raise PermissionError


def test_an_exit_that_the_watchdog_has_seen_and_main_has_not_is_an_exit():
    """Something else has reaped it, and another child of main has its pid by now."""
    process = a_sleeper(Watched, watcher=None, role="worker")
    process.on_exit_seen()
    assert (process.status, process.exitcode, process.is_alive()) == (None, LOST, False)
    os.kill(process.pid, signal.SIGKILL)
    os.waitpid(process.pid, 0)


def test_an_exit_that_main_has_seen_too_keeps_its_code():
    process = Watched(target=os._exit, args=(3,), watcher=None, role="worker")
    ended(process)
    process.on_exit_seen()
    assert process.status == 3
    process.join()


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("role", "is_raised"), [("worker", True), ("process", False)])
def test_ctrl_c_ends_a_process_of_the_users_without_a_traceback(monkeypatch, role, is_raised):
    """Sanic handles that of a worker."""
    left, raised = [], False
    monkeypatch.setattr(processes, "enter", lambda *_: lambda: left.append(role))
    process = WatchedSpawnProcess(target=interrupt, watcher=None, role=role)
    process._process_config = None
    try:
        process.run()
    except KeyboardInterrupt:
        raised = True
    assert raised == is_raised
    assert left == [role]
