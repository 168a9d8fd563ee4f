"""When a worker is old enough to be replaced by a fresh one. Pure: the caller measures."""

from __future__ import annotations

import random
from typing import NamedTuple

from ..config import Settings


class Usage(NamedTuple):
    """What one worker has used."""

    seconds: float
    """Its age."""
    requests: int
    rss: int
    """Its resident memory, in bytes. 0: not known."""


class Limits:
    """The limits of one worker: the server's, less a share that chance decides.

    Never more than what was configured: a limit of memory is one that must not be passed.
    """

    def __init__(self, settings: Settings, chance: random.Random) -> None:
        shares = [1.0 - settings.recycle_jitter * chance.random() for _ in range(3)]
        self._seconds = settings.max_lifetime * shares[0]
        self._requests = settings.max_requests and max(1, round(settings.max_requests * shares[1]))
        self._rss = round(settings.max_rss * shares[2])

    def exceeded(self, usage: Usage) -> tuple[str, str] | None:
        """Which limit has been reached: one of `causes.RESTARTS`, and the words of the log."""
        if self._seconds and usage.seconds >= self._seconds:
            return "lifetime", f"it is {usage.seconds:.0f} s old"
        if self._requests and usage.requests >= self._requests:
            return "requests", f"it has served {usage.requests} requests"
        if self._rss and usage.rss >= self._rss:
            return "memory", f"it takes {usage.rss / 1024**2:.0f} MiB of memory"
        return None
