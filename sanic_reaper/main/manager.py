"""Sanic's WorkerManager without the parts that can hang, spin, or kill the wrong process.

What each override mends (line numbers of Sanic 25.12.1, `sanic/worker/manager.py`):

`wait_for_ack`     322: spins without limit if a stop signal came before every worker had acked, has
                   one fixed limit of 30 s, and keeps waiting after `sys.exit` in a listener
`terminate`        230: signals bare pids, which may belong to strangers by now
`kill`             368: `killpg` on main's own group: main, the launching script, the whole job
`shutdown_signal`  390: calls the SyncManager in the middle of another call to it
`run`              209: joins without a limit
`shutdown_server`  164: forgets a process without waiting for its exit
`restart`          241: a restart without downtime starts a thread that gives up: both workers stay
`_sync_states`     434: one call to the SyncManager for each process, ten times a second
"""

from __future__ import annotations

import signal
from contextlib import suppress
from multiprocessing import connection
from typing import TYPE_CHECKING, Any

from sanic.exceptions import ServerKilled
from sanic.worker.constants import ProcessState, RestartOrder
from sanic.worker.manager import MonitorCycle, WorkerManager
from sanic.worker.process import Worker, WorkerProcess
from sanic.worker.restarter import Restarter

from ..compat import sanic_main
from ..log import log
from ..model.exit_codes import NOBODY_LIVES
from . import advice
from .contexts import Context, WatchedContext
from .outcome import outcome_of
from .postmortem import Postmortem
from .processes import WatchedProcess
from .signals import StopRequested
from .slots import NobodyLives, Slots, StartFailed
from .user_processes import UserProcesses

if TYPE_CHECKING:
    from .interfaces import Supervision

PAUSE = 0.1
"""Seconds between two reads of the workers' states, which only the SyncManager has."""

IDLE_PAUSE = 0.25
"""The same while every worker serves: the watchdog wakes main when a process exits."""

SENDING_PAUSE = 0.005
"""The same while a client of the control socket reads a long answer. The kernel takes 200 KB of it
at a time, and `connection.wait` can't wait for room."""

TERMINATE_EARLY = "__TERMINATE_EARLY__"
"""The message of a worker in whose start Sanic has caught, and logged, an error."""


