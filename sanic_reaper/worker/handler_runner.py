"""Runs the handlers of one start: each is timed, limited and reported.

A `HandlerRun` runs each step of a handler. So it knows at any moment whether the handler blocks the
event loop or awaits something. At the limit it raises `StartupTimeout` inside the handler in both
cases: a signal interrupts a handler that blocks in Python code, and a handler that awaits is woken.
If the handler does not end, because it runs C code or swallows every exception, main has the worker
killed a second later.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from ..compat import sanic_listeners
from ..compat.sanic_app import App
from . import handlers
from .handlers import StartupTimeout, options_of
from .stepping import HandlerRun, call_with

if TYPE_CHECKING:
    from .handlers import DecoratedHandler
    from .startup import Startup

KEY = "REAPER_HANDLER_TIMEOUT"

BEFORE, AFTER = "before_server_start", "after_server_start"


class Record(NamedTuple):
    """One handler of a worker's start, as `app.ctx.reaper.startup` lists it."""

    name: str
    """Name of the handler."""
    file: str
    """The file that defines the handler."""
    line: int
    """Line of the handler's definition."""
    seconds: float
    """Seconds from the handler's first step to its last."""
    blocked: float
    """Seconds of the longest step, during which nothing else ran in the event loop."""
    error: BaseException | None
    """What the handler raised. `None`: nothing."""
    event: str = BEFORE
    """`before_server_start` or `after_server_start`."""
    app: str = ""
    """Name of the handler's app."""


class HandlerRunner:
    """Runs the handlers of one start.

    Args:
        timeout: limit in seconds for handlers that have none of their own. 0: no limit.
        start: is told when a handler begins and ends.
    """

    def __init__(self, timeout: float, start: Startup) -> None:
        self.records: list[Record] = []
        """The handlers that have ended, in that order."""
        self.running: list[HandlerRun] = []
        """The handlers that run now. With several apps, several can run."""
        self.extension_seconds = 0.0
        """Seconds that listeners of Sanic Extensions took in the primary app."""
        self.has_wrapped = False
        """Whether a listener of the start was found, and is run by this object."""
        self._timeout = timeout
        self._start = start

    def wrap(self, app: App, event: str) -> None:
        """Have the handlers of one event run by this object."""
        for route in sanic_listeners.start_handlers(app, event):
            self.has_wrapped = True
            # An app that is started again still has the wrapper of its earlier start.
            handler = getattr(route.handler, "reaper_wraps", route.handler)
            route.handler = self._wrapped(app, event, handler)
            route.handler.reaper_wraps = handler

    def _wrapped(
        self, app: App, event: str, handler: Callable[..., Any]
    ) -> Callable[..., Awaitable[Any]]:
        listener = sanic_listeners.listener_of(handler)
        if handlers.is_internal(listener):
            return self._timed(app, handler, handlers.package_of(listener))
        place, options = handlers.describe(listener), options_of(listener)

        async def run(**params: Any) -> Any:
            if options is not None and options.background:
                self._start.defer(params["app"], listener, place, options.background)
                return None
            limit, source = self._limit(options)
            timeout = StartupTimeout(place, limit, source) if limit else None
            one = HandlerRun(call_with(handler, **params), timeout, place)
            return await self._run(one, app.name, event, limit, source)

        return run

    def _timed(
        self, app: App, handler: Callable[..., Any], package: str
    ) -> Callable[..., Awaitable[Any]]:
        """A listener that is not the user's: it is timed, and neither limited nor reported."""

        async def run(**params: Any) -> Any:
            began = time.monotonic()
            try:
                return await call_with(handler, **params)
            finally:
                if package == "sanic_ext" and self._start.is_primary(app):
                    self.extension_seconds += time.monotonic() - began

        return run

    def _limit(self, options: DecoratedHandler | None) -> tuple[float, str]:
        """The limit of a handler in seconds, and where it is set."""
        if options is not None and options.timeout is not None:
            return options.timeout, f"@startup_timeout({options.timeout:g})"
        return self._timeout, f"{KEY} = {self._timeout:g}"

    async def _run(self, run: HandlerRun, app: str, event: str, limit: float, source: str) -> Any:
        error: BaseException | None = None
        began = math.floor(1000 * run.began) / 1000
        number = self._start.send_begin("begin", run.place, limit, source, event=event, began=began)
        self.running.append(run)
        try:
            return await run
        except BaseException as raised:
            error = raised
            raise
        finally:
            self.running.remove(run)
            has_failed = error is not None and not isinstance(error, asyncio.CancelledError)
            ended = math.ceil(1000 * time.monotonic()) / 1000  # not less than it took
            self._start.send_end(number, has_failed, ended)
            record = Record(*run.place, ended - began, run.longest_step, error, event, app)
            self.records.append(record)
