"""Drains the connections of a worker that stops: requests are answered, and idle clients closed.

The worker stops listening first. A response that begins after that has `Connection: close`, and is
the last one of its connection. A connection that has been idle for `IDLE_GRACE` is closed. A
connection that is still open at the end of the grace period is cut off, as Sanic does it.

A failure here is logged for debugging. The worker stops all the same.
"""

from __future__ import annotations

import asyncio
import select
import time
from collections.abc import Callable, Iterable
from typing import Any

from ..compat import sanic_server
from ..compat.sanic_app import App
from ..log import log

IDLE_GRACE = 1.0
"""Seconds for which an idle connection is kept open. Its client can be sending a request now."""

SCAN_EVERY = 0.03
"""Seconds between two scans of the open connections."""

ABORT_GRACE = 0.1
"""Seconds for which the event loop runs on to close the connections that were cut off."""


class Draining:
    """Drains the connections of one worker.

    Args:
        app: the worker's primary app.
        loop: the worker's event loop.
    """

    def __init__(self, app: App, loop: asyncio.AbstractEventLoop) -> None:
        self._app = app
        self._loop = loop
        self.cleanup: Callable[[], None] | None = None
        """Sanic's function that closes the connections. `None`: Sanic has none (HTTP/3)."""
        self._has_begun = False
        self._serving = sanic_server.Serving((), ())
        self._idle_since: dict[Any, float] = {}
        self._told_to_close: set[Any] = set()

    def begin(self) -> None:
        """Begin to drain: each response that begins from now on has `Connection: close`."""
        self._has_begun = True
        try:
            if self.cleanup is not None:
                self._serving = sanic_server.open_sockets(self.cleanup)
            sanic_server.end_keep_alive(self._open())
        except Exception as error:
            log.debug("clients are not told that the worker stops: %r", error)

    def clean_up(self, cleanup: Callable[[], None]) -> None:
        """Drain, and then run Sanic's own cleanup, which has nothing left to wait for.

        Args:
            cleanup: Sanic's function. It runs even if draining fails.
        """
        if not self._has_begun:  # a handler has ended the loop by `sys.exit()`
            self.begin()
        config = self._app.config
        grace = config.GRACEFUL_SHUTDOWN_TIMEOUT
        try:
            self._drain(grace)
            # Sanic would begin another grace period, and wait in `shutdown_tasks` for a float to
            # become exactly zero.
            config.GRACEFUL_SHUTDOWN_TIMEOUT = 0.0
        except Exception as error:
            log.debug("Sanic closes the connections of the worker by itself: %r", error)
        try:
            cleanup()
        finally:
            config.GRACEFUL_SHUTDOWN_TIMEOUT = grace

    def _open(self) -> list[Any]:
        return [one for connections in self._serving.connections for one in list(connections)]

    def _drain(self, grace: float) -> None:
        until = time.monotonic() + grace
        for server in self._serving.servers:
            sanic_server.stop_accepting(server, self._loop)
        # A connection that was just accepted is not in the list before the loop has turned.
        self._turn(0.01)
        for server in self._serving.servers:
            server.close()
        while self._is_busy() and time.monotonic() < until:
            self._close_idle(self._open(), time.monotonic())
            self._turn(SCAN_EVERY)
        # Not in the cleanup, which on Python 3.12 waits for each connection without a limit.
        left = self._open()
        for connection in left:
            sanic_server.cut_off(connection)
        if left:
            self._turn(ABORT_GRACE)

    def _is_busy(self) -> bool:
        return bool(self._open()) or sanic_server.has_unfinished_tasks(self._app)

    def _close_idle(self, connections: Iterable[Any], now: float) -> None:
        """Close the connections that have been idle for `IDLE_GRACE`.

        A connection can become idle several times. A streamed response that began before the stop
        has told its client to go on using the connection.

        Args:
            now: monotonic time in seconds.
        """
        for connection in connections:
            if sanic_server.is_websocket(connection):
                if connection not in self._told_to_close:  # once: its client has to answer
                    self._told_to_close.add(connection)
                    connection.close_if_idle()
            elif not sanic_server.is_idle(connection):
                self._idle_since.pop(connection, None)
            elif now - self._idle_since.setdefault(connection, now) < IDLE_GRACE:
                continue
            elif not _has_unread(connection):
                connection.close_if_idle()

    def _turn(self, seconds: float) -> None:
        """Run the loop, which has been stopped, for some seconds more.

        The loop can have been stopped twice: a handler's `SystemExit` ends the loop, and main's
        SIGTERM comes while the loop ends. The second stop ends the next run of the loop, once. A
        further `sys.exit()` of a handler changes nothing, because the worker is about to exit.
        """
        for _ in range(2):
            try:
                self._loop.run_until_complete(asyncio.sleep(seconds))
                return
            except (RuntimeError, SystemExit, KeyboardInterrupt):
                continue


def _has_unread(connection: Any) -> bool:
    """Whether the client has sent something that the loop has not read yet.

    Closing the socket would drop it. A request would never be answered.
    """
    transport = connection.transport
    sock = None if transport is None else transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))
