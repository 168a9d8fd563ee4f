"""How a stopping worker lets go of its connections: each answer is sent, and no client waits.

A worker stops listening first. A response that begins after the stop says `Connection: close` and
is the last one of its connection. A connection without a request is closed once it has been idle
for `IDLE_GRACE`. What is still open when the grace period is over is cut off, as Sanic does it.

All of this is a courtesy. A failure in it costs the courtesy, and never the stop.
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
"""Seconds for which an idle connection is kept open: its client may be sending a request now."""

SCAN_EVERY = 0.03
"""Seconds between two scans of the open connections."""

ABORT_GRACE = 0.1
"""Seconds that cut off connections have to be closed by the event loop."""


class Draining:
    """The connections of one worker.

    Args:
        app: the worker's primary app.
        loop: the worker's event loop.
    """

    def __init__(self, app: App, loop: asyncio.AbstractEventLoop) -> None:
        self._app = app
        self._loop = loop
        self.cleanup: Callable[[], None] | None = None
        """What Sanic would end the connections with. `None`: it has nothing for that (HTTP/3)."""
        self._has_begun = False
        self._serving = sanic_server.Serving((), ())
        self._idle_since: dict[Any, float] = {}
        self._told_to_close: set[Any] = set()

    def begin(self) -> None:
        """Have each response from now on say that it is the last one of its connection."""
        self._has_begun = True
        try:
            if self.cleanup is not None:
                self._serving = sanic_server.open_sockets(self.cleanup)
            sanic_server.end_keep_alive(self._open())
        except Exception as error:
            log.debug("clients are not told that this worker stops: %r", error)

    def clean_up(self, cleanup: Callable[[], None]) -> None:
        """Drain, and then run Sanic's own cleanup, which finds nothing left to wait for.

        Args:
            cleanup: Sanic's. It runs whatever has happened before.
        """
        if not self._has_begun:  # the loop was ended by a handler's `sys.exit()`
            self.begin()
        config = self._app.config
        grace = config.GRACEFUL_SHUTDOWN_TIMEOUT
        try:
            self._drain(grace)
            # The grace period is over, or not needed. Sanic would begin another one, and wait in
            # `shutdown_tasks` for a float to become exactly zero.
            config.GRACEFUL_SHUTDOWN_TIMEOUT = 0.0
        except Exception as error:
            log.debug("the connections of this worker are left to Sanic: %r", error)
        try:
            cleanup()
        finally:
            config.GRACEFUL_SHUTDOWN_TIMEOUT = grace

    # -- what it does, in turn --------------------------------------------------------------------

    def _open(self) -> list[Any]:
        return [one for connections in self._serving.connections for one in list(connections)]

    def _drain(self, grace: float) -> None:
        until = time.monotonic() + grace
        for server in self._serving.servers:
            server.close()
        # A connection that was accepted a moment ago is not among them before the loop has turned.
        self._turn(0.01)
        while self._is_busy() and time.monotonic() < until:
            self._close_idle(self._open(), time.monotonic())
            self._turn(SCAN_EVERY)
        # Before the cleanup: on Python 3.12 that first waits, without a limit, for each connection.
        left = self._open()
        for connection in left:
            sanic_server.cut_off(connection)
        if left:
            self._turn(ABORT_GRACE)

    def _is_busy(self) -> bool:
        return bool(self._open()) or sanic_server.has_unfinished_tasks(self._app)

    def _close_idle(self, connections: Iterable[Any], now: float) -> None:
        """Close what has been idle for long enough, as of this moment.

        A connection can become idle more than once: a streamed response that began before the stop
        has told its client to go on using the connection.
        """
        for connection in connections:
            if sanic_server.is_websocket(connection):
                if connection not in self._told_to_close:  # its client has to answer that
                    self._told_to_close.add(connection)
                    connection.close_if_idle()
            elif not sanic_server.is_idle(connection):
                self._idle_since.pop(connection, None)
            elif now - self._idle_since.setdefault(connection, now) < IDLE_GRACE:
                continue
            elif not _has_unread(connection):
                connection.close_if_idle()

    def _turn(self, seconds: float) -> None:
        """Run the loop, which has been stopped, for a moment more.

        It may have been told twice to stop: a handler's error ends it (`SystemExit`), and main's
        SIGTERM for that comes while it ends. The second one counts for the next run, once. Another
        handler that calls `sys.exit()` now changes nothing: the worker is about to exit.
        """
        for _ in range(2):
            try:
                self._loop.run_until_complete(asyncio.sleep(seconds))
                return
            except (RuntimeError, SystemExit, KeyboardInterrupt):
                continue


def _has_unread(connection: Any) -> bool:
    """Whether the kernel has something of the client's that the loop has not read yet.

    Closing the socket would drop it: a request, of which its client would never hear again.
    """
    transport = connection.transport
    sock = None if transport is None else transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))
