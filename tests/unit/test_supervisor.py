"""Main's last resorts, where the watchdog does not do its work. Each of them says what it does."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from sanic_reaper.config import Settings
from sanic_reaper.events import Hooks
from sanic_reaper.main.journal import Journal
from sanic_reaper.main.supervisor import Supervisor
from sanic_reaper.main.worker import SupervisedProcess
from sanic_reaper.model.kills import KILLS, STARTED_BY_MAIN
from sanic_reaper.tree.process import UNKNOWN, start_of

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
