"""Sanic's WorkerManager without the parts that can hang, spin, or kill the wrong process.

What each override is for (line numbers of Sanic 25.12.1, `sanic/worker/manager.py`):

`wait_for_ack`     322: spins for ever once a stop signal came before every worker had acked, knows
                   one fixed limit of 30 s for all, and takes `sys.exit` in a listener for patience
`kill`             368: `killpg` on main's own group: main, the launching script, the whole job
`shutdown_signal`  390: talks to the SyncManager in the midst of talking to it
`run`              209: joins without a limit
`shutdown_server`  164: forgets a process without waiting for its end
"""

from __future__ import annotations

import signal
from contextlib import suppress
from multiprocessing import connection
from typing import TYPE_CHECKING, Any

from sanic.exceptions import ServerKilled
from sanic.worker.constants import ProcessState
from sanic.worker.manager import MonitorCycle, WorkerManager
from sanic.worker.process import Worker, WorkerProcess

from . import internals
from .log import log
from .processes import Context, WatchedContext, WatchedProcess
from .signals import StopRequested

if TYPE_CHECKING:
    from .interfaces import Supervision

PAUSE = 0.1
"""Seconds between two looks at the workers' states, which only the SyncManager knows."""


class StartFailed(Exception):
    """A worker did not come up, and the server can't start without it."""


class SupervisedManager(WorkerManager):
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
        watched: Any = WatchedContext(context, supervisor)
        super().__init__(number, serve, server_settings, watched, *args, **kwargs)
        supervisor.signals.install()  # the constructor has just taken them for Sanic

    def run(self) -> None:
        """Run the server to its end.

        Raises:
            ServerKilled: the exit code is to be 1. Sanic passes over this exception alone without
                a traceback.
        """
        failed = False
        try:
            with self._supervisor.signals.interruptible():
                self.start()  # type: ignore[no-untyped-call]
                self.monitor()  # type: ignore[no-untyped-call]
        except StopRequested:
            log.info("%s", _reason(self._supervisor.signals.received))
        except StartFailed as failure:
            log.error("%s; the server ends with exit code 1", failure)
            failed = True
        except (EOFError, ConnectionError) as error:
            # Every state is gone with it, so there is nothing to go on with.
            log.error("the SyncManager has died (%r); the server ends with exit code 1", error)
            failed = True
        finally:
            self._shutting_down = True
            self._supervisor.stop()
            self._supervisor.wait_for_end()
            self._release_waiting_threads()
            internals.retire(self.worker_state)
        if failed or self._supervisor.forced:
            raise ServerKilled

    def _release_waiting_threads(self) -> None:
        """A zero-downtime restart leaves a thread that waits for an ack, and a process can't exit
        before its threads. No ack will come any more; the thread looks at nothing but this."""
        for process in self.processes:
            process.state = ProcessState.ACKED

    def wait_for_ack(self) -> None:
        """Wait until every worker serves.

        Raises:
            StartFailed: one of them does not, and which.
            StopRequested: one of them has asked for the end of the server.
        """
        later = []
        while unready := self._not_acked():
            self._supervisor.turn()
            for process in unready:
                self._check_start(process)
            if not self._wait_for_news(unready):
                continue
            message = self.monitor_subscriber.recv()
            if message == "__TERMINATE_EARLY__":
                raise StartFailed("a worker has failed to start: its error stands above")
            if not message or message == "__TERMINATE__":
                raise StopRequested
            later.append(message)  # a request for the monitor, which begins after this
        for message in later:
            self.monitor_publisher.send(message)

    def _not_acked(self) -> list[WorkerProcess]:
        states = self.worker_state.copy()  # type: ignore[attr-defined]  # one call for all
        servers = [
            process for process in self.processes if _watched(process).reaper_role == "worker"
        ]
        return [process for process in servers if not self._note_ack(process, states)]

    def _note_ack(self, process: WorkerProcess, states: Any) -> bool:
        if states.get(process.name, {}).get("state") != ProcessState.ACKED.name:
            return False
        self._supervisor.ready(_watched(process))
        return True

    def _check_start(self, process: WorkerProcess) -> None:
        if process.exitcode is None:
            return
        if self._supervisor.has_expired(_watched(process)):
            raise StartFailed(f"{process.name} has not started in time")
        raise StartFailed(
            f"{process.name} [{process.pid}] has ended before it was ready, "
            f"{_how(process.exitcode)}"
        )

    def _wait_for_news(self, unready: list[WorkerProcess]) -> bool:
        """Whether there is a message. Also returns when a worker ends, and after a pause."""
        sentinels = [_watched(process).sentinel for process in unready]
        return self.monitor_subscriber in connection.wait(
            [self.monitor_subscriber, *sentinels], PAUSE
        )

    def _poll_monitor(self) -> MonitorCycle | None:
        self._supervisor.turn()
        return super()._poll_monitor()

    def _sync_states(self) -> None:
        super()._sync_states()  # type: ignore[no-untyped-call]
        for process in self.processes:
            if process.state is ProcessState.ACKED:
                self._supervisor.ready(_watched(process))

    def shutdown_server(self, name: str | None = None) -> None:
        """Scale down by one: with SIGTERM, a deadline, and somebody who waits for the end."""
        worker = self._server_to_shut_down(name)
        if worker is None:
            log.error("there is no server to shut down")
            return
        for process in worker.processes:
            process.set_state(ProcessState.TERMINATED, True)
            with suppress(AttributeError):  # not started
                _watched(process).terminate()
        del self.transient[worker.name]

    def _server_to_shut_down(self, name: str | None) -> Worker | None:
        """The youngest, so that the names that remain are those of a smaller server."""
        if name is not None:
            return self.transient[name]
        servers = [
            worker
            for worker in self.transient.values()
            if worker.name.startswith(WorkerProcess.SERVER_LABEL)
        ]
        return servers[-1] if servers else None

    def shutdown(self) -> None:
        self._shutting_down = True
        self._supervisor.stop()

    def shutdown_signal(self, signum: int, frame: Any) -> None:
        """Sanic's own handler, in the moment between its constructor and ours."""
        self._supervisor.signals._handle(signum, frame)

    def kill(self) -> None:
        self._supervisor.kill()
        raise ServerKilled


def _watched(process: WorkerProcess) -> WatchedProcess:
    current: WatchedProcess = process._current_process
    return current


def _reason(signum: int | None) -> str:
    if signum is None:
        return "stopping on request"
    return f"stopping on {signal.Signals(signum).name}"


def _how(exitcode: int) -> str:
    if exitcode >= 0:
        return f"with exit code {exitcode}"
    return f"killed by {signal.Signals(-exitcode).name}"
