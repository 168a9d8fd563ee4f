"""Main's last resorts, where the watchdog does not do its work. Each of them says what it does."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest
from support.census import wait_until

from sanic_reaper import platform
from sanic_reaper.compat import contracts, sanic_main, services
from sanic_reaper.config import Settings
from sanic_reaper.events import Hooks
from sanic_reaper.main import helpers, own_kills, shutdown, sync_manager
from sanic_reaper.main.journal import Journal
from sanic_reaper.main.signals import ALWAYS, ONLY_IF_DEFAULT, StopRequested
from sanic_reaper.main.supervisor import Supervisor
from sanic_reaper.main.worker import SupervisedProcess
from sanic_reaper.model.kills import KILLS, STARTED_BY_MAIN
from sanic_reaper.protocol import watchdog as wire
from sanic_reaper.tree.process import UNKNOWN, start_of
from sanic_reaper.worker.explanations import EXITED

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


class Wedged:
    """A watchdog that lives and does nothing: a debugger holds it."""

    def __init__(self) -> None:
        self.sent: list[tuple[object, ...]] = []

    def send(self, *words: object) -> bool:
        self.sent.append(words)
        return True

    def receive(self) -> list[list[str]]:
        return []

    def alive(self) -> bool:
        return True

    def fileno(self) -> int:
        return -1


class Handle(multiprocessing.get_context("fork").Process):
    """As much of a watched process as the fleet asks for."""

    status = property(lambda self: self.exitcode)
    reaper_role = "worker"
    is_server = True


def a_worker() -> SupervisedProcess:
    handle = Handle(target=time.sleep, args=(60,), name="Sanic-Server-0-0")
    handle.start()
    assert handle.pid is not None
    return SupervisedProcess(handle, (handle.pid, start_of(handle.pid)), time.monotonic())


def supervisor_of() -> Supervisor:
    settings, journal = Settings.read({}), Journal("run", {}, (0, 0), 0.0)
    return Supervisor(settings, "run", set(), Hooks([]), journal)


def test_a_worker_that_a_wedged_watchdog_does_not_end(lines):
    supervisor = supervisor_of()
    worker = a_worker()
    supervisor.watchdog._endpoint = Wedged()
    supervisor.fleet.living.append(worker)
    supervisor.stop.began_at = time.monotonic() - 2 * supervisor.settings.shutdown_timeout
    supervisor.shutdown.wait_for_processes()
    assert worker.exitcode == -signal.SIGKILL
    [line] = lines
    assert f"SIGKILL to worker Sanic-Server-0-0 [{worker.pid}]: started by main" in line


@pytest.mark.parametrize("age", [0, 1], ids=["it", "another one that has its pid"])
def test_a_zombie_that_the_watchdog_tells_of(age):
    supervisor = supervisor_of()
    child = os.posix_spawnp("true", ["true"], os.environ)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    supervisor.watchdog._endpoint = Teller(["zombie", str(child), str(start_of(child) - age)])
    supervisor.receive()
    supervisor._zombies.reap()
    assert (start_of(child) == UNKNOWN) == (age == 0)
    if age:
        os.waitpid(child, 0)


class Teller(Wedged):
    """A watchdog that has killed a worker, and said so a moment after main had last listened."""

    def __init__(self, *said: list[str]) -> None:
        super().__init__()
        self._said = [*said]

    def receive(self) -> list[list[str]]:
        said, self._said = self._said, []
        return said


def test_why_a_worker_was_killed_is_known_however_late_it_is_said():
    supervisor = supervisor_of()
    worker = a_worker()
    worker.handle.kill()
    worker.handle.join()
    supervisor.fleet.living.append(worker)
    killed = ["killed", *map(str, worker.identity), worker.name, "hung", STARTED_BY_MAIN]
    supervisor.watchdog._endpoint = Teller(killed)
    supervisor.handle_exits()
    assert (worker.kill_cause, worker.killed_for) == ("hung", KILLS["hung"])
    assert worker.state == "ended"
    assert supervisor.fleet.living == []


def test_a_process_that_is_not_registered_is_not_told_of_when_it_is_replaced():
    supervisor = supervisor_of()
    endpoint = supervisor.watchdog._endpoint = Wedged()
    supervisor.fleet.on_terminate(Handle(name="Sanic-Server-0-0"), was_asked=True)
    assert not endpoint.sent


@pytest.mark.parametrize("socket", ["", "/run/systemd/notify"])
def test_who_is_started_by_no_service_manager_does_not_load_what_talks_to_one(socket):
    program = (
        "import sys\n"
        "from sanic_reaper.main.supervisor import Supervisor\n"
        "from sanic_reaper.config import Settings\n"
        "from sanic_reaper.events import Hooks\n"
        "from sanic_reaper.main.journal import Journal\n"
        "journal = Journal('run', {}, (0, 0), 0.0)\n"
        "Supervisor(Settings.read({}), 'run', set(), Hooks([]), journal)\n"
        "sys.exit('sanic_reaper.main.notify' in sys.modules)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "NOTIFY_SOCKET": socket}, check=False
    )
    assert ended.returncode == bool(socket)


# -- a SyncManager on a busy machine --------------------------------------------------------------


class Slow:
    """A SyncManager whose process ends, and whose shutdown takes longer than that."""

    def __init__(self, seconds: float) -> None:
        self._process = multiprocessing.get_context("fork").Process(target=os.getpid)
        self._process.start()
        self._process._popen.start = start_of(self._process.pid)
        self._process.join()
        self._seconds = seconds

    def shutdown(self) -> None:
        time.sleep(self._seconds)


@pytest.mark.parametrize("seconds", [1.5, 60.0])
def test_one_that_has_ended_is_not_counted_as_killed(lines, seconds):
    """Whether main waits for its shutdown, as there is time for that, or not."""
    supervisor = supervisor_of()
    supervisor.stop.begin()
    supervisor.helpers._managers.append(Slow(seconds))
    supervisor.helpers.shut_down(supervisor.stop.deadline)
    assert not supervisor.kills.by_us
    assert not [line for line in lines if "SIGKILL" in line]


class Hidden:
    """A SyncManager of a CPython that does not tell of its process."""

    def __init__(self) -> None:
        self.is_over = threading.Event()

    def shutdown(self) -> None:
        self.is_over.wait(60)


def test_one_whose_process_is_not_known_is_left_to_the_watchdog(lines):
    supervisor, manager = supervisor_of(), Hidden()
    supervisor.helpers._managers.append(manager)
    supervisor.helpers.shut_down(time.monotonic())
    manager.is_over.set()
    assert supervisor.kills.by_us == []
    assert lines == []


@contextmanager
def a_sleeper():
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        yield sleeper
    finally:
        sleeper.kill()
        sleeper.wait()


def a_pid_of_nobody() -> int:
    with a_sleeper() as sleeper:
        return sleeper.pid


@pytest.fixture
def handlers():
    """The handlers of signals are put back."""
    before = {signum: signal.getsignal(signum) for signum in (*ALWAYS, *ONLY_IF_DEFAULT)}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


def stopped_in_its_start(*_: object) -> None:
    signal.raise_signal(signal.SIGTERM)
    raise AssertionError("the signal has not interrupted main")


@pytest.mark.parametrize(
    ("within_listener", "error", "said"),
    [
        (True, StopRequested, []),
        (False, SystemExit, ["[reaper] stopped before the server had started"]),
    ],
)
def test_a_stop_signal_ends_one_that_still_starts(
    handlers, monkeypatch, caplog, within_listener, error, said
):
    """Its import may hang. And whoever has its pid, if it has exited, is not killed."""
    caplog.set_level("INFO", "sanic.root")
    supervisor = supervisor_of()
    supervisor.signals.install()
    monkeypatch.setattr(helpers, "guarded_manager", stopped_in_its_start)
    with a_sleeper() as starting:
        found = [(a_pid_of_nobody(), "SyncManager-1"), (starting.pid, "SyncManager-2")]
        monkeypatch.setattr(services, "managers", lambda: found)
        listener = supervisor.signals.interruptible() if within_listener else nullcontext()
        with pytest.raises(error), listener:
            supervisor.helpers.start_manager()
        assert starting.wait(20) == -signal.SIGKILL
    kill, *others = caplog.messages
    assert f"SIGKILL to helper SyncManager-2 [{starting.pid}]" in kill
    assert others == said


def test_services_that_were_stopped_are_continued_at_the_end(monkeypatch):
    """So that they exit after main. One that has exited already is no trouble."""
    supervisor = supervisor_of()
    with a_sleeper() as server:
        found = {"resource_tracker": a_pid_of_nobody(), "fork_server": server.pid}
        for name, pid in found.items():
            monkeypatch.setattr(services, name, lambda pid=pid, name=name: [(pid, name)])
        server.send_signal(signal.SIGSTOP)
        wait_until(lambda: platform.row(server.pid).stopped, 20, "it is stopped")
        supervisor.helpers.wake()
        wait_until(lambda: not platform.row(server.pid).stopped, 20, "it is continued")


# -- the fleet and the watchdog -------------------------------------------------------------------


@pytest.mark.parametrize("was_asked", [True, False])
def test_the_watchdog_stops_a_worker_that_main_may_not_signal(was_asked):
    """Main has become another user."""
    supervisor, worker = supervisor_of(), a_worker()
    endpoint = supervisor.watchdog._endpoint = Wedged()
    supervisor.fleet.living.append(worker)
    supervisor.fleet.on_terminate(worker.handle, was_asked)
    told = [words[0] for words in endpoint.sent]
    assert told == [wire.REPLACED, *[wire.TERMINATE] * (not was_asked)]
    assert worker.state == "stopping"
    worker.handle.kill()
    worker.handle.join()


def test_a_deadline_of_one_that_main_does_not_know_is_the_watchdogs_business():
    """It asks for no stack, and so does not wait for one either."""
    supervisor = supervisor_of()
    endpoint = supervisor.watchdog._endpoint = Wedged()
    supervisor.fleet.on_expired(os.getppid(), 1)
    assert endpoint.sent == [(wire.DUMP, os.getppid(), 1)]


def test_a_worker_that_exits_before_its_stack_is_read_is_not_told_to_hang(lines):
    """By itself: the loop has turned again, or it has crashed."""
    supervisor = supervisor_of()
    endpoint = supervisor.watchdog._endpoint = Wedged()
    supervisor.fleet._show_hung(SimpleNamespace(identity=(1, 1), heartbeat=None), [], EXITED)
    assert (lines, endpoint.sent) == ([], [])


# -- the end --------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_ours", [True, False])
def test_the_watchdog_of_an_earlier_server_is_dismissed_by_the_same_main_alone(
    monkeypatch, is_ours
):
    """A process that main has forked may serve too. It has inherited the end of that link."""
    monkeypatch.setattr(services, "at_exit", lambda function: None)
    earlier, later = supervisor_of(), supervisor_of()
    earlier.watchdog._endpoint = Dismissed()
    if not is_ours:
        earlier.main = (os.getppid(), 1)
    monkeypatch.setattr(shutdown, "_served", [earlier.shutdown])
    later.shutdown.prepare()
    assert earlier.watchdog.is_open == (not is_ours)
    assert shutdown._served == [later.shutdown]


class Dismissed(Wedged):
    def dismiss(self) -> None:
        pass


def test_a_turn_that_fails_is_told_of_once_and_the_next_one_succeeds(monkeypatch, lines):
    supervisor, turns, worker = supervisor_of(), [], a_worker()
    supervisor.watchdog._endpoint = Wedged()
    supervisor.fleet.living.append(worker)
    supervisor.stop.begin()
    turn = supervisor.turn

    def fail_twice(wait: float = 0.0) -> None:
        turns.append(wait)
        if len(turns) <= 2:
            raise OSError("no descriptors")
        worker.handle.kill()
        turn(wait)

    monkeypatch.setattr(supervisor, "turn", fail_twice)
    supervisor.shutdown.wait_for_processes()
    assert worker.exitcode == -signal.SIGKILL
    assert len(turns) > 2
    assert [line for line in lines if "could not take a turn of its loop" in line] == [
        "[reaper] the stop continues, but main could not take a turn of its loop: "
        "OSError('no descriptors')"
    ]


def test_a_server_that_was_given_back_is_not_finished_again(lines):
    supervisor = supervisor_of()
    supervisor.shutdown.finish()
    assert not supervisor.stop.has_begun
    assert lines == []


def test_an_exit_in_another_thread_leaves_the_signals_alone(monkeypatch, handlers):
    """Only the main thread may set handlers."""
    supervisor, failures = supervisor_of(), []
    monkeypatch.setattr(shutdown, "_served", [supervisor.shutdown])
    monkeypatch.setattr(threading, "excepthook", failures.append)
    supervisor.signals.install()
    supervisor.signals.restore()
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=supervisor.shutdown._at_exit)
    thread.start()
    thread.join()
    assert failures == []
    assert signal.getsignal(signal.SIGTERM) is before
    supervisor.shutdown._at_exit()
    assert signal.getsignal(signal.SIGTERM) == supervisor.signals._handle, "here it is set"


# -- where Sanic's own manager runs the workers ---------------------------------------------------


def with_sanics_own(supervisor: Supervisor) -> list[tuple[object, ...]]:
    made: list[tuple[object, ...]] = []
    supervisor.takeover._sanics_own = lambda *arguments: made.append(arguments)
    return made


def test_a_process_that_main_has_forked_gets_sanics_own_manager(lines):
    """It may serve an app that does not have the Reaper."""
    supervisor = supervisor_of()
    made = with_sanics_own(supervisor)
    supervisor.main = (os.getppid(), 1)
    supervisor.takeover._make_manager(2)
    assert (made, lines) == ([(2,)], [])


def test_where_ours_cant_be_constructed_sanics_own_runs_the_workers(lines):
    supervisor = supervisor_of()
    made = with_sanics_own(supervisor)
    supervisor.takeover._make_manager(2)  # a Sanic of the future passes something else
    assert made == [(2,)]
    [line] = lines
    assert contracts.NOT_OURS in line


@pytest.mark.parametrize("is_said", [True, False], ids=["nothing has told it", "it is told"])
def test_a_stop_signal_that_sanics_own_manager_has_not_heard_of(lines, is_said):
    supervisor = supervisor_of()
    supervisor.takeover._guards_only = not is_said
    supervisor.signals.received = signal.SIGTERM
    with pytest.raises(SystemExit) as left:
        supervisor.takeover.confirm(SimpleNamespace())
    assert left.value.code == 0
    assert [contracts.NOT_OURS in line for line in lines] == [True] * is_said


def test_a_service_manager_is_told_that_the_server_is_up(handlers, monkeypatch):
    """Nobody counts the workers of Sanic's own manager."""
    supervisor, told = supervisor_of(), []
    supervisor.watchdog._endpoint = Wedged()
    supervisor.notifier = SimpleNamespace(guard=lambda: told.append("up"), turn=lambda until: None)
    monkeypatch.setattr(sanic_main, "replace_kill", lambda app, kill: None)
    supervisor.takeover.confirm(SimpleNamespace())
    supervisor.takeover.stop_guard()
    assert told == ["up"]
    assert not supervisor.takeover._guard._thread.is_alive()


