"""The user's listeners in main that a stop need not wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any

from .. import internals
from ..internals import App
from ..log import log
from .signals import StopRequested, StopSignals

INTERRUPTIBLE = ("main_process_start", "main_process_ready")
"""Their events. Those of `main_process_stop` run to their end."""


class MainListeners:
    """The listeners of one app's main process.

    Args:
        signals: what ends them.
    """

    def __init__(self, signals: StopSignals) -> None:
        self._signals = signals
        self._live: list[list[Callable[..., Any]]] = []
        self._originals: dict[Callable[..., Any], Callable[..., Any]] = {}

    def make_interruptible(self, app: App) -> None:
        self._live = [internals.listeners(app, event) for event in INTERRUPTIBLE]
        for listeners in self._live:
            for index, listener in enumerate(listeners):
                listeners[index] = self._interruptible(listener)
                self._originals[listeners[index]] = listener

    def restore(self) -> None:
        """The same app may be served once more, by another supervisor."""
        for listeners in self._live:
            listeners[:] = [self._originals.get(listener, listener) for listener in listeners]

    def _interruptible(self, listener: Callable[..., Any]) -> Callable[..., None]:
        """A listener that a stop signal ends, or skips where it came before.

        It takes two arguments, so that `trigger_events`, which tries with one first, passes the
        loop: a coroutine has to be run here, as a signal interrupts the loop and not the coroutine.
        """

        def run(app: App, loop: asyncio.AbstractEventLoop) -> None:
            try:
                with self._signals.interruptible():
                    result = _call(listener, app, loop)
                    if isawaitable(result):
                        loop.run_until_complete(result)
            except StopRequested:
                log.info("a stop signal has ended %s", getattr(listener, "__name__", listener))
                _cancel_all(loop)

        return run


def _call(listener: Callable[..., Any], app: App, loop: Any) -> Awaitable[Any] | Any:
    """As Sanic calls it (`sanic.server.events.trigger_events`)."""
    try:
        return listener(app)
    except TypeError:
        return listener(app, loop)


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    """What an interrupted loop leaves pending would complain when it is collected."""
    pending = asyncio.all_tasks(loop)
    for task in pending:
        task.cancel()
    if pending:
        loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
