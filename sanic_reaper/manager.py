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

from . import advice, main_internals
from .contexts import Context, WatchedContext
from .log import log
from .processes import WatchedProcess
from .retries import Retries
from .signals import StopRequested

if TYPE_CHECKING:
    from .interfaces import Supervision
    from .launch import Launch

PAUSE = 0.1
"""Seconds between two looks at the workers' states, which only the SyncManager knows."""


TERMINATE_EARLY = "__TERMINATE_EARLY__"
"""What a worker sends when Sanic has caught, and logged, an error in its start."""


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
        self._has_started = False
        self._retries = Retries(supervisor.settings.startup_retries)
        if said := advice.for_this_process(context.get_start_method()):
            log.warning("%s", said)
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
            log.error("the server ends with exit code 1: %s", failure)
            failed = True
        except (EOFError, ConnectionError) as error:
            # Every state is gone with it, so there is nothing to go on with.
            log.error("the server ends with exit code 1: the SyncManager has died (%r)", error)
            failed = True
        finally:
            self._shutting_down = True
            self._supervisor.stop()
            self._supervisor.wait_for_end()
            self._release_waiting_threads()
            main_internals.retire(self.worker_state)
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
            self._tend_starts()
            if not self._wait_for_news(unready):
                continue
            message = self.monitor_subscriber.recv()
            if message == TERMINATE_EARLY:
                continue  # it ends at once, and `_tend_starts` sees which one it was
            if not message or message == "__TERMINATE__":
                raise StopRequested
            later.append(message)  # a request for the monitor, which begins after this
        self._has_started = True
        for message in later:
            self.monitor_publisher.send(message)

    def _not_acked(self) -> list[WorkerProcess]:
        states = self.worker_state.copy()  # type: ignore[attr-defined]  # one call for all
        servers = [process for process in self.processes if _watched(process).is_server]
        return [process for process in servers if not self._note_ack(process, states)]

    def _note_ack(self, process: WorkerProcess, states: Any) -> bool:
        launch = _watched(process).launch
        if launch is not None and launch.has_acked:
            return True
        if states.get(process.name, {}).get("state") != ProcessState.ACKED.name:
            return False
        if process.name in self._retries.due:
            return False  # that was the one before
        self._supervisor.ready(_watched(process))
        return True

    def _tend_starts(self) -> None:
        """See whose start has failed, and start those again that may try again.

        Raises:
            StartFailed: one has, and may not.
        """
        for process in list(self.processes):
            launch = _watched(process).launch
            if launch is None or launch.is_given_up:
                continue
            if process.name in self._retries.due:
                self._try_again(process)
            elif launch.is_ready:
                self._retries.forget(process.name)
            elif why := self._why_it_failed(process, launch):
                self._give_up_on(process, launch, why)

    def _why_it_failed(self, process: WorkerProcess, launch: Launch) -> str | None:
        ended = process.exitcode is not None
        if ended:
            launch.hear()
        if launch.failure is not None:
            return launch.failure if ended or launch.has_acked or launch.lingers else None
        if not ended or launch.is_ready:
            return None
        if launch.has_expired:
            return launch.late
        assert process.exitcode is not None
        return f"it has ended before it was ready, {_how(process.exitcode)}"

    def _give_up_on(self, process: WorkerProcess, launch: Launch, why: str) -> None:
        failure = f"{process.name} [{process.pid}] did not start: {why}"
        pause = self._retries.pause(process.name)
        if pause is None and self._has_started and main_internals.reloads():
            launch.is_given_up = True
            log.error("%s; the next change of a file starts it again", failure)
            return
        if pause is None:
            raise StartFailed(failure)
        log.error("%s", failure)
        log.warning("%s is started again in %g s", process.name, pause)
        if process.exitcode is None:
            _watched(process).terminate()

    def _try_again(self, process: WorkerProcess) -> None:
        if process.exitcode is None or not self._retries.is_due(process.name):
            return
        process.set_state(ProcessState.RESTARTING, force=True)
        process.restart()  # type: ignore[no-untyped-call]

    def _wait_for_news(self, unready: list[WorkerProcess]) -> bool:
        """Whether there is a message. Also returns when a worker ends, and after a pause."""
        alive = [process for process in unready if process.exitcode is None]
        sentinels = [_watched(process).sentinel for process in alive]
        return self.monitor_subscriber in connection.wait(
            [self.monitor_subscriber, *sentinels], PAUSE
        )

    def _poll_monitor(self) -> MonitorCycle | None:
        self._supervisor.turn()
        self._tend_starts()
        return super()._poll_monitor()

    def _handle_message(self, message: str) -> MonitorCycle | None:
        if message == TERMINATE_EARLY:  # Sanic would take it for the name of a worker
            return MonitorCycle.CONTINUE
        return super()._handle_message(message)

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
