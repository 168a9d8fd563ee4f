"""Main's care of its workers, one by one: it listens to each, and has those ended that are late, or
hang.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection

from ..config import Settings
from ..events import Hooks
from ..log import log
from ..model.recycling import Limits
from ..platform.base import Identity
from ..tree import causes
from ..worker.explanations import EXITED, Frame
from .heartbeat import Pulse
from .journal import Journal
from .processes import WatchedProcess
from .slow import SlowHandlers
from .startup import Launch
from .worker_link import Contact


class Wards:
    """The workers of one server, as far as they report.

    Args:
        processes: those of main's that live.
        tell: what the watchdog is told with.
    """

    def __init__(
        self,
        settings: Settings,
        processes: Sequence[WatchedProcess],
        hooks: Hooks,
        journal: Journal,
        tell: Callable[..., None],
    ) -> None:
        self.stopping = False
        """Whether the server is: then no worker has a deadline of its own."""
        self._settings = settings
        self._processes = processes
        self._hooks = hooks
        self._journal = journal
        self._tell = tell
        self._chance = random.Random()
        self._slow = SlowHandlers(partial(log.warning, "%s"))

    def introduce(
        self, process: WatchedProcess, reports: Connection, began: float, beat_every: float
    ) -> None:
        """Listen to a new worker.

        Args:
            began: when it was started, on the monotonic clock.
            beat_every: seconds between two beats that it has been told to send. 0: none.
        """
        assert process.pid is not None
        settings, title = self._settings, f"{process.name} [{process.pid}]"
        contact = process.contact = Contact(process.identity, reports)
        # They hold on to its names, not to the process, which holds on to them.
        tell = partial(self._tell_hooks, process.name, process.pid)
        process.launch = Launch(
            title,
            contact,
            settings,
            began,
            on_due=partial(self.due, process.identity),
            on_slow=partial(tell, "worker.slow"),
            others=self._slow,
        )
        if beat_every:
            process.pulse = Pulse(
                title,
                contact,
                beat_every,
                settings.blocked_warning,
                settings.heartbeat_timeout,
                on_blocked=partial(tell, "worker.blocked"),
                on_hung=partial(self._end_hung, process.identity),
            )
        process.limits = Limits(settings, self._chance)
        contact.listeners.append(self._journal.heed)
        tell("worker.started")

    def _tell_hooks(self, name: str, pid: int, event: str, reason: str = "") -> None:
        self._hooks.tell(event, name, pid, reason)

    def find(self, identity: Identity) -> WatchedProcess | None:
        return next((one for one in self._processes if one.identity == identity), None)

    def due(self, identity: Identity) -> None:
        # In a stop there is one deadline, and none that comes before it.
        process = self.find(identity) if not self.stopping else None
        if process is not None and process.launch is not None:
            self._tell("due", *identity, process.launch.due)

    def was_killed(self, identity: Identity, name: str, reason: str) -> None:
        """The watchdog has ended a process, or has begun to."""
        process = self.find(identity)
        if process is not None:
            process.killed_for = reason
            cause = causes.of_kill(reason)
            self._hooks.tell("worker.killed", name, identity[0], reason, cause=cause)
        else:
            self._hooks.tell("orphan.killed", name, identity[0], reason)

    def has_expired(self, pid: int, start: int) -> None:
        """A worker is late: find out where it is, say so, and let the watchdog end it."""
        process = self.find((pid, start))
        if process is not None and process.launch is not None:
            assert process.contact is not None
            process.contact.hear()  # main may have been busy: what counts is when the worker spoke
            if not process.launch.is_late:
                self.due(process.identity)
                return
            self._tell("late", pid, start)
            process.launch.expire()
            if process.contact.can_be_asked:
                process.contact.ask(partial(self._condemn, process), is_verdict=True)
                return
            log.info("%s [%d] has not started in time; this is its stack:", process.name, pid)
        self._tell("dump", pid, start)

    def _condemn(self, process: WatchedProcess, frames: list[Frame], how: str) -> None:
        assert process.launch is not None
        if how == EXITED:  # by itself, before it was ended: its exit code says more
            process.launch.has_expired = False
            return
        process.launch.fail(process.launch.overdue(frames, how))
        self._tell("shown", *process.identity)

    def _end_hung(self, identity: Identity) -> None:
        """Its loop does not turn: the same, and the watchdog waits for our answer as long."""
        process = self.find(identity)
        if process is not None and process.contact is not None:
            self._tell("hung", *identity)
            process.contact.ask(partial(self._condemn_hung, process), is_verdict=True)

    def _condemn_hung(self, process: WatchedProcess, frames: list[Frame], how: str) -> None:
        assert process.pulse is not None
        if how == EXITED:
            return
        log.error(
            "%s [%s] is ended: %s", process.name, process.pid, process.pulse.hung(frames, how)
        )
        if frames:
            self._tell("shown", *process.identity)
        else:
            self._tell("dump", *process.identity)
