"""Which workers that died are replaced, and when. Pure: the caller has the clock."""

from __future__ import annotations

LONGEST_PAUSE = 30.0
"""Seconds until a worker is replaced, at most: none, then 0.5, 1, 2, 4, 8, 16, 30, 30 ..."""


class Respawns:
    """The deaths of one server's workers.

    Args:
        limit: how many replacements of one worker, within `window` seconds, are no crash loop.
        window: how long a death counts.
    """

    def __init__(self, limit: int, window: float) -> None:
        self._limit = limit
        self._window = window
        self._deaths: dict[str, list[float]] = {}

    def died(self, name: str, now: float) -> float | None:
        """Seconds until it is replaced, from now. `None`: it is in a crash loop."""
        recent = [death for death in self._deaths.get(name, ()) if now - death < self._window]
        self._deaths[name] = [*recent, now]
        if len(recent) >= self._limit:
            return None
        return min(2.0 ** (len(recent) - 2), LONGEST_PAUSE) if recent else 0.0

    def forget(self, name: str) -> None:
        """Somebody has started it anew."""
        self._deaths.pop(name, None)
