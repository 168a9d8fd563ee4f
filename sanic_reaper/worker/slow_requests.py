"""Reports requests that have been in flight for longer than `REAPER_SLOW_REQUEST`, once each.

A worker loads this module only if the setting is on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ..compat.sanic_requests import WEBSOCKET
from .in_flight import InFlight, age

EVERY = 1.0
"""Seconds between two looks at the requests in flight."""


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
        slow = set()
        for found in self._in_flight.found():
            if age(found) < self._limit:
                break  # the oldest come first
            if found.connection == WEBSOCKET:
                continue
            key: tuple[int, Any] = (id(found.request), found.began)
            slow.add(key)
            if key not in self._reported:
                self._send("slow", *self._in_flight.described(found))
        self._reported = slow
        loop.call_later(EVERY, self.check, loop)
