"""The requests in flight of this worker: how many, since when, and where each of them waits.

Nothing is done on a request's path. Whoever asks has the connections looked through, in a signal
handler too, so that a blocked event loop is no obstacle.
"""

from __future__ import annotations

import time
from types import FrameType
from typing import Any

from ..compat import sanic_requests
from ..compat.sanic_requests import Found
from .awaits import chain, is_running

LONGEST_PATH = 200
"""Maximum length of a path, in characters. A longer one is cut off."""


class InFlight:
    """The requests in flight of this worker.

    Args:
        connections: of the servers of this worker, as Sanic keeps them.
        shows_paths: whether the path of a request is shown (`REAPER_REQUEST_PATHS`).
    """

    def __init__(self, connections: list[set[Any]], shows_paths: bool = True) -> None:
        self._connections = connections
        self._shows_paths = shows_paths

    def found(self) -> list[Found]:
        """The requests, the oldest first. Empty if Sanic's protocol has other attributes."""
        try:
            return sorted(
                sanic_requests.in_flight(self._connections), key=lambda found: found.began
            )
        except AttributeError:
            return []

    def foremost(self, found: list[Found], most: int) -> list[Found]:
        """The request that runs now, if one does, and the oldest ones.

        Args:
            found: the result of `found`.
            most: maximum number of requests.
        """
        if len(found) <= most:
            return found
        running = [one for one in found[most - 1 :] if is_running(one.task)]
        return [*running[:1], *found[: most - len(running[:1])]]

    def count(self) -> tuple[int, float]:
        """The number of requests in flight, and the seconds since the oldest began. 0.0: none."""
        found = self.found()
        return len(found), age(found[0]) if found else 0.0

    def described(self, found: Found, frame: FrameType | None = None) -> list[Any]:
        """The fields of the message `request`.

        Args:
            found: one of `found`.
            frame: the frame that this thread runs now, in a signal handler. `None`: elsewhere.
        """
        request = found.request
        frames, runs = chain(found.task, frame) if found.task is not None else ([], False)
        return [
            str(request.method),
            str(request.path)[:LONGEST_PATH] if self._shows_paths else "",
            str(getattr(request, "name", None) or ""),
            _id_of(request),
            found.stage,
            round(age(found), 3),
            found.connection,
            runs,
            frames,
        ]


def age(found: Found) -> float:
    """Seconds since the handler of a request began."""
    return time.perf_counter() - found.began


def _id_of(request: Any) -> str:
    try:
        return str(request.id)
    except Exception:  # the app may make the id by its own method
        return ""