def test_a_late_worker_of_sanics_own_manager_is_counted_if_it_was_killed():
    """Not if it has exited by itself a moment before."""
    supervisor = supervisor_of()
    assert supervisor.takeover._killer() is None
    supervisor.stop.force()
    kill = supervisor.takeover._killer()
    kill((a_pid_of_nobody(), 1))
    assert supervisor.kills.by_us == []
    with a_sleeper() as late:
        kill((late.pid, start_of(late.pid)))
        assert late.wait(20) == -signal.SIGKILL
    assert supervisor.kills.by_us == ["worker"]


# -- what the system refuses ----------------------------------------------------------------------


def refused(*_: object) -> None:
    raise PermissionError


def test_the_watchdog_kills_a_process_that_main_may_not_signal(monkeypatch, lines):
    """Main has become another user. The watchdog tells of the kill."""
    supervisor = supervisor_of()
    endpoint = supervisor.watchdog._endpoint = Wedged()
    monkeypatch.setattr(own_kills, "send_to", refused)
    assert supervisor.kills.kill((7, 1), "helper", "SyncManager-1", "does not shut down")
    assert endpoint.sent == [(wire.KILL_OTHER, 7, 1, "SyncManager-1", "does not shut down")]
    assert lines == []


def test_a_sync_manager_is_not_shut_down_where_no_thread_can_be_started(monkeypatch):
    """So that it is killed: nobody waits for it without a limit."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert sync_manager.shut_down(Hidden(), 60.0) is False


def test_a_sync_manager_that_cant_be_guarded_is_cpythons_own(monkeypatch):
    """A broken contract, of which the log has told."""

    def fail(context: object) -> None:
        raise AttributeError("get_start_method")

    monkeypatch.setattr(sync_manager, "ManagerContext", fail)
    monkeypatch.setattr(multiprocessing, "Manager", lambda: "CPython's own")
    assert sync_manager.guarded_manager((os.getpid(), 1), 1.0) == "CPython's own"
