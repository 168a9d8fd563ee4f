"""How long the demo waits, on a fast machine and on a slow one.

A wait ends as soon as the result is there. On a busy machine, a fixed limit would count a healthy
server as dead. So each limit grows with the time that this machine has just needed to start a
server. And time in which a process waits for a CPU does not count.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

START_LIMIT = 120.0
"""Longest time in seconds until a server has reached the state of its row."""

END_LIMIT = 30.0
"""Longest time in seconds for the stop of the Reaper's server, whose own limit is 20 s."""

SETTLE = 2.0
"""Shortest time in seconds after which a process of plain Sanic counts as left behind."""

ANSWER_LIMIT = 10.0
"""Shortest limit in seconds for an answer after all workers were killed."""

LONGEST = 60.0
"""Longest wait in seconds, also on a busy machine."""

SLOW_START = 8.0
"""Seconds for a start above which the demo reports that this machine is slow or busy. A start takes
1.5 s on an idle machine of 2020."""


def to_settle(start: float, reaper: float) -> float:
    """Limit in seconds for the stop of plain Sanic.

    Args:
        start: seconds that its own start took.
        reaper: seconds that the stop of the Reaper's server took.
    """
    return min(LONGEST, max(SETTLE, 1.5 * start, 3 * reaper))


def to_answer(start: float, reaper: float = 0.0) -> float:
    """Limit in seconds for an answer after the workers were killed.

    Args:
        start: seconds that the server's start took. A new worker takes as long.
        reaper: seconds until the Reaper's server answered. 0: not known.
    """
    return min(LONGEST, max(ANSWER_LIMIT, 3 * start, 3 * reaper))


class Patience:
    """The time limit of a server after its signal.

    It is over after `seconds`, if the server had a CPU for `SETTLE` of them.

    Args:
        seconds: limit in seconds.
        pids: the processes of the server.
    """

    def __init__(self, seconds: float, pids: Iterable[int]) -> None:
        self.began = time.monotonic()
        self._seconds = seconds
        self._kept_waiting = {pid: seconds_without_cpu(pid) for pid in pids}
        self._next_look = 0.0
        self._lost = 0.0

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    @property
    def is_over(self) -> bool:
        elapsed = self.elapsed
        if elapsed < self._seconds:
            return False
        if elapsed >= max(LONGEST, self._seconds):
            return True
        if elapsed >= self._next_look:
            self._next_look = elapsed + 0.1
            self._lost = max(self.without_cpu(pid) for pid in (0, *self._kept_waiting))
        return elapsed - self._lost >= min(SETTLE, self._seconds)

    def without_cpu(self, pid: int) -> float:
        """Seconds since the beginning in which a process was ready to run and had no CPU."""
        if pid not in self._kept_waiting:
            return 0.0
        return max(0.0, seconds_without_cpu(pid) - self._kept_waiting[pid])


def seconds_without_cpu(pid: int) -> float:
    """Seconds that a process has waited for a CPU. 0 if the kernel does not count them."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0
