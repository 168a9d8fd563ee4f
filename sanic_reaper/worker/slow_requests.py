"""Reports requests that have been in flight for longer than `REAPER_SLOW_REQUEST`, once each.

A worker loads this module only if the setting is on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..compat.sanic_requests import WEBSOCKET, Found
from .in_flight import InFlight, age

EVERY = 1.0
"""Seconds between two looks at the requests in flight."""

MOST_FRAMES = 25
"""Maximum number of frames of one report. A message longer than PIPE_BUF can be cut in a full pipe,
which never happens to a shorter one (pipe(7))."""


class SlowRequests:
    """Looks at the requests of one worker once a second.

    Args:
        in_flight: the requests of the worker.
        limit: seconds after which a request is reported. A WebSocket never is.
        send: sends a message to the main process.
    """

    def __init__(self, in_flight: InFlight, limit: float, send: Callable[..., bool]) -> None:
        self._in_flight = in_flight
        self._limit = limit
        self._send = send
        self._reported: set[tuple[int, float]] = set()
        """The requests that were reported and are still in flight, each by id and begin."""

    def check(self, loop: asyncio.AbstractEventLoop) -> None:
        """Report the requests that have become slow, and look again in `EVERY` seconds.

        Args:
            loop: the event loop.
        """
        slow, has_room = set(), True
        _, oldest = self._in_flight.count()  # that is cheap, and mostly all
        for found in self._in_flight.found() if oldest >= self._limit else ():
            if age(found) < self._limit:
                break  # the oldest come first
            if found.connection == WEBSOCKET:
                continue
            key = id(found.request), found.began
            if key not in self._reported and has_room:
                has_room = self._report(found)
            if key in self._reported or has_room:
                slow.add(key)  # the others are reported at the next look
        self._reported = slow
        loop.call_later(EVERY, self.check, loop)

    def _report(self, found: Found) -> bool:
        """Report one request. Returns whether the pipe had room for it."""
        *fields, frames = self._in_flight.described(found)
        return self._send("slow", *fields, frames[:MOST_FRAMES])
