"""The stop of a server: whether it has begun, whether it is forced, and its deadlines."""

from __future__ import annotations

import time

from ..protocol import watchdog as wire
from .fleet import Fleet
from .journal import Journal
from .watchdog_link import WatchdogLink

OWN_EXIT = 0.25
"""Seconds before the stop's deadline at which the main process waits for leftovers no more."""


class Stop:
    """The stop of one server, from its first signal on.

    Args:
        timeout: seconds that the stop may take (`REAPER_SHUTDOWN_TIMEOUT`).
        fleet, watchdog, journal: what is told that the stop has begun.

    Attributes:
        began_at: monotonic time at which the stop began. `None`: it has not begun.
        is_forced: whether the stop was forced, so that every process is killed at once.
    """

    def __init__(
        self, timeout: float, fleet: Fleet, watchdog: WatchdogLink, journal: Journal
    ) -> None:
        self.began_at: float | None = None
        self.is_forced = False
        self._forced_deadline = float("inf")
        self._timeout = timeout
        self._fleet = fleet
        self._watchdog = watchdog
        self._journal = journal

    @property
    def has_begun(self) -> bool:
        return self.began_at is not None

    @property
    def seconds(self) -> float:
        """Seconds since the stop began. It must have begun."""
        assert self.began_at is not None
        return time.monotonic() - self.began_at

    @property
    def deadline(self) -> float:
        """Monotonic time at which the watchdog kills the main process. The stop must have begun."""
        assert self.began_at is not None
        return min(self.began_at + self._timeout, self._forced_deadline)

    @property
    def drain_by(self) -> float:
        """Monotonic time by which workers must have exited.

        It is earlier than `deadline`: the main process still has to clean up after the workers.
        """
        return self.deadline - min(1.0, self._timeout / 4)

    @property
    def clean_up_by(self) -> float:
        """Monotonic time until which the main process waits for leftovers to be killed.

        It is a little earlier than `deadline`, so that the main process still exits by itself.
        """
        return self.deadline - min(OWN_EXIT, self._timeout / 8)

    def begin(self) -> None:
        """Begin to stop, unless that has begun. Safe in a signal handler: it makes one write."""
        if self.began_at is None:
            self.began_at = time.monotonic()
            self._fleet.stopping = True
            self._watchdog.stop(self.drain_by, max(self.deadline, self.drain_by + 1.0))
            self._journal.enter("stopping")

    def force(self) -> None:
        """Have the watchdog kill every process of the server now. Safe in a signal handler.

        No process group is signalled: launchers and other jobs can be in it too.
        """
        self.is_forced = True
        self.begin()
        # The watchdog has the same deadline, a moment later: when it has read this.
        self._forced_deadline = min(self._forced_deadline, time.monotonic() + wire.FORCED_STOP)
        self._watchdog.kill()
