"""The start of a worker: runs its start handlers, and reports them to main.

A worker listens when its `before_server_start` handlers have returned, and answers requests while
its `after_server_start` handlers await something. A stop that comes then cancels those handlers.

A process without a main process can start an app in the same way. It sends no reports.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any

from ..compat import sanic_app
from ..compat.sanic_app import App
from ..log import log
from . import summary
from .finishing import FinishingStart
from .handler_runner import AFTER, BEFORE, HandlerRunner, Record
from .handlers import BackgroundOptions, Place

if TYPE_CHECKING:
    from .background import BackgroundTasks
    from .stepping import HandlerRun


class Startup:
    """The start of a worker, or of one app that user code starts (`starts.OwnStart`).

    Args:
        handler_timeout: limit in seconds for handlers that have none of their own. 0: no limit.
        began: monotonic time at which the process was started.

    Attributes:
        send: sends a message to main, and returns whether main can read it. Without a main process
            it does nothing and returns `False`.
    """

    def __init__(self, handler_timeout: float, began: float) -> None:
        self.began = began
        """Monotonic time at which the process was started."""
        self.send: Callable[..., bool] = _send_nowhere
        self.has_signals: Callable[[], bool] = lambda: True
        """Whether Sanic has called the Reaper to set up the stop signals."""
        self.background: BackgroundTasks | None = None
        """The background work of the start, if there is any."""
        self.is_stopping = False
        """Whether a stop has come."""
        self._primary_is_up = False
        """Whether the `after_server_start` handlers of the primary app have returned."""
        self.imported: float | None = None
        """Monotonic time at which Sanic began to set up the app, after the app's import."""
        self.primary: App | None = None
        """The app whose start began first."""
        self._apps: list[App] = []
        """The apps of this start."""
        self._starting: set[str] = set()
        """Names of the apps whose start has begun and is not complete. There can be several: the
        start of the primary app begins those of secondary apps, as tasks."""
        self._has_sent_up = False
        self._finishing: FinishingStart | None = None
        """The `after_server_start` listeners of the primary app, while they run."""
        self._numbers = itertools.count()
        self._handlers = HandlerRunner(handler_timeout, self)

    # -- what Sanic calls -------------------------------------------------------------------------

    def on_imported(self) -> None:
        """Note the end of the import: Sanic begins to set up the app."""
        if self.imported is None:
            self.imported = now()
            self.send("imported", self.imported)

    async def before(self, app: App, run_listeners: Callable[[], Awaitable[None]]) -> None:
        """Run the `before_server_start` listeners of an app.

        Raises:
            SystemExit: a handler has failed in a supervised worker. Main has been told the reason
                and logs it once. Any other exception would make Sanic print the traceback again.
        """
        if self.primary is None:
            self.primary = app
        self.on_imported()
        self._apps.append(app)
        if asyncio.get_running_loop().get_debug():
            from .slow_callbacks import name_handlers  # only in development

            name_handlers()
        self._starting.add(app.name)
        self._handlers.wrap(app, BEFORE)
        await self._run_all(run_listeners)
        if self.background is not None:
            self.background.close_gate(self._apps)

    async def after(self, app: App, run_listeners: Callable[[], Awaitable[None]]) -> None:
        """Run the `after_server_start` listeners of an app, and then begin its background work.

        Returns early when a stop comes.

        Raises:
            SystemExit: as in `before`.
        """
        is_primary = app is self.primary
        if is_primary:
            self._report_what_is_missing()
            self.send("listens", now())
        self._handlers.wrap(app, AFTER)
        if is_primary and self.is_supervised:
            run_listeners = partial(self._run_until_stopped, run_listeners)
        await self._run_all(run_listeners)
        if self.is_stopping:
            return
        self._starting.discard(app.name)
        self._primary_is_up = self._primary_is_up or is_primary
        moment = now()
        if self.is_up and not self._has_sent_up:
            self._has_sent_up = True
            summary.log_up(self, moment, self._handlers.extension_seconds)
            self.send("up", moment)
        if self.background is not None:
            self.background.begin(app)
        self.send_if_ready(moment)

    def send_if_ready(self, moment: float) -> None:
        """Send `ready` when the start and all background work are done, and `open` before that if
        the work that is left keeps no request from being answered."""
        has_work = self.background is not None and self.background.pending
        if self.is_up and not has_work:
            self.send("ready", moment)
        elif self.is_ready:
            self.send("open")

    async def _run_all(self, run_listeners: Callable[[], Awaitable[None]]) -> None:
        try:
            await run_listeners()
        except BaseException as error:
            # A handler can raise KeyboardInterrupt and CancelledError too. The latter can also
            # come from `stop`.
            is_stop = self.is_stopping and isinstance(error, asyncio.CancelledError)
            if not self.is_supervised or isinstance(error, GeneratorExit) or is_stop:
                raise
            from .explanations import explain_start

            self.fail(explain_start(error, self.records))
            raise error if isinstance(error, SystemExit) else SystemExit(1) from None

    # -- a stop before the start is complete ------------------------------------------------------

    async def _run_until_stopped(self, run_listeners: Callable[[], Awaitable[None]]) -> None:
        """Run listeners in a task of their own, which a stop can leave behind.

        A listener that swallows its cancellation would delay the stop otherwise.
        """
        if self.is_stopping:
            return
        finishing = self._finishing = FinishingStart(run_listeners())
        try:
            error = await finishing.wait()
        finally:
            self._finishing = None
        if self.is_stopping:
            summary.log_cancelled(self, finishing.is_over, error)
        elif error is not None:
            raise error

    def stop(self) -> None:
        """Cancel what is left of the start, because the worker stops.

        Called in the event loop of a worker that listens, again and again until it serves.
        """
        self.is_stopping = True
        if self._finishing is not None:
            self._finishing.cancel()

    def interrupt(self) -> None:
        """Cancel a handler that blocks the event loop, because the worker stops.

        Called in a signal handler.

        Raises:
            asyncio.CancelledError: inside the handler that blocks.
        """
        if self._finishing is not None:
            self.is_stopping = True
            if any(run.is_running for run in self.running):
                raise asyncio.CancelledError("the worker stops")

    # -- its state --------------------------------------------------------------------------------

    @property
    def records(self) -> list[Record]:
        """The handlers that have ended, in that order."""
        return self._handlers.records

    @property
    def running(self) -> list[HandlerRun]:
        """The handlers that run now, the one that began first in front."""
        return self._handlers.running

    @property
    def is_up(self) -> bool:
        """Whether the `after_server_start` handlers of each app have returned."""
        return self._primary_is_up and not self._starting

    @property
    def was_cancelled(self) -> bool:
        """Whether a stop came before the start was complete."""
        return self.is_stopping and not self.is_up

    @property
    def is_supervised(self) -> bool:
        """Whether a main process receives the reports of this start."""
        return self.send is not _send_nowhere

    @property
    def is_ready(self) -> bool:
        """Whether requests are answered: each app is up, and no background work turns requests
        away."""
        return self.is_up and (self.background is None or self.background.is_ready)

    @property
    def awaits_listeners(self) -> bool:
        """Whether background work waits for the `after_server_start` listeners, which begin it."""
        return True

    def covers(self, app: App) -> bool:
        """Whether an app that begins to start is one of those that this worker serves.

        An app that user code starts by itself is not. That start may never be complete.
        """
        primary = sanic_app.primary_name() or app.name
        is_served = app.name == primary or sanic_app.is_secondary(app)
        return is_served and not self.has(app)

    def has(self, app: App) -> bool:
        """Whether an app belongs to this start."""
        return any(one is app for one in self._apps)

    def release(self) -> None:
        """Let requests through. Called when another start of the same app begins."""
        if self.background is not None:
            self.background.open_gate()

    def _report_what_is_missing(self) -> None:
        """Report a contract with Sanic that does not hold in this worker. Only worker 0 does so.

        Sanic registers a `before_server_start` listener of its own in each worker, so there must
        have been one to wrap.
        """
        if sanic_app.is_first_worker():
            if not self._handlers.has_wrapped:
                self.send("lacks", "start handlers")
            if not self.has_signals():
                self.send("lacks", "signals of a worker")

    def is_primary(self, app: App) -> bool:
        """Whether an app is the first one of this start."""
        return app is self.primary

    def defer(
        self, app: App, listener: Callable[..., Any], place: Place, options: BackgroundOptions
    ) -> None:
        """Keep a handler for later: it is background work."""
        if self.background is None:
            from .background import BackgroundTasks  # most workers have none

            self.background = BackgroundTasks(self)
        self.background.add(app, listener, place, options)

    # -- what main is told ------------------------------------------------------------------------

    def send_begin(
        self,
        word: str,
        place: Place,
        limit: float,
        source: str,
        thread: int = 0,
        event: str = "",
        began: float | None = None,
    ) -> int:
        """Tell main that a handler or background work begins.

        Args:
            word: `begin` for a handler, `work` for background work.
            place: its name and its line.
            limit: its limit in seconds. 0: it has none.
            source: the setting or the decorator that the limit comes from.
            thread: `ident` of the thread that runs the work. 0: the event loop runs it.
            event: the event of a handler. "": background work.
            began: monotonic time in whole milliseconds. `None`: now.

        Returns:
            The number that `send_end` takes.
        """
        number = next(self._numbers)
        began = now() if began is None else began
        self.send(word, number, *place, limit, source, thread, event, began)
        return number

    def send_end(self, number: int, has_failed: bool = False, ended: float | None = None) -> None:
        """Tell main that a handler or background work has ended.

        Args:
            number: what `send_begin` has returned.
            has_failed: whether it has failed.
            ended: monotonic time in whole milliseconds. `None`: now.
        """
        ended = now() if ended is None else ended
        self.send("end", number, int(has_failed), ended)

    def fail(self, reason: str) -> None:
        """Tell main why this worker can't start. Without a main process the reason is logged."""
        if not self.send("failed", reason):
            log.error("%s [%d] does not start: %s", *summary.worker(), reason)

    def fail_early(self, error: BaseException) -> None:
        """Tell main of a failure before the first handler. Sanic has printed its traceback."""
        what = f"{type(error).__name__}: {error}"
        self.send("failed", f"{what} (its traceback is above)")

    def where(self, frame: FrameType | None) -> list[object]:
        """The fields of the message `where`: whether a handler awaits something, and its frames.

        The frames are the innermost first. There are none if no handler awaits something: main
        gets the frames on the stack by `faulthandler`.
        """
        if not self.running or any(run.is_running for run in self.running):
            return [False, []]
        return [True, self.running[0].awaited_frames()]  # the one that has waited longest


def now() -> float:
    """Monotonic time in seconds, in whole milliseconds.

    Main keeps the same number, so every report of a start shows the same times.
    """
    return round(time.monotonic(), 3)


def _send_nowhere(*words: object) -> bool:
    return False
