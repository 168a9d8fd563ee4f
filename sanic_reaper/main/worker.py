"""One process that the main process has started and supervises: a worker, or one of the user's.

Guarantees that only events move a worker's state, through the table of `model/lifecycle`.
"""

from __future__ import annotations

import signal
import time
from functools import partial
from typing import TYPE_CHECKING

from .. import platform
from ..log import log
from ..model import lifecycle
from ..model.kills import KILLS
from ..model.lifecycle import BLOCKS, MUST_TURN, SHOWN, TRANSITIONS
from ..model.stalls import BLOCKED_AFTER
from ..protocol import worker as words

if TYPE_CHECKING:
    from ..model.recycling import Limits
    from ..platform.base import Identity
    from .heartbeat import Heartbeat
    from .processes import WatchedProcess
    from .startup import StartupTracker
    from .worker_link import WorkerLink


class SupervisedProcess:
    """A process that the main process has started and supervises: a worker, or one of the user's.

    Args:
        handle: the `multiprocessing` process.
        identity: its pid and creation time.
        began: monotonic time at which it was started.

    Attributes:
        state: one of `lifecycle.STATES`.
        since: monotonic time at which that state began.
        kill_cause: why the watchdog has killed the process: one of `kills.KILLS`. "": it has not.
        death_is_reported: whether the log has reported the death of the process.
    """

    link: WorkerLink | None = None
    startup: StartupTracker | None = None
    heartbeat: Heartbeat | None = None

    def __init__(self, handle: WatchedProcess, identity: Identity, began: float) -> None:
        self.handle = handle
        self.identity = identity
        self.began = began
        self.state = lifecycle.STARTING if handle.is_server else lifecycle.RUNNING
        self.since = began
        self.kill_cause = ""
        self.death_is_reported = False
        self._is_confused = False

    def __str__(self) -> str:
        return f"{self.name} [{self.pid}]"

    @property
    def name(self) -> str:
        return self.handle.name

    @property
    def role(self) -> str:
        return self.handle.reaper_role

    @property
    def pid(self) -> int:
        return self.identity[0]

    @property
    def exitcode(self) -> int | None:
        """The exit code, as `multiprocessing` has it. `None`: the process lives.

        To read this attribute reaps a process that has exited."""
        return self.handle.exitcode

    @property
    def status(self) -> int | None:
        """The exit code. `None`: the process lives, or something else has reaped it."""
        return self.handle.status

    @property
    def shown(self) -> str:
        """The state by the name that is shown to readers."""
        return SHOWN.get(self.state, self.state)

    @property
    def killed_for(self) -> str | None:
        """Why the watchdog has killed the process, in the words of the log. `None`: it has not."""
        return KILLS.get(self.kill_cause)

    @property
    def died_of_sigkill(self) -> bool:
        """Whether SIGKILL has ended the process, whoever sent the signal.

        If the exit status is lost, only the watchdog's report of a kill counts.
        """
        status = self.status
        return self.killed_for is not None if status is None else status == -signal.SIGKILL

    def is_halted(self) -> bool:
        """Whether the process is stopped, by SIGSTOP or by a debugger."""
        row = platform.row(self.pid)
        return row is not None and row.halted

    def terminate(self) -> None:
        """Stop the process. The watchdog kills it if it misses the deadline of a stop."""
        self.handle.terminate()

    def on(self, event: lifecycle.LifecycleEvent) -> None:
        """Move to the state that follows from an event. An event without a row is logged once."""
        after = TRANSITIONS.get((self.state, event))
        if after is None:
            self._complain(event)
        elif after != self.state:
            self.state, self.since = after, self._since(after)

    def _since(self, state: lifecycle.State) -> float:
        return time.monotonic()

    def _complain(self, event: lifecycle.LifecycleEvent) -> None:
        if not self._is_confused:
            self._is_confused = True
            log.warning(
                "%s reports %r in the state %r, which is ignored; does its code write to "
                "descriptors that it has not opened?",
                self,
                event,
                self.shown,
            )


