"""A worker's start: its `before_server_start` and `after_server_start` handlers, each timed,
limited and told of.

Every handler is run by a `Run`, which sees each of its steps. So it knows at any moment whether
the handler blocks the event loop or awaits something, and at its limit can raise `StartupTimeout`
inside it in either case: a handler that blocks in Python code is interrupted by a signal, one that
awaits is woken. What neither reaches, code in C and a handler that swallows everything, main ends
from outside a second later (`launch`).

The worker listens when its `before_server_start` handlers are through, and answers requests while
those of `after_server_start` await something. A stop that comes then cancels them.

This works in any process that starts an app. What goes to main goes nowhere where there is none.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

from ..compat import sanic_app, sanic_listeners
from ..compat.sanic_app import App
from ..log import log
from . import handlers
from .handlers import Background, Handler, Place, StartupTimeout
from .stepping import BLOCKED, Run, call_with, outcome

if TYPE_CHECKING:
    from .background import Backgrounds

KEY = "REAPER_HANDLER_TIMEOUT"

BEFORE, AFTER = "before_server_start", "after_server_start"

CANCELLED = 1.0
"""Seconds that a handler has to clean up when a stop has cancelled it, and then its threads."""


class Record(NamedTuple):
    """One handler of a worker's start, as `app.ctx.reaper.startup` lists it."""

    name: str
    file: str
    line: int
    seconds: float
    """From its first step to its last."""
    blocked: float
    """Seconds of the longest stretch in which nothing else could run in the event loop."""
    error: BaseException | None
    event: str = BEFORE
    """`before_server_start` or `after_server_start`."""
    app: str = ""
    """The name of its app."""


