"""The processes that the main process has started and supervises: one list, one loop over it.

Reads the reports of each worker, and asks the watchdog to kill workers that miss a deadline of
their start or whose event loop hangs. `slots` decides which worker is started again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, NamedTuple

from ..config import Settings
from ..events import Event, Hooks
from ..log import log
from ..model import lifecycle
from ..model.kills import KILLS
from ..model.recycling import Limits
from ..platform.base import Identity
from ..protocol import watchdog as wire
from ..protocol import worker as words
from ..worker.explanations import EXITED, Frame
from .fields import note
from .heartbeat import Heartbeat
from .slow import SlowHandlers
from .startup import StartupTracker
from .worker import SupervisedProcess, Worker
from .worker_link import WorkerLink

if TYPE_CHECKING:
    from .journal import Journal
    from .processes import WatchedProcess


class Pipes(NamedTuple):
    """One process's ends of the two pipes between the main process and a worker."""

    reports: Connection
    """What the worker reports, and its stacks."""
    questions: Connection | None = None
    """What the main process's questions are for. `None`: for nothing but stacks."""


class Fleet:
    """The processes that the main process of one server has started and supervises.

    Args:
        settings: the settings of the server.
        hooks: the users' hooks, which receive events.
        journal: writes the state file.
        send: sends a message to the watchdog.
    """

    def __init__(
        self, settings: Settings, hooks: Hooks, journal: Journal, send: Callable[..., None]
    ) -> None:
        self.living: list[SupervisedProcess] = []
        """The processes whose exit was not handled yet."""
        self.on_start: list[Callable[[SupervisedProcess], None]] = []
        """Each is called with each process that was started."""
        self.on_kill: list[Callable[[Worker], None]] = []
        """Each is called with each worker that the watchdog has killed, or is about to."""
        self.stopping = False
        """Whether the server stops. Then no worker has a deadline of its own."""
        self._settings = settings
        self._hooks = hooks
        self._journal = journal
        self._send = send
        self._chance = random.Random()
        self._slow = SlowHandlers(partial(log.warning, "%s"))
        self._has_warned_of_upgrade = False
        self._started: list[Event] = []
        """The starts that a JSON log has no line about yet."""

    def find(self, identity: Identity) -> SupervisedProcess | None:
        """The living process of this pid and creation time. `None`: there is none."""
        return next((process for process in self.living if process.identity == identity), None)

    # -- starts and exits -------------------------------------------------------------------------

    def add(
        self,
        handle: WatchedProcess,
        identity: Identity,
        began: float,
        pipes: Pipes | None = None,
        beat_every: float = 0.0,
    ) -> None:
        """Add a process that has just been started.

        Args:
            handle: the `multiprocessing` process.
            identity: its pid and creation time.
            began: monotonic time at which it was started.
            pipes: main's ends of a worker's pipes. `None`: the process is no worker.
            beat_every: seconds between two heartbeats of the worker. 0: it sends none.
        """
        if pipes is None:
            process = SupervisedProcess(handle, identity, began)
        else:
            link = WorkerLink(identity, pipes.reports, handle.name, pipes.questions)
            process = self._worker(handle, link, began, beat_every)
        self.living.append(process)
        self.register(process)
        self._journal.started(process)
        for listener in self.on_start:
            listener(process)

    def _worker(
        self, handle: WatchedProcess, link: WorkerLink, began: float, beat_every: float
    ) -> Worker:
        settings, title = self._settings, f"{handle.name} [{link.identity[0]}]"
        # Bound to the name, not to the worker: a reference cycle would keep that in memory.
        emit = partial(self._emit, handle.name, link.identity[0])
        on_slow, on_blocked = partial(emit, "worker.slow"), partial(emit, "worker.blocked")
        startup = StartupTracker(title, link, settings, began, on_slow, self._slow)
        heartbeat = None
        if beat_every:
            warning, timeout = settings.blocked_warning, settings.heartbeat_timeout
            heartbeat = Heartbeat(title, link, beat_every, warning, timeout, on_blocked)
        worker = Worker(handle, link, startup, heartbeat, Limits(settings, self._chance))
        news = words.WORDS.keys() - {words.BEAT, words.REQUEST, words.TASK}
        link.listen(dict.fromkeys(news, self._journal.on_report))
        link.listen({words.HELLO: partial(self._check_version, title)})
        link.listen({words.SLOW: partial(_report_slow, title, settings.slow_request, emit)})
        self._started.append(emit("worker.started"))
        return worker

    def _check_version(self, title: str, version: int, signum: int) -> None:
        """Warn once if a worker comes from another release. Its reports count all the same."""
        if version != words.VERSION and not self._has_warned_of_upgrade:
            self._has_warned_of_upgrade = True
            log.warning(
                "%s runs another release of sanic-reaper than the main process: the worker reports "
                "by version %d of the protocol, the main process reads version %d. The package was "
                "upgraded while the server runs: restart the server. Until then, the main process "
                "drops what it does not understand",
                title,
                version,
                words.VERSION,
            )

    def _emit(
        self, name: str, pid: int, event: str, reason: str = "", seconds: float | None = None
    ) -> Event:
        return self._hooks.emit(event, name, pid, reason, seconds=seconds)

    def register(self, process: SupervisedProcess) -> None:
        """Tell the watchdog of a process, and of the deadline of its start."""
        deadline = process.startup.deadline if process.startup is not None else 0.0
        if isinstance(process, Worker):
            process.deadline_sent = deadline
        self._send(wire.REGISTER, *process.identity, process.role, deadline, process.name)

    def handle_exits(self, receive: Callable[[], None]) -> list[SupervisedProcess]:
        """Reap the processes that have exited, and remove them.

        Args:
            receive: reads the messages of the watchdog that have arrived.
        """
        # Reading the exit code reaps the process: nothing else joins a worker that was replaced.
        dead = [process for process in self.living if process.exitcode is not None]
        if dead:
            # The watchdog has sent the reason of a kill before: `on_killed` needs the process here.
            receive()
        for process in dead:
            self.living.remove(process)
            if process.link is not None:
                process.link.hear()
                process.link.close()
            process.on(lifecycle.EXIT)
            self._journal.ended(process)
        return dead

    def on_terminate(self, handle: WatchedProcess, was_asked: bool) -> None:
        """Note that a process was told to stop while the server keeps running.

        Args:
            handle: the process.
            was_asked: whether main could signal it. If not, the watchdog does.
        """
        process = next((process for process in self.living if process.handle is handle), None)
        if process is None:
            return
        process.on(lifecycle.STOP)
        stop_by = time.monotonic() + self._settings.shutdown_timeout
        if isinstance(process, Worker):
            process.stop_by = stop_by
        self._send(wire.REPLACED, *process.identity, stop_by)
        if not was_asked:
            self._send(wire.TERMINATE, *process.identity)
        self._journal.on_terminate(process)

    # -- the loop ---------------------------------------------------------------------------------

    def turn(self, now: float) -> None:
        """Read what each worker reports, and act on slow handlers, stalls and deadlines.

        Args:
            now: monotonic time.
        """
        while self._started:  # not at the start: a stop signal is held back there
            note(self._started.pop(0))
        for process in self.living:
            if self.stopping and process.state != lifecycle.STOPPING:
                process.on(lifecycle.STOP)  # not in the stop's signal handler: it makes one write
            if isinstance(process, Worker):
                if process.turn(now):
                    self._kill_hung(process)
                if process.startup.deadline != process.deadline_sent:
                    self._send_deadline(process)

    def _send_deadline(self, worker: Worker) -> None:
        # A stop has one deadline, and no worker has an earlier one of its own.
        if not self.stopping:
            worker.deadline_sent = worker.startup.deadline
            self._send(wire.DEADLINE, *worker.identity, worker.deadline_sent)

    # -- what the watchdog says -------------------------------------------------------------------

    def on_killed(self, pid: int, start: int, name: str, cause: str, evidence: str) -> None:
        """The watchdog has killed a process, or is about to.

        Args:
            cause: one of `kills.KILLS`. "": the process is a leftover.
            evidence: why the process belongs to the server.
        """
        process = self.find((pid, start))
        reason = KILLS.get(cause, evidence)
        if process is not None and cause:
            process.kill_cause = cause
            if isinstance(process, Worker):
                for listener in self.on_kill:
                    listener(process)
            self._hooks.emit("worker.killed", name, pid, reason, cause=cause)
        else:
            self._hooks.emit("orphan.killed", name, pid, reason)

    def on_exited(self, pid: int, start: int) -> None:
        """The watchdog has seen that a process has exited."""
        process = self.find((pid, start))
        if process is not None:
            process.handle.on_exit_seen()

    def on_expired(self, pid: int, start: int) -> None:
        """A worker misses a deadline: ask for its stack, then let the watchdog kill it."""
        identity = pid, start
        worker = self.find(identity)
        if isinstance(worker, Worker):
            worker.link.hear()  # main may have been busy, and the worker may have reported in time
            if not worker.startup.is_late:
                self._send_deadline(worker)
                return
            self._send(wire.LATE, *identity)
            worker.on_late()
            if worker.link.can_be_asked:
                worker.link.ask(partial(self._show_late, worker), is_verdict=True)
                return
            log.info("%s has not started in time; this is its stack:", worker)
        self._send(wire.DUMP, *identity)

    def _show_late(self, worker: Worker, frames: list[Frame], how: str) -> None:
        if how == EXITED:  # by itself, before the kill: its exit code tells more
            worker.startup.has_expired = False
            return
        worker.startup.fail(worker.startup.overdue(frames, how))
        self._send(wire.SHOWN, *worker.identity)

    def _kill_hung(self, worker: Worker) -> None:
        """Ask a worker whose event loop hangs for its stack, then let the watchdog kill it."""
        self._send(wire.HUNG, *worker.identity)
        worker.link.ask(partial(self._show_hung, worker), is_verdict=True)

    def _show_hung(self, worker: Worker, frames: list[Frame], how: str) -> None:
        if how == EXITED:
            return
        assert worker.heartbeat is not None
        log.error("%s will be killed: %s", worker, worker.heartbeat.hung(frames, how))
        self._send(wire.SHOWN if frames else wire.DUMP, *worker.identity)


def _report_slow(title: str, limit: float, emit: Callable[..., Event], *fields: object) -> None:
    from .slow_requests import report  # here, for its size: most servers have no such limit

    report(title, limit, emit, *fields)