class Worker(SupervisedProcess):
    """A worker, with its pipe, its start, its heartbeat, and its recycling limits.

    Args:
        handle: the `multiprocessing` process.
        link: main's end of the worker's pipe.
        startup: the start of the worker.
        heartbeat: the heartbeat of the worker. `None`: heartbeats are off.
        limits: the recycling limits of the worker.
    """

    link: WorkerLink
    startup: StartupTracker

    def __init__(
        self,
        handle: WatchedProcess,
        link: WorkerLink,
        startup: StartupTracker,
        heartbeat: Heartbeat | None,
        limits: Limits,
    ) -> None:
        super().__init__(handle, link.identity, startup.began)
        self.link = link
        self.startup = startup
        self.heartbeat = heartbeat
        self.limits = limits
        self.deadline_sent = 0.0
        """The deadline of the start that was sent to the watchdog last, in monotonic time."""
        self.stop_by = float("inf")
        """Monotonic time by which the worker must have exited. Infinite: nobody has told it to."""
        self.ready_is_handled = False
        """Whether the slot has acted on the worker being ready."""
        link.listen({words.BEAT: self._on_beat})
        link.listen({word: partial(self._on_report, event) for word, event in _EVENTS.items()})

    @property
    def is_ready(self) -> bool:
        """Whether the start of the worker is complete and the worker lives. It can be blocked."""
        return self.startup.ready is not None and self.exitcode is None

    def serves(self, now: float) -> bool:
        """Whether the worker serves, by its state and by what the kernel says now.

        Args:
            now: monotonic time.
        """
        if self.exitcode is not None:
            return False
        # A recent heartbeat proves that the worker is not stopped. To read /proc for each worker,
        # ten times a second, would cost too much.
        heard = self.heartbeat is not None and self.heartbeat.turns(now)
        halted = not heard and self.is_halted()
        return lifecycle.observed(self.state, alive=True, halted=halted) in lifecycle.SERVES

    def turn(self, now: float) -> bool:
        """Read what the worker reports, and check for slow handlers and a stalled event loop.

        Returns:
            Whether the event loop hangs, so that the worker must be killed. True at most once.
        """
        self.link.turn()
        self.startup.turn(now)
        heartbeat = self.heartbeat
        if heartbeat is None or self.state not in MUST_TURN:
            return False
        if not heartbeat.has_beaten and self.startup.ready is None:
            return False  # a loop that has never turned could not send a heartbeat
        hangs = heartbeat.check(now, self.is_halted)
        if heartbeat.blocked_for >= BLOCKED_AFTER and self.state not in BLOCKS:
            self.on(lifecycle.STALL)
        return hangs

    def on_ack(self) -> None:
        """Note that Sanic has received the worker's ack. Called once."""
        self.startup.has_acked = True
        self.on(lifecycle.LISTENS)

    def on_late(self) -> None:
        """Note that a deadline of the start has passed, so that the worker will be killed."""
        self.startup.expire()
        self.on(lifecycle.LATE)

    def _on_beat(self, *fields: object) -> None:
        if self.state in BLOCKS:
            self.on(lifecycle.TURN)

    def _on_report(self, event: lifecycle.LifecycleEvent, *fields: object) -> None:
        self.on(event)

    def _since(self, state: lifecycle.State) -> float:
        startup, now = self.startup, time.monotonic()
        if state in BLOCKS and self.heartbeat is not None:
            return now - self.heartbeat.blocked_for
        moments = {
            lifecycle.FINISHING_START: startup.listens,
            lifecycle.BACKGROUND: startup.up,
            lifecycle.SERVING: startup.ready,
        }
        return moments.get(state) or now


_EVENTS = {
    words.LISTENS: lifecycle.LISTENS,
    words.UP: lifecycle.UP,
    words.OPEN: lifecycle.OPEN,
    words.READY: lifecycle.READY,
    words.FAILED: lifecycle.FAIL,
}
"""The event that each word of a worker stands for."""
