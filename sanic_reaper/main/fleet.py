"""The processes that the main process has started and watches: one list, and one loop over it.

Per-worker monitoring: reads each worker's reports, and asks the watchdog to kill workers that miss
a deadline of their start or whose event loop hangs. Who is started again is decided by `slots`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from ..config import Settings
from ..events import Hooks
from ..log import log
from ..model import lifecycle
from ..model.kills import KILLS
from ..model.recycling import Limits
from ..platform.base import Identity
from ..protocol import watchdog as wire
from ..protocol import worker as words
from ..worker.explanations import EXITED, Frame
from .heartbeat import Heartbeat
from .slow import SlowHandlers
from .startup import StartupTracker
from .worker import SupervisedProcess, Worker
from .worker_link import WorkerLink

if TYPE_CHECKING:
    from .journal import Journal
    from .processes import WatchedProcess


class Fleet:
    """What the main process of one server has started and watches.

    Args:
        settings: of the server.
        hooks: what is told of what happens.
        journal: where it is written down.
        send: sends a message to the watchdog.
    """

    def __init__(
        self, settings: Settings, hooks: Hooks, journal: Journal, send: Callable[..., None]
    ) -> None:
        self.living: list[SupervisedProcess] = []
        """Those that nobody has waited for yet."""
        self.on_start: list[Callable[[SupervisedProcess], None]] = []
        """Each is called with each process that was started."""
        self.stopping = False
        """Whether the server is. Then no worker has a deadline of its own."""
        self._settings = settings
        self._hooks = hooks
        self._journal = journal
        self._send = send
        self._chance = random.Random()
        self._slow = SlowHandlers(partial(log.warning, "%s"))
        self._has_warned_of_upgrade = False

    def find(self, identity: Identity) -> SupervisedProcess | None:
        """The living process of this pid and creation time."""
        return next((process for process in self.living if process.identity == identity), None)

    # -- what is started, and what has ended ------------------------------------------------------

    def add(
        self,
        handle: WatchedProcess,
        identity: Identity,
        began: float,
        reports: Connection | None = None,
        beat_every: float = 0.0,
    ) -> None:
        """Watch a process that has just been started.

        Args:
            began: when it was started, on the monotonic clock.
            reports: of a worker: main's end of the pipe through which it reports.
            beat_every: seconds between two heartbeats that it has been told to send. 0: none.
        """
        if reports is None:
            process = SupervisedProcess(handle, identity, began)
        else:
            link = WorkerLink(identity, reports, handle.name)
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
        # They hold on to its name, not to the worker, which holds on to them.
        tell = partial(self._tell_hooks, handle.name, link.identity[0])
        on_slow, on_blocked = partial(tell, "worker.slow"), partial(tell, "worker.blocked")
        startup = StartupTracker(title, link, settings, began, on_slow, self._slow)
        heartbeat = None
        if beat_every:
            warning, timeout = settings.blocked_warning, settings.heartbeat_timeout
            heartbeat = Heartbeat(title, link, beat_every, warning, timeout, on_blocked)
        worker = Worker(handle, link, startup, heartbeat, Limits(settings, self._chance))
        news = words.WORDS.keys() - {words.BEAT}
        link.listen(dict.fromkeys(news, self._journal.on_report))
        link.listen({words.HELLO: partial(self._check_version, title)})
        tell("worker.started")
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

    def _tell_hooks(self, name: str, pid: int, event: str, reason: str = "") -> None:
        self._hooks.tell(event, name, pid, reason)

    def register(self, process: SupervisedProcess) -> None:
        """Have the watchdog know a process."""
        deadline = process.startup.deadline if process.startup is not None else 0.0
        if isinstance(process, Worker):
            process.deadline_sent = deadline
        self._send(wire.REGISTER, *process.identity, process.role, deadline, process.name)

    def handle_exits(self, hear: Callable[[], None]) -> list[SupervisedProcess]:
        """Reap those that have ended, and let go of them.

        Args:
            hear: reads what the watchdog has sent by now.
        """
        # Asking for the exit code reaps: a worker that was replaced is nobody else's to join.
        dead = [process for process in self.living if process.exitcode is not None]
        if dead:
            hear()  # why the watchdog has killed one is said before: while it is known here
        for process in dead:
            self.living.remove(process)
            if process.link is not None:
                process.link.hear()
                process.link.close()
            process.on(lifecycle.EXIT)
            self._journal.ended(process)
        return dead

    def on_terminate(self, handle: WatchedProcess, was_asked: bool) -> None:
        """A process is to end, while the server goes on.

        Args:
            was_asked: whether main could tell it so.
        """
        process = next((process for process in self.living if process.handle is handle), None)
        if process is None:
            return
        process.on(lifecycle.STOP)
        self._send(
            wire.REPLACED, *process.identity, time.monotonic() + self._settings.shutdown_timeout
        )
        if not was_asked:
            self._send(wire.TERMINATE, *process.identity)
        self._journal.on_terminate(process)

    # -- the loop ---------------------------------------------------------------------------------

    def turn(self, now: float) -> None:
        """Look after each worker: what it reports, what is slow, what hangs, what is due when.

        Args:
            now: on the monotonic clock.
        """
        for process in self.living:
            if self.stopping and process.state != lifecycle.STOPPING:
                process.on(lifecycle.STOP)  # not in the stop's signal handler: it makes one write
            if isinstance(process, Worker):
                if process.turn(now):
                    self._kill_hung(process)
                if process.startup.deadline != process.deadline_sent:
                    self._send_deadline(process)

    def _send_deadline(self, worker: Worker) -> None:
        # In a stop there is one deadline, and none that comes before it.
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
            self._hooks.tell("worker.killed", name, pid, reason, cause=cause)
        else:
            self._hooks.tell("orphan.killed", name, pid, reason)

    def on_exited(self, pid: int, start: int) -> None:
        """The watchdog has seen the end of a process."""
        process = self.find((pid, start))
        if process is not None:
            process.handle.has_gone()

    def on_expired(self, pid: int, start: int) -> None:
        """A worker is late: find out where it is, say so, and let the watchdog kill it."""
        identity = pid, start
        worker = self.find(identity)
        if isinstance(worker, Worker):
            worker.link.hear()  # main may have been busy: what counts is when the worker spoke
            if not worker.startup.is_late:
                self._send_deadline(worker)
                return
            self._send(wire.LATE, *identity)
            worker.on_late()
            if worker.link.can_be_asked:
                worker.link.ask(partial(self._kill_late, worker), is_verdict=True)
                return
            log.info("%s has not started in time; this is its stack:", worker)
        self._send(wire.DUMP, *identity)

    def _kill_late(self, worker: Worker, frames: list[Frame], how: str) -> None:
        if how == EXITED:  # by itself, before it was killed: its exit code says more
            worker.startup.has_expired = False
            return
        worker.startup.fail(worker.startup.overdue(frames, how))
        self._send(wire.SHOWN, *worker.identity)

    def _kill_hung(self, worker: Worker) -> None:
        """Its event loop hangs: the watchdog waits for our answer as long as for a late one's."""
        self._send(wire.HUNG, *worker.identity)
        worker.link.ask(partial(self._show_hung, worker), is_verdict=True)

    def _show_hung(self, worker: Worker, frames: list[Frame], how: str) -> None:
        if how == EXITED:
            return
        assert worker.heartbeat is not None
        log.error("%s will be killed: %s", worker, worker.heartbeat.hung(frames, how))
        self._send(wire.SHOWN if frames else wire.DUMP, *worker.identity)
