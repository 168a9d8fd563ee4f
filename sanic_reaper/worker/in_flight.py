"""The requests in flight of this worker: how many, since when, and where each of them waits.

Nothing is done on a request's path. Whoever asks has the connections looked through, in a signal
handler too, so that a blocked event loop is no obstacle.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from operator import attrgetter
from types import FrameType
from typing import Any

from ..compat import sanic_requests
from ..compat.sanic_requests import Found
from .awaits import chain, is_running

LONGEST = 200
"""Maximum length of a path and of the other texts, in characters. A longer one is cut off."""

_BEGAN = attrgetter("began")
_METHOD, _PATH, _NAME = attrgetter("method"), attrgetter("path"), attrgetter("name")


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
        """The requests, the oldest first. Empty if Sanic's protocol has other attributes.

        Never fails: without heartbeats a healthy worker would be taken for a hung one.
        """
        try:
            return sorted(sanic_requests.in_flight(self._connections), key=_BEGAN)
        except Exception:  # the contract "requests in flight" has said so at the start
            return []

    def with_forgotten(self, found: list[Found]) -> list[Found]:
        """The requests, and those whose clients have gone and whose handlers have not returned.

        Never fails. Takes a look at each task, so it is no part of a heartbeat.

        Args:
            found: the result of `found`.
        """
        try:
            more = [*sanic_requests.forgotten(self._connections)]
        except Exception:
            return found
        return sorted([*found, *more], key=_BEGAN) if more else found

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
        try:
            began = sanic_requests.began_at(self._connections)
        except Exception:  # as in `found`
            return 0, 0.0
        return len(began), time.perf_counter() - min(began) if began else 0.0

    def described(self, found: Found, frame: FrameType | None = None) -> list[Any]:
        """The fields of the message `request`. Never fails, whatever the app's request does.

        Args:
            found: one of `found`.
            frame: the frame that this thread runs now, in a signal handler. `None`: elsewhere.
        """
        request = found.request
        try:
            frames, runs = ([], False) if found.task is None else chain(found.task, frame)
        except Exception:  # it awaits an object whose attributes fail
            frames, runs = [], False
        return [
            _text(_METHOD, request),
            _text(_PATH, request) if self._shows_paths else "",
            _text(_NAME, request),
            _text(sanic_requests.id_of, request),
            sanic_requests.stage_of(found, frames),
            round(age(found), 3),
            found.connection,
            runs,
            sanic_requests.down_to_handler(frames),
        ]


def age(found: Found) -> float:
    """Seconds since the handler of a request began."""
    return time.perf_counter() - found.began


def _text(read: Callable[[Any], object], request: Any) -> str:
    try:
        return str(read(request) or "")[:LONGEST]
    except Exception:  # the app can have a class of its own, and bytes in a path can be no text
        return ""
