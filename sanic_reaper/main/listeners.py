"""Interrupts the user's listeners in the main process on a stop signal, and reports slow ones.

No worker is started while such a listener runs, and nothing else would show that it hangs.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from inspect import isawaitable
from typing import Any

from ..compat import sanic_listeners
from ..compat.sanic_app import App
from ..log import log
from ..worker import handlers
from ..worker.alarm import Alarm
from ..worker.explanations import AWAITING, BLOCKING, Frame, report
from ..worker.stepping import HandlerRun
from .signals import StopRequested, StopSignals
from .start_reports import stack_of

INTERRUPTIBLE = ("main_process_start", "main_process_ready")
"""The events whose listeners can be interrupted. Those of `main_process_stop` run to their end."""


class MainListeners:
    """The listeners of one app's main process.

    Args:
        signals: the stop signals, which interrupt the listeners.
        slow: seconds after which a listener that still runs is reported, once. 0: never.
    """

    def __init__(self, signals: StopSignals, slow: float) -> None:
        self._signals = signals
        self._slow = slow
        self.left_threads: set[threading.Thread] = set()
        """Threads that interrupted listeners have started. The exit does not wait for them."""
        self._live: list[list[Callable[..., Any]]] = []
        self._originals: dict[Callable[..., Any], Callable[..., Any]] = {}

    def make_interruptible(self, app: App) -> None:
        """Wrap each listener of `INTERRUPTIBLE` that the app has."""
        for event in INTERRUPTIBLE:
            listeners = sanic_listeners.listeners(app, event)
            self._live.append(listeners)
            for index, listener in enumerate(listeners):
                listeners[index] = self._interruptible(event, listener)
                self._originals[listeners[index]] = listener

    def restore(self) -> None:
        """Put the listeners back, because the same app may be served again."""
        for listeners in self._live:
            listeners[:] = [self._originals.get(listener, listener) for listener in listeners]

    def _interruptible(self, event: str, listener: Callable[..., Any]) -> Callable[..., None]:
        """A listener that a stop signal interrupts, or skips if the signal came before it.

        The wrapper takes two arguments, so that Sanic's `trigger_events` passes it the loop. (It
        tries one argument first.) A coroutine must be run here, because a signal interrupts the
        loop and not the coroutine.
        """

        def run(app: App, loop: asyncio.AbstractEventLoop) -> None:
            without_loop, has_begun = sys.exc_info()[1], False
            threads = set(threading.enumerate())
            try:
                watch = _Slow(event, handlers.describe(listener))
                with self._signals.interruptible(), self._alarm(listener, watch):
                    has_begun = True
                    result = _call(listener, app, loop)
                    if isawaitable(result):
                        watch.run = HandlerRun(_awaited(result))
                        loop.run_until_complete(_awaited(watch.run))
            except StopRequested:
                if not handlers.is_internal(listener):
                    log.info(SKIPPED if not has_begun else INTERRUPTED, event, watch.name)
                _cancel_all(loop)
                self.left_threads.update(set(threading.enumerate()) - threads)
            except BaseException as error:
                _unchain(error, without_loop)
                raise

        return run

    def _alarm(self, listener: Callable[..., Any], watch: _Slow) -> AbstractContextManager[None]:
        """An alarm that reports the listener if it is slow.

        SIGALRM is used as for a worker's handlers. A waiting thread was rejected, because main is
        about to fork.
        """
        if not self._slow or handlers.is_internal(listener):
            return nullcontext()
        return Alarm(self._slow, watch.report)


class _Slow:
    """Reports one listener if it is slow."""

    def __init__(self, event: str, place: handlers.Place) -> None:
        self.run: HandlerRun | None = None
        """The listener's coroutine, if it has returned one."""
        self._event = event
        self._place = place
        self.name = place.name
        self._began = time.monotonic()

    def report(self) -> None:
        """Report the listener. Called in a signal handler."""
        how, frames = BLOCKING, _interrupted()
        if self.run is not None and not self.run.is_running:
            how, frames = AWAITING, self.run.awaited_frames()
        elif self.run is None:
            how = "blocking main"
        name, seconds = self._place.name, time.monotonic() - self._began
        what = f"main starts no worker yet: its {self._event} listener {name} still runs"
        text = report(what, self._place, seconds, how, frames, REMEDY)
        log.warning("%s", "\n".join([text, *stack_of(frames)]))


INTERRUPTED = "a stop signal interrupted the %s listener %s"
SKIPPED = "the %s listener %s was skipped: a stop signal came before it"

REMEDY = "give it a limit of its own; a stop signal interrupts it"


def _interrupted() -> list[Frame]:
    """The frames in which the alarm has interrupted main, innermost first."""
    walk = traceback.walk_stack(Alarm.interrupted) if Alarm.interrupted is not None else ()
    return [(frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in walk]


async def _awaited(result: Awaitable[Any]) -> Any:
    return await result


def _call(listener: Callable[..., Any], app: App, loop: Any) -> Awaitable[Any] | Any:
    """Call a listener with the app, and with the loop if its signature needs it.

    Sanic tries the app alone first, and takes any TypeError for a missing argument. If the listener
    itself raises one, Sanic calls it a second time.
    """
    if not _takes(listener, app) and _takes(listener, app, loop):
        return listener(app, loop)
    return listener(app)


def _takes(listener: Callable[..., Any], *arguments: Any) -> bool:
    try:
        inspect.signature(listener).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # in C, without a signature
        return True
    return True


def _unchain(error: BaseException, context: BaseException | None) -> None:
    """Remove the TypeError of Sanic's first try, without a loop, from a traceback."""
    while context is not None and error.__context__ is not None:
        if error.__context__ is context:
            error.__context__ = None
            return
        error = error.__context__


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel the pending tasks of an interrupted loop, which would complain when collected."""
    pending = asyncio.all_tasks(loop)
    for task in pending:
        task.cancel()
    if pending:
        loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
