"""The manager of the workers, as Sanic and the user's listeners call it in main."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
from multiprocessing import Pipe

import pytest
from sanic.exceptions import ServerKilled
from sanic.worker.constants import ProcessState

from sanic_reaper.config import Settings
from sanic_reaper.events import Hooks
from sanic_reaper.main.journal import Journal
from sanic_reaper.main.manager import SupervisedManager
from sanic_reaper.main.signals import ALWAYS, ONLY_IF_DEFAULT
from sanic_reaper.main.supervisor import Supervisor

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

NAMES = ["Sanic-Server-0-0", "Sanic-Server-1-0"]


@pytest.fixture
def supervisor():
    journal = Journal("run", {}, (0, 0), 0.0)
    return Supervisor(Settings.read({}), "run", set(), Hooks([]), journal)


@pytest.fixture
def manager(supervisor):
    """One of two workers that are not started."""
    handlers = {signum: signal.getsignal(signum) for signum in (*ALWAYS, *ONLY_IF_DEFAULT)}
    context = multiprocessing.get_context("spawn")
    yield SupervisedManager(2, print, {}, context, Pipe(), {}, supervisor=supervisor)
    for signum, handler in handlers.items():
        signal.signal(signum, handler)


@pytest.fixture
def living(manager):
    """The processes that run in the place of the workers, by name."""
    living = {}
    # With a handler in Python they would lose a signal that comes while they are still forked:
    # CPython drops what is pending then (`PyOS_AfterFork_Child`).
    ours = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for worker in manager.transient.values():
        for process in worker.processes:
            one = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
            one.start()
            process._current_process = living[process.name] = one
    signal.signal(signal.SIGTERM, ours)
    assert sorted(living) == NAMES
    yield living
    for one in living.values():
        one.kill()
        one.join()


def test_all_are_told_to_stop(manager, living):
    manager.terminate()
    for one in living.values():
        one.join(20)
    assert [one.exitcode for one in living.values()] == [-signal.SIGTERM] * 2


def test_none_is_told_to_stop_twice(manager, living):
    """The server stops already, and its workers have their deadline."""
    manager.shutdown()
    assert manager._supervisor.stop.has_begun
    manager.terminate()
    one, other = living.values()
    one.join(0.2)
    assert one.is_alive()
    assert other.is_alive()


def test_one_that_is_not_started_is_told_nothing(manager, living):
    """Its process is there, and has no pid to signal."""
    idle, *_ = manager.transient["Server-0"].processes
    idle._current_process = NotStarted()
    manager.terminate()
    other = living[NAMES[1]]
    other.join(20)
    assert other.exitcode == -signal.SIGTERM
    assert living[NAMES[0]].is_alive()


class NotStarted:
    pid = 1  # Sanic has asked for it before the start was refused
    _popen = None

    def terminate(self):
        self._popen.terminate()


def test_a_process_that_is_being_restarted_keeps_that_state(manager, living):
    """Its entry is of the one before it."""
    processes = {process.name: process for process in manager.processes}
    for process in processes.values():
        process.set_state(ProcessState.ACKED, force=True)
    processes[NAMES[0]].state = ProcessState.RESTARTING
    processes[NAMES[1]].state = ProcessState.STARTED
    manager._sync_states()
    assert [processes[name].state for name in NAMES] == [
        ProcessState.RESTARTING,
        ProcessState.ACKED,
    ]


@pytest.mark.parametrize(("name", "left"), [(None, "Server-0"), ("Server-0", "Server-1")])
def test_a_worker_is_taken_away_the_youngest_or_the_named(manager, living, name, left):
    gone = living[NAMES[left == "Server-0"]]
    manager.shutdown_server(name)
    gone.join(20)
    assert gone.exitcode == -signal.SIGTERM
    assert list(manager.transient) == [left]
    manager.terminate()


def test_where_there_is_no_worker_none_is_taken_away(manager, lines):
    for _ in NAMES:
        manager.shutdown_server()
    assert lines == []
    manager.shutdown_server()
    assert lines == ["[reaper] there is no server to shut down"]


def test_a_signal_before_ours_is_handled_is_handled_by_ours(manager):
    manager.shutdown_signal(signal.SIGTERM, None)
    assert manager._supervisor.signals.received == signal.SIGTERM
    assert manager._supervisor.stop.has_begun


def test_a_kill_is_the_watchdogs_and_ends_main(manager, living):
    """Sanic would signal main's whole process group."""
    with pytest.raises(ServerKilled):
        manager.kill()
    assert manager._supervisor.stop.is_forced
    assert all(one.is_alive() for one in living.values())


def test_an_exit_in_a_handler_of_the_users_stops_everything_with_its_code(manager, monkeypatch):
    stopped = []

    def leave() -> None:
        raise SystemExit(3)

    monkeypatch.setattr(manager, "_serve_until_stop", leave)
    monkeypatch.setattr(manager, "_stop_everything", lambda *words: stopped.append(words))
    with pytest.raises(SystemExit) as left:
        manager.run()
    assert left.value.code == 3
    assert stopped == [(3, "exit with code 3")]