class Startup:
    """A start: of a worker, or of one app where main did not order it (`starts`).

    Args:
        handler_timeout: seconds that a handler may take that has no limit of its own. 0: no limit.
        began: when the process was started, on the monotonic clock.

    Attributes:
        tell: takes what main is to know, and says whether it will; nobody, where there is no main.
    """

    def __init__(self, handler_timeout: float, began: float) -> None:
        self.records: list[Record] = []
        self._handler_timeout = handler_timeout
        self._began = began
        self.tell: Callable[..., bool] = _nobody
        self._imported: float | None = None
        """When the app was imported, on the monotonic clock."""
        self._extensions = 0.0
        """Seconds that listeners of Sanic Extensions have taken."""
        self._primary: App | None = None
        self._apps: list[App] = []
        """Those that it starts."""
        self._starting: set[str] = set()
        """The apps whose start has begun and is not over. Several at once: the primary app's start
        begins those of secondary apps, as tasks."""
        self.has_served = False
        """Whether the primary app does."""
        self.stopping = False
        """Whether a stop has come before the start was over."""
        self._is_told_up = False
        self._late_part: _LatePart | None = None
        """The `after_server_start` handlers of the primary app, while they run."""
        self._numbers = itertools.count()
        self._running: list[Run] = []
        """Of several apps, several at once."""
        self.background: Backgrounds | None = None

    # -- what Sanic calls -------------------------------------------------------------------------

    def note_import(self) -> None:
        """The app is imported: Sanic begins to set it up."""
        if self._imported is None:
            self._imported = now()
            self.tell("imported", self._imported)

    async def before(self, app: App, run_listeners: Callable[[], Awaitable[None]]) -> None:
        """Run an app's `before_server_start` handlers.

        Raises:
            SystemExit: a handler has failed in a supervised worker. Main has been told why, and
                says it once; Sanic would print what it has already printed, and more.
        """
        if self._primary is None:
            self._primary = app
        self.note_import()
        self._apps.append(app)
        if asyncio.get_running_loop().get_debug():
            from .slow_callbacks import name_them  # in development alone

            name_them()
        self._starting.add(app.name)
        self._wrap(app, BEFORE)
        await self._run_all(run_listeners)
        if self.background is not None:
            self.background.close_gate(self._apps)

    async def after(self, app: App, run_listeners: Callable[[], Awaitable[None]]) -> None:
        """Run an app's `after_server_start` listeners. Then what was put off begins.

        Returns early where a stop comes first.

        Raises:
            SystemExit: as `before`.
        """
        is_primary = app is self._primary
        if is_primary:
            self.tell("listens", now())
        self._wrap(app, AFTER)
        if is_primary and self.supervised:
            run_listeners = partial(self._run_until_stopped, run_listeners)
        await self._run_all(run_listeners)
        if self.stopping:
            return
        self._starting.discard(app.name)
        self.has_served = self.has_served or is_primary
        moment = now()
        if self.is_up and not self._is_told_up:
            self._is_told_up = True
            self._summarise(moment)
            self.tell("up", moment)
        if self.background is not None:
            self.background.begin(app)
        self.tell_if_ready(moment)

    def tell_if_ready(self, moment: float) -> None:
        """Have main know it when all is done that this worker was started for; and before that,
        when what is left to do keeps no request from being answered."""
        works = self.background is not None and self.background.pending
        if self.is_up and not works:
            self.tell("ready", moment)
        elif self.ready:
            self.tell("open")

    async def _run_all(self, run_listeners: Callable[[], Awaitable[None]]) -> None:
        try:
            await run_listeners()
        except BaseException as error:
            # KeyboardInterrupt and CancelledError too: no stop of ours is one of them, unless it
            # has said so (`stop`), so a handler has raised it.
            is_stop = self.stopping and isinstance(error, asyncio.CancelledError)
            if not self.supervised or isinstance(error, GeneratorExit) or is_stop:
                raise
            self.fail(self.explain(error))
            raise error if isinstance(error, SystemExit) else SystemExit(1) from None

    # -- a stop before the start is over ----------------------------------------------------------

    async def _run_until_stopped(self, run_listeners: Callable[[], Awaitable[None]]) -> None:
        """Run listeners in a task of their own, which a stop can leave behind: one that swallows
        its cancellation would hold up the stop."""
        if self.stopping:
            return
        part = self._late_part = _LatePart(run_listeners())
        try:
            error = await part.wait()
        finally:
            self._late_part = None
        if self.stopping:
            self._say_what_was_cancelled(part.is_over, error)
        elif error is not None:
            raise error

    def stop(self) -> None:
        """The worker stops, and does not wait for its start if that is not over. Called in its
        event loop, once it listens; again and again, until it serves."""
        self.stopping = True
        if self._late_part is not None:
            self._late_part.cancel()

    def interrupt(self) -> None:
        """The same for a handler that keeps the loop from turning. In a signal handler.

        Raises:
            asyncio.CancelledError: inside the handler that blocks.
        """
        if self._late_part is not None:
            self.stopping = True
            if any(run.is_running for run in self._running):
                raise asyncio.CancelledError("the worker stops")

    def _say_what_was_cancelled(self, is_over: bool, error: BaseException | None) -> None:
        name, pid = os.environ.get("SANIC_WORKER_NAME", "server"), os.getpid()
        if not is_over:
            places = ", ".join(str(run.place) for run in self._running)
            log.warning(
                "%s [%d] stops before its start is complete, and leaves behind what has not ended "
                "%g s after it was cancelled: %s",
                *(name, pid, CANCELLED, places),
            )
        elif isinstance(error, asyncio.CancelledError):
            cancelled = [record for record in self.records if record.error is error]
            places = ", ".join(f"{Place(*one[:3])}, after {one.seconds:.2f} s" for one in cancelled)
            log.info(
                "%s [%d] stops before its start is complete; cancelled: %s",
                *(name, pid, places or "its after_server_start listeners"),
            )
        elif error is not None:
            log.warning("%s", self.explain(error))

    # -- what is known of it ----------------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        """Whether the start of each app is over."""
        return self.has_served and not self._starting

    @property
    def was_cut_short(self) -> bool:
        """Whether a stop has come before it was over."""
        return self.stopping and not self.is_up

    @property
    def supervised(self) -> bool:
        return self.tell is not _nobody

    @property
    def ready(self) -> bool:
        """Whether requests are answered: each app serves, its background work is done."""
        return self.is_up and (self.background is None or self.background.ready)

    @property
    def awaits_listeners(self) -> bool:
        """Whether background work must wait for `after_server_start` listeners: until `after` has
        begun it."""
        return True

    def takes(self, app: App) -> bool:
        """Whether an app that begins to start is one of those that main has this worker serve.

        Not one that user code starts by hand: nobody knows whether such a start is ever completed.
        """
        primary = sanic_app.primary_name() or app.name
        is_served = app.name == primary or sanic_app.is_secondary(app)
        return is_served and not self.has(app)

    def has(self, app: App) -> bool:
        return any(one is app for one in self._apps)

    def release(self) -> None:
        """Another start of the same app begins."""
        if self.background is not None:
            self.background.open_gate()

    def _wrap(self, app: App, event: str) -> None:
        for route in sanic_listeners.start_handlers(app, event):
            # Of an app that is started again: what an earlier start has put around it goes.
            handler = getattr(route.handler, "reaper_wraps", route.handler)
            route.handler = self._wrapped(app, event, handler)
            route.handler.reaper_wraps = handler

    def _wrapped(
        self, app: App, event: str, handler: Callable[..., Any]
    ) -> Callable[..., Awaitable[Any]]:
        listener = sanic_listeners.listener_of(handler)
        if handlers.is_internal(listener):
            return self._timed(app, handler, handlers.package_of(listener))
        place, options = handlers.describe(listener), noted(listener)

        async def run(**params: Any) -> Any:
            if options is not None and options.background:
                self._defer(params["app"], listener, place, options.background)
                return None
            limit, source = self._limit(options)
            timeout = StartupTimeout(place, limit, source) if limit else None
            one = Run(call_with(handler, **params), timeout, place)
            return await self._run(one, app.name, event, limit, source)

        return run

    def _timed(
        self, app: App, handler: Callable[..., Any], package: str
    ) -> Callable[..., Awaitable[Any]]:
        """A listener that is no business of the user's, but for the time that it takes."""

        async def run(**params: Any) -> Any:
            began = time.monotonic()
            try:
                return await call_with(handler, **params)
            finally:
                if package == "sanic_ext" and app is self._primary:
                    self._extensions += time.monotonic() - began

        return run

    def _defer(
        self, app: App, listener: Callable[..., Any], place: Place, options: Background
    ) -> None:
        if self.background is None:
            from .background import Backgrounds  # most workers have none

            self.background = Backgrounds(self)
        self.background.add(app, listener, place, options)

    def _limit(self, options: Handler | None) -> tuple[float, str]:
        if options is not None and options.timeout is not None:
            return options.timeout, f"@startup_timeout({options.timeout:g})"
        return self._handler_timeout, f"{KEY} = {self._handler_timeout:g}"

    async def _run(self, run: Run, app: str, event: str, limit: float, source: str) -> Any:
        error: BaseException | None = None
        began = math.floor(1000 * run.began) / 1000
        number = self.tell_begin("begin", run.place, limit, source, event=event, began=began)
        self._running.append(run)
        try:
            return await run
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._running.remove(run)
            has_failed = error is not None and not isinstance(error, asyncio.CancelledError)
            ended = math.ceil(1000 * time.monotonic()) / 1000  # not less than it took
            self.tell_end(number, has_failed, ended)
            seconds = ended - began
            self.records.append(Record(*run.place, seconds, run.longest, error, event, app))

    # -- what it says -----------------------------------------------------------------------------

    def tell_begin(
        self,
        word: str,
        place: Place,
        limit: float,
        source: str,
        thread: int = 0,
        event: str = "",
        began: float | None = None,
    ) -> int:
        """Tell main that something with a limit begins.

        Args:
            word: `begin` for a handler, `work` for background work.
            thread: the `ident` of its own thread, if it has one.
            event: of a handler: whose it is.
            began: when, on the monotonic clock, in whole milliseconds (see `now`). `None`: now.

        Returns:
            The number by which its end is told of.
        """
        number = next(self._numbers)
        began = now() if began is None else began
        self.tell(word, number, *place, limit, source, thread, event, began)
        return number

    def tell_end(self, number: int, has_failed: bool = False, ended: float | None = None) -> None:
        ended = now() if ended is None else ended
        self.tell("end", number, int(has_failed), ended)

    def _summarise(self, moment: float) -> None:
        """Say where the time of the start has gone. The parts add up to the whole."""
        assert self._imported is not None
        total = moment - self._began
        rest = moment - self._imported
        # Without main nobody knows when the import began.
        parts = [f"import {self._imported - self._began:.2f} s"] if self.supervised else []
        places = {Place(*record[:3]) for record in self.records}
        names = [place.name for place in places]
        for record in self.records:
            mark = " (blocked the event loop)" if record.blocked > BLOCKED else ""
            if self._primary is not None and record.app == self._primary.name:
                rest -= record.seconds
            else:
                mark = f" (of {record.app}){mark}"
            at = f" ({os.path.basename(record.file)}:{record.line})"
            called = record.name + (at if names.count(record.name) > 1 else "")
            parts.append(f"{called} {record.seconds:.2f} s{mark}")
        if self._extensions >= 0.005:
            rest -= self._extensions
            parts.append(f"extensions {self._extensions:.2f} s")
        parts.append(f"Sanic {max(rest, 0.0):.2f} s")
        name = os.environ.get("SANIC_WORKER_NAME", "server")
        level = logging.INFO if self.supervised else logging.DEBUG
        log.log(level, "%s [%d] is up after %.2f s: %s", name, os.getpid(), total, ", ".join(parts))

    def fail(self, why: str) -> None:
        """Have main say why this worker can't start, and do what follows from that."""
        if not self.tell("failed", why):
            log.error("this worker does not start: %s", why)

    def fail_early(self, error: BaseException) -> None:
        """No handler has run yet, and Sanic has printed the traceback."""
        what = f"{type(error).__name__}: {error}"
        self.tell("failed", f"{what} (its traceback is above)")

    def explain(self, error: BaseException) -> str:
        """Why a handler has failed, in the words of the log."""
        from .explanations import explain, explain_unplaced

        for record in self.records:
            if record.error is error:
                what = f"its {record.event} handler {record.name}"
                place = Place(*record[:3])
                return explain(error, what, place, record.seconds, event=record.event)
        return explain_unplaced(error, "the start of the app")

    def where(self, frame: FrameType | None) -> list[object]:
        """Whether the handler awaits, and the frames in which it does, innermost first.

        Frames on the stack are not repeated: main has them already.
        """
        if not self._running or any(run.is_running for run in self._running):
            return [False, []]
        return [True, self._running[0].awaiting()]  # the one that has waited longest