class SupervisedManager(WorkerManager):
    """The manager of the workers, which Sanic runs in the main thread until the server stops.

    Args:
        supervisor: the supervisor of the server. The other arguments are Sanic's.

    Raises:
        RuntimeError: the number of workers is negative.
    """

    def __init__(
        self,
        number: int,
        serve: Any,
        server_settings: dict[str, Any],
        context: Context,
        *args: Any,
        supervisor: Supervision,
        **kwargs: Any,
    ) -> None:
        self._supervisor = supervisor
        if said := advice.for_this_process(context.get_start_method()):
            log.warning("%s", said)
        if number < 0:  # such as `cpu_count() - 2`: Sanic refuses only 0
            raise RuntimeError(f"Cannot serve with {number} workers")
        watched: Any = WatchedContext(context, supervisor.launcher, serve)
        super().__init__(number, serve, server_settings, watched, *args, **kwargs)
        postmortem = Postmortem(supervisor.receive)
        self._slots = Slots(supervisor, postmortem)
        self._user_processes = UserProcesses(supervisor.hooks, postmortem)
        supervisor.fleet.on_start.append(self._user_processes.on_start)
        self.restarter = SlotRestarter(self._slots)
        if supervisor.notifier is not None:
            supervisor.notifier.situation = lambda: self._slots.situation(self._servers())
        supervisor.signals.install()  # Sanic's constructor has just installed its own handlers

    def run(self) -> None:
        """Run the server until it has stopped.

        Raises:
            ServerKilled: the exit code must be 1. For this exception alone Sanic prints no
                traceback.
            SystemExit: the exit code must be another one.
        """
        code, why = 0, ""
        self._supervisor.signals.unblock()  # a listener may have blocked them
        try:
            code, why = self._serve_until_stop()
        except BaseException as error:  # sys.exit in a signal handler of the user's
            code, why = outcome_of(error)
            raise
        finally:
            self._stop_everything(code, why)
        if code == 1 or self._supervisor.stop.is_forced:
            raise ServerKilled
        if code:
            sanic_main.exit_from_serve(code)

    def _serve_until_stop(self) -> tuple[int, str]:
        """Start the workers, and supervise them until the server stops.

        Returns:
            The exit code of the server, and the reason in words.
        """
        try:
            with self._supervisor.signals.interruptible():
                self.start()  # type: ignore[no-untyped-call]
                self.monitor()  # type: ignore[no-untyped-call]
        except StopRequested:
            return 0, _reason(self._supervisor.signals.received)
        except StartFailed as failure:
            if said := advice.for_a_failed_start(self.context.get_start_method()):
                log.error("%s", said)
            return 1, str(failure)
        except NobodyLives:
            return NOBODY_LIVES, "no worker lives"
        except (EOFError, ConnectionError) as error:
            # The SyncManager has every worker's state, so the server cannot continue.
            return 1, f"the SyncManager has died ({error!r})"
        except Exception as error:
            log.exception("unexpected error in the main process: %r", error)
            return outcome_of(error)
        return 0, ""

    def _stop_everything(self, code: int, why: str) -> None:
        """Stop every process, and wait until the last one has exited."""
        # Before anything is logged: a pipe that nobody reads would block main. From here on the
        # watchdog enforces a deadline for main too.
        self._shutting_down = True
        self._supervisor.stop.begin()
        if code:
            log.error("the server ends with exit code %d: %s", code, why)
        elif why:
            log.info("%s", why)
        self._supervisor.shutdown.conclude(code, why)
        self._supervisor.shutdown.wait_for_processes()
        self._supervisor.shutdown.hand_over()

    def wait_for_ack(self) -> None:
        """Wait until every worker has acked.

        Raises:
            StartFailed: the start of a worker has failed.
            StopRequested: a worker has asked for the stop of the server.
        """
        later = []
        while self._not_acked():
            self._take_turn()
            if not self._wait_for_message():
                continue
            message = self.monitor_subscriber.recv()
            if message == TERMINATE_EARLY:
                continue  # that worker exits at once, and its slot notices
            if not message or message == "__TERMINATE__":
                raise StopRequested
            later.append(message)  # a request for `monitor`, which runs after this
        self._slots.has_started = True
        for message in later:
            self.monitor_publisher.send(message)

    def _not_acked(self) -> list[WorkerProcess]:
        states = self.worker_state.copy()  # type: ignore[attr-defined]  # one call for all
        return [process for process in self._servers() if not self._note_ack(process, states)]

    def _note_ack(self, process: WorkerProcess, states: Any) -> bool:
        worker = self._slots.of(process).current
        if worker is not None and worker.startup.has_acked:
            return True
        if worker is None or self._slots.is_waiting(process):
            return False  # the shared state is that of the worker before
        state = states.get(process.name, {}).get("state")
        if state != ProcessState.ACKED.name and worker.startup.listens is None:
            return False
        self._supervisor.on_ack(worker)
        return True

    def _take_turn(self) -> None:
        self._supervisor.turn()
        self._slots.supervise(self._servers())
        self._user_processes.report_exits(p for p in self.processes if not _watched(p).is_server)
        self._supervisor.hooks.turn()  # last, because hooks must not run while main forks

    def _servers(self) -> list[WorkerProcess]:
        """Sanic's objects for the workers. One that the system has refused to start has no pid."""
        workers = [worker for worker in self.transient.values() if self._is_server(worker)]
        return [process for worker in workers for process in worker.processes]

    def _wait_for_message(self) -> bool:
        """Wait for a message of a worker, for news of the watchdog, or for a pause.

        Returns:
            Whether a message of a worker has arrived.
        """
        news: list[Any] = self._supervisor.news
        pause = IDLE_PAUSE if news and self._slots.all_serving else PAUSE
        if self._supervisor.is_sending:
            pause = SENDING_PAUSE
        wakers = [self.monitor_subscriber, *news, *self._supervisor.questions]
        return self.monitor_subscriber in connection.wait(wakers, pause)

    def _poll_monitor(self) -> MonitorCycle | None:
        self._take_turn()
        if self._wait_for_message():
            return super()._poll_monitor()
        return None

    def _handle_message(self, message: str) -> MonitorCycle | None:
        if message == TERMINATE_EARLY:  # Sanic would take it for the name of a worker
            return MonitorCycle.CONTINUE
        if self._is_stale(message):
            log.info("%s has just started: an older request to restart it is ignored", message)
            return MonitorCycle.CONTINUE
        return super()._handle_message(message)

    def _is_stale(self, message: str) -> bool:
        """Whether a message is HealthMonitor's complaint about a worker that was replaced since.

        Only sanic-ext's HealthMonitor sends a bare name. `app.m.restart` appends a colon.
        """
        age = sanic_main.health_monitor_window()
        return ":" not in message and self._slots.is_younger(message, age)

    def _sync_states(self) -> None:
        states = self.worker_state.copy()  # type: ignore[attr-defined]
        for process in self.processes:
            known = states.get(process.name)
            if known is None:
                process.set_state(ProcessState.TERMINATED, force=True)
            elif process.state is not ProcessState.RESTARTING:
                self._sync_state(process, known.get("state"))

    def _sync_state(self, process: WorkerProcess, state: str | None) -> None:
        worker = self._slots.worker(process)
        if not process.is_alive():  # type: ignore[no-untyped-call]
            state = "FAILED" if process.exitcode else "COMPLETED"
        elif worker is not None and worker.startup.ready is not None:
            state = ProcessState.ACKED.name  # whatever its entry says
        if state and process.state.name != state:
            process.set_state(ProcessState[state], force=True)
        if worker is not None and process.state is ProcessState.ACKED:
            self._supervisor.on_ack(worker)

    def shutdown_server(self, name: str | None = None) -> None:
        """Scale down by one worker, with SIGTERM and a deadline, and wait for its exit."""
        worker = self._server_to_shut_down(name)
        if worker is None:
            log.error("there is no server to shut down")
            return
        for process in worker.processes:
            process.set_state(ProcessState.TERMINATED, True)
            self._slots.remove(process)
            with suppress(AttributeError):  # not started
                _watched(process).terminate()
        del self.transient[worker.name]

    def _is_server(self, worker: Worker) -> bool:
        return worker.serve is self._serve

    def _server_to_shut_down(self, name: str | None) -> Worker | None:
        """The worker to shut down: the youngest, so that the remaining names are consecutive."""
        if name is not None:
            return self.transient[name]
        servers = [worker for worker in self.transient.values() if self._is_server(worker)]
        return servers[-1] if servers else None

    def terminate(self) -> None:
        """Stop each process, unless the server stops already."""
        if not self._shutting_down:
            for process in self.processes:
                with suppress(AttributeError):  # not started
                    _watched(process).terminate()

    def shutdown(self) -> None:
        """Begin the stop of the server."""
        self._shutting_down = True
        self._supervisor.stop.begin()

    def shutdown_signal(self, signum: int, frame: Any) -> None:
        """Handle a stop signal that comes before ours is installed in Sanic's place."""
        self._supervisor.signals._handle(signum, frame)

    def kill(self) -> None:
        """Have the watchdog kill every process of the server now.

        Raises:
            ServerKilled: always.
        """
        self._supervisor.stop.force()
        raise ServerKilled


def _watched(process: WorkerProcess) -> WatchedProcess:
    current: WatchedProcess = process._current_process
    return current


def _reason(signum: int | None) -> str:
    if signum is None:
        return "stopping on request"
    return f"stopping on {signal.Signals(signum).name}"


class SlotRestarter(Restarter):
    """Sanic's restarter, which leaves the restart of a worker to the worker's slot."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots

    def _restart_process(
        self, process: WorkerProcess, restart_order: RestartOrder, **kwargs: Any
    ) -> None:
        if _watched(process).is_server:
            self._slots.restart(process, restart_order, **kwargs)
            return
        # The other order waits for an ack, which a process of the user's never sends: Sanic would
        # keep the old process for ever, and one more at each restart.
        order = RestartOrder.SHUTDOWN_FIRST
        super()._restart_process(process, order, **kwargs)  # type: ignore[no-untyped-call]
