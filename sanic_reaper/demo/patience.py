"""How long the demo waits, on a machine of whatever speed.

A wait ends as soon as the answer is there. A fixed limit would judge the machine: beside other work
it calls a healthy server dead. So each limit grows with what this machine needed to start a server
a moment ago, and a process that waits for a CPU does not use up its time.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

START_LIMIT = 120.0
"""Seconds until a server must be in the state that its row asks for."""

END_LIMIT = 30.0
"""Seconds that the Reaper's server has to be gone. Its own limit for a stop is 20 s."""

SETTLE = 2.0
"""Seconds at the least after which what still lives of plain Sanic counts as left behind."""

ANSWER_LIMIT = 10.0
"""Seconds at the least in which somebody must answer again when all workers were killed."""

LONGEST = 60.0
"""Seconds after which no wait goes on, whatever the machine is busy with."""

SLOW_START = 8.0
"""Seconds for a start above which the demo says that this machine is slow or busy. On an idle one
of 2020 a start takes 1.5 s."""


def to_settle(start: float, reaper: float) -> float:
    """Seconds that plain Sanic has to be gone.

    Args:
        start: what its own start took on this machine.
        reaper: what the Reaper's server took for the same.
    """
    return min(LONGEST, max(SETTLE, 1.5 * start, 3 * reaper))


def to_answer(start: float, reaper: float = 0.0) -> float:
    """Seconds that a server has to answer again. A new worker takes as long as a start."""
    return min(LONGEST, max(ANSWER_LIMIT, 3 * start, 3 * reaper))


class Patience:
    """The time of a server that was hurt.

    It is over after `seconds`, if the server was able to run for `SETTLE` of them.

    Args:
        seconds: on the clock on the wall.
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
        """Seconds since the beginning in which a process could have run and had no CPU."""
        if pid not in self._kept_waiting:
            return 0.0
        return max(0.0, seconds_without_cpu(pid) - self._kept_waiting[pid])


def seconds_without_cpu(pid: int) -> float:
    """Seconds of its life that a process waited for a CPU. 0 where the kernel does not count."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0
