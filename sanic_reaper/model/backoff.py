"""How often a worker is started again, and after which pause. Pure: the caller has the clock."""

from __future__ import annotations

LONGEST_PAUSE = 30.0
"""The longest pause before a worker is started again, in seconds."""


class Retries:
    """Counts how often one slot has tried again after a start that failed.

    The pauses are 1, 2, 4, 8, 16, 30, 30 ... seconds.

    Args:
        allowed: how often a start may be tried again until the worker is ready.
    """

    __slots__ = ("_allowed", "_made")

    def __init__(self, allowed: int) -> None:
        self._allowed = allowed
        self._made = 0

    def on_failure(self) -> float | None:
        """Count a failed start.

        Returns:
            Seconds until the next try. `None`: the tries are used up.
        """
        if self._made >= self._allowed:
            return None
        pause = min(2.0**self._made, LONGEST_PAUSE)
        self._made += 1
        return pause

    def reset(self) -> None:
        """Forget the failures, because the worker is ready or a restart was ordered."""
        self._made = 0


class Respawns:
    """Counts the deaths of one slot's workers, and finds out when they are a crash loop.

    The pauses are 0, 0.5, 1, 2, 4, 8, 16, 30, 30 ... seconds.

    Args:
        limit: how many replacements within `window` are no crash loop.
        window: seconds for which a death counts.
    """

    __slots__ = ("_deaths", "_limit", "_window")

    def __init__(self, limit: int, window: float) -> None:
        self._limit = limit
        self._window = window
        self._deaths: list[float] = []

    def on_death(self, now: float) -> float | None:
        """Count a death.

        Args:
            now: on the monotonic clock.

        Returns:
            Seconds until the worker is replaced. `None`: it is in a crash loop.
        """
        recent = [death for death in self._deaths if now - death < self._window]
        self._deaths = [*recent, now]
        if len(recent) >= self._limit:
            return None
        return min(2.0 ** (len(recent) - 2), LONGEST_PAUSE) if recent else 0.0

    def reset(self) -> None:
        """Forget the deaths, because a restart was ordered."""
        self._deaths = []
