"""Which workers are to be started again after a start that failed, and when. Pure."""

from __future__ import annotations

LONGEST_PAUSE = 30.0
"""Seconds before a start that has failed is tried again, at most: 1, 2, 4, 8, 16, 30, 30 ..."""


class Retries:
    """The tries of one server's workers.

    Args:
        allowed: how often that may be tried for one worker, until it is ready.
    """

    def __init__(self, allowed: int) -> None:
        self._allowed = allowed
        self._made: dict[str, int] = {}

    def pause(self, name: str) -> float | None:
        """Seconds until it is tried again, from now. `None`: it has used up its tries."""
        made = self._made.get(name, 0)
        if made >= self._allowed:
            return None
        pause = min(2.0**made, LONGEST_PAUSE)
        self._made[name] = made + 1
        return pause

    def forget(self, name: str) -> None:
        self._made.pop(name, None)
