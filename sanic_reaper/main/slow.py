"""Start handlers that are slow: each is shown with its stack once, however many workers run it."""

from __future__ import annotations

from collections.abc import Callable

from ..worker.handlers import Place

GATHER = 1.0
"""Seconds for which further workers are gathered before one line counts them."""

AGAIN = 60.0
"""Seconds after which the same handler is shown in full once more: that is another start."""


class SlowHandlers:
    """The slow handlers of all workers of one server.

    Args:
        say: writes one line to the log.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._shown: dict[Place, float] = {}
        self._more: dict[Place, list[str]] = {}
        self._say_at = 0.0

    def is_new(self, place: Place, title: str, now: float) -> bool:
        """Whether a worker that runs this handler is to be shown in full. Else it is counted.

        Args:
            title: what the log calls the worker.
            now: on the monotonic clock.
        """
        if now - self._shown.get(place, -AGAIN) >= AGAIN:
            self._shown[place] = now
            return True
        if not self._more:
            self._say_at = now + GATHER
        self._more.setdefault(place, []).append(title)
        return False

    def turn(self, now: float) -> None:
        """Say how many more there are, once they are gathered."""
        if not self._more or now < self._say_at:
            return
        for place, titles in self._more.items():
            who = "1 more worker is" if len(titles) == 1 else f"{len(titles)} more workers are"
            self._say(f"{who} slow to start: {place} still runs in {', '.join(titles)} too")
        self._more.clear()
