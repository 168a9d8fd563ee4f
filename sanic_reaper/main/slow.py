"""Reports slow start handlers: each is shown with its stack once, for all workers together."""

from __future__ import annotations

from collections.abc import Callable

from ..worker.handlers import Place

GATHER = 1.0
"""Seconds for which more workers with the same slow handler are collected into one line."""

AGAIN = 60.0
"""Seconds after which the same handler is shown in full again, as part of another start."""


class SlowHandlers:
    """The slow handlers of all workers of one server.

    Args:
        say: called with a line for the log.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._shown: dict[Place, float] = {}
        self._more: dict[Place, list[str]] = {}
        self._say_at = 0.0

    def is_new(self, place: Place, title: str, now: float) -> bool:
        """Whether to show this handler in full. If not, the worker is counted for the next line.

        Args:
            place: the handler.
            title: the worker's name in the log.
            now: monotonic time in seconds.
        """
        if now - self._shown.get(place, -AGAIN) >= AGAIN:
            self._shown[place] = now
            return True
        if not self._more:
            self._say_at = now + GATHER
        self._more.setdefault(place, []).append(title)
        return False

    def turn(self, now: float) -> None:
        """Report the workers that were counted, once `GATHER` is over.

        Args:
            now: monotonic time in seconds.
        """
        if not self._more or now < self._say_at:
            return
        for place, titles in self._more.items():
            who = "1 more worker is" if len(titles) == 1 else f"{len(titles)} more workers are"
            self._say(f"{who} slow to start: {place} still runs in {', '.join(titles)} too")
        self._more.clear()