def refuse_misplaced(apps: Iterable[App] | None = None) -> None:
    """`decorators.refuse_misplaced`, where anything has been decorated at all."""
    decorators = sys.modules.get("sanic_reaper.decorators")
    if decorators is not None:
        decorators.refuse_misplaced(apps)


def now() -> float:
    """On the monotonic clock, in the milliseconds that main writes down: so each who tells of it
    comes to the same number."""
    return round(time.monotonic(), 3)


def _nobody(*words: object) -> bool:
    return False


def noted(listener: Any) -> Handler | None:
    """What its user has said of a listener, if anything: through a decorator of ours beneath it."""
    while not isinstance(listener, Handler):
        # A partial of what was decorated, or a wrapper of the user's around it.
        listener = getattr(listener, "func", None) or getattr(listener, "__wrapped__", None)
        if listener is None:
            return None
    return listener


class _LatePart:
    """The listeners that run when the worker listens already, in a task that can be left behind."""

    def __init__(self, listeners: Awaitable[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(outcome(listeners))
        self._is_left = self._loop.create_future()
        self._is_cancelled = False

    @property
    def is_over(self) -> bool:
        return self._task.done()

    async def wait(self) -> BaseException | None:
        """Until they have ended, or are left behind. Returns what they have raised."""
        await asyncio.wait({self._task, self._is_left}, return_when=asyncio.FIRST_COMPLETED)
        return self._task.result() if self._task.done() else None

    def cancel(self) -> None:
        """Cancel them, and leave them behind if that does not help. The first call counts."""
        if not self._is_cancelled:
            self._is_cancelled = True
            self._task.cancel()
            self._loop.call_later(CANCELLED, self._leave)

    def _leave(self) -> None:
        if not self._task.done():
            # asyncio would complain of it, with its place alone, when the process ends.
            self._task._log_destroy_pending = False  # type: ignore[attr-defined]
            self._is_left.set_result(None)
