"""The ways to recycle a worker: one table, and the limits of one worker. Pure: the caller measures.

To add a way, add its setting (`config.py`), its row here, and what measures it (`MEASURES` in
`main/recycler.py`). The line about the limits, the events and the metrics read this table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import random


class Way(NamedTuple):
    """A way to recycle a worker."""

    cause: str
    """Label of the way in events and metrics."""
    setting: str
    """Attribute of `config.Settings` that holds the limit. 0 in that attribute: no limit."""
    limit: Callable[[float], str]
    """Words for the limit, after "a worker is recycled after"."""
    reached: Callable[[float], str]
    """Words for the usage that has reached the limit, in the log."""


WAYS = (
    Way(
        "lifetime",
        "max_lifetime",
        lambda limit: f"{limit:g} s",
        lambda age: f"it is {age:.0f} s old",
    ),
    Way(
        "requests",
        "max_requests",
        lambda limit: f"{limit} requests",
        lambda number: f"it has served {number} requests",
    ),
    Way(
        "memory",
        "max_rss",
        lambda limit: f"{limit} bytes of memory",
        lambda rss: f"it takes {rss / 1024**2:.0f} MiB of memory",
    ),
)

CAUSES = tuple(way.cause for way in WAYS)


class Limits:
    """The limits of one worker: each limit of the server, reduced by a random fraction.

    A limit never grows, because a worker must not pass a limit of memory.

    Args:
        settings: a `config.Settings`.
        chance: the random numbers. Each limit has a fraction of its own, up to `recycle_jitter`.
    """

    def __init__(self, settings: Any, chance: random.Random) -> None:
        self._limits: list[tuple[Way, float]] = []
        for way in WAYS:
            share = 1.0 - settings.recycle_jitter * chance.random()
            if configured := getattr(settings, way.setting):
                limit = configured * share
                is_whole = isinstance(configured, int)
                self._limits.append((way, max(1, round(limit)) if is_whole else limit))

    def exceeded(self, measure: Callable[[str], float]) -> tuple[str, str] | None:
        """The first limit that has been reached: its cause, and the words of the log.

        Args:
            measure: returns what the worker has used, by the cause of a `Way`. It is called only
                for ways that have a limit.
        """
        for way, limit in self._limits:
            used = measure(way.cause)
            if used >= limit:
                return way.cause, way.reached(used)
        return None


def named(settings: Any) -> list[str]:
    """The limits that a `config.Settings` has, in words."""
    limits = ((way, getattr(settings, way.setting)) for way in WAYS)
    return [way.limit(limit) for way, limit in limits if limit]
