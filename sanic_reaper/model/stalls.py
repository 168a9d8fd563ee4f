"""For how long an event loop has been blocked, as far as main has watched it. Pure."""

from __future__ import annotations

BLOCKED_AFTER = 1.0
"""Seconds without a turn after which an event loop counts as blocked."""

MAX_PER_CHECK = 1.0
"""Upper bound, in seconds, on what one check adds to a stall, so that a suspended machine or a
stopped main process is not counted as a stalled worker."""


class Stall:
    """The time for which one event loop has been blocked.

    Args:
        every: seconds between two heartbeats. A shorter silence is no stall.
    """

    def __init__(self, every: float) -> None:
        self._every = every
        self._silent_for = 0.0
        self._checked_at: float | None = None

    def beat(self) -> None:
        """Note a heartbeat: the loop turns."""
        self._silent_for = 0.0

    def check(self, now: float) -> float:
        """Seconds since the next heartbeat should have come.

        Args:
            now: monotonic time.
        """
        if self._checked_at is not None:
            self._silent_for += min(now - self._checked_at, MAX_PER_CHECK)
        self._checked_at = now
        return max(0.0, self._silent_for - self._every)
