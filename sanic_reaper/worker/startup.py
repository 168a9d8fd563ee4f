"""A worker's start: its `before_server_start` handlers, each timed, limited and told of.

Every handler is run by a `Run`, which sees each of its steps. So it knows at any moment whether
the handler blocks the event loop or awaits something, and at its limit can raise `StartupTimeout`
inside it in either case: a handler that blocks in Python code is interrupted by a signal, one that
awaits is woken. What neither reaches, code in C and a handler that swallows everything, main ends
from outside a second later (`launch`).

This works in any process that starts an app. What goes to main goes nowhere where there is none.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import internals
from ..internals import App
from ..log import log
from . import handlers
from .handlers import Background, Handler, Place, StartupTimeout
from .stepping import Run, call_with

if TYPE_CHECKING:
    from .deferred import Backgrounds

BLOCKED = 0.1
"""Seconds that a handler may hold the event loop before the summary says so."""

KEY = "REAPER_HANDLER_TIMEOUT"


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


class Startup:
    """The start of this process.

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
        self._primary: App | None = None
        self._starting: set[str] = set()
        """The apps whose start has begun and is not over. Several at once: the primary app's start
        begins those of secondary apps, as tasks."""
        self.has_served = False
        """Whether the primary app does."""
        self._numbers = itertools.count()
        self._running: list[Run] = []
        """Of several apps, several at once."""
        self.background: Backgrounds | None = None

    # -- what Sanic calls -------------------------------------------------------------------------

    async def before(self, app: App, run_listeners: Callable[[], Awaitable[None]]) -> None:
        """Run an app's `before_server_start` handlers.

        Raises:
            SystemExit: a handler has failed in a supervised worker. Main has been told why, and
                says it once; Sanic would print what it has already printed, and more.
        """
        if self._primary is None:
            self._primary = app
            self._imported = time.monotonic() - self._began
        self._starting.add(app.name)
        for route in internals.start_handlers(app):
            self._wrap(route)
        await self._run_all(run_listeners, self.explain)
        if app is self._primary:
            self._summarise()
        if self.background is not None:
            self.background.close_gate()

    async def after(self, app: App, run_listeners: Callable[[], Awaitable[None]]) -> None:
        """Run an app's `after_server_start` listeners. Then what was put off begins.

        Raises:
            SystemExit: as `before`.
        """
        await self._run_all(run_listeners, _explain_late)
        self._starting.discard(app.name)
        self.has_served = self.has_served or app is self._primary
        if self.background is not None:
            self.background.begin(app)
        self.tell_if_ready()

    def tell_if_ready(self) -> None:
        """Have main know it when all is done that this worker was started for; and before that,
        when what is left to do keeps no request from being answered."""
        works = self.background is not None and self.background.pending
        if self.has_served and not self._starting and not works:
            self.tell("ready")
        elif self.ready:
            self.tell("open")

    async def _run_all(
        self, run_listeners: Callable[[], Awaitable[None]], explain: Callable[[BaseException], str]
    ) -> None:
        try:
            await run_listeners()
        except BaseException as error:
            # KeyboardInterrupt and CancelledError too: in a worker no stop of ours is one of them
            # (`worker._Drain`), so a handler has raised it.
            if not self.supervised or isinstance(error, GeneratorExit):
                raise
            self.fail(explain(error))
            raise error if isinstance(error, SystemExit) else SystemExit(1) from None

    @property
    def supervised(self) -> bool:
        return self.tell is not _nobody

    @property
    def ready(self) -> bool:
        """Whether requests are answered: each app serves, its background work is done."""
        is_up = self.has_served and not self._starting
        return is_up and (self.background is None or self.background.ready)

    def _wrap(self, route: Any) -> None:
        handler = route.handler
        listener = internals.listener_of(handler)
        if handlers.is_internal(listener) or getattr(handler, "reaper_wrapped", False):
            return
        place = handlers.describe(listener)
        said = noted(listener)

        async def run(**params: Any) -> Any:
            if said is not None and said.background:
                self._defer(params["app"], listener, place, said.background)
                return None
            return await self._run(handler, params, place, *self._limit(said))

        run.reaper_wrapped = True  # type: ignore[attr-defined]
        route.handler = run

    def _defer(
        self, app: App, listener: Callable[..., Any], place: Place, options: Background
    ) -> None:
        if self.background is None:
            from .deferred import Backgrounds  # most workers have none

            self.background = Backgrounds(self)
        self.background.add(app, listener, place, options)

    def _limit(self, said: Handler | None) -> tuple[float, str]:
        if said is not None and said.timeout is not None:
            return said.timeout, f"@startup_timeout({said.timeout:g})"
        return self._handler_timeout, f"{KEY} = {self._handler_timeout:g}"

    async def _run(
        self, handler: Callable[..., Any], params: Any, place: Place, limit: float, source: str
    ) -> Any:
        error: BaseException | None = None
        number = self.tell_begin("begin", place, limit, source)
        run = Run(
            call_with(handler, **params), StartupTimeout(place, limit, source) if limit else None
        )
        self._running.append(run)
        try:
            return await run
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._running.remove(run)
            has_failed = error is not None and not isinstance(error, asyncio.CancelledError)
            self.tell("end", number, int(has_failed))
            record = Record(*place, time.perf_counter() - run.began, run.longest, error)
            self.records.append(record)

    # -- what it says -----------------------------------------------------------------------------

    def tell_begin(
        self, word: str, place: Place, limit: float, source: str, thread: int = 0
    ) -> int:
        """Tell main that something with a limit begins.

        Args:
            word: `begin` for a handler, `work` for background work.
            thread: the `ident` of its own thread, if it has one.

        Returns:
            The number by which its end is told of.
        """
        number = next(self._numbers)
        self.tell(word, number, *place, limit, source, thread)
        return number

    def _summarise(self) -> None:
        # Without main nobody knows when the import began.
        parts = [f"import {self._imported or 0.0:.2f} s"] if self.supervised else []
        for record in self.records:
            mark = " (blocked the event loop)" if record.blocked > BLOCKED else ""
            parts.append(f"{record.name} {record.seconds:.2f} s{mark}")
        total = time.monotonic() - self._began
        name = os.environ.get("SANIC_WORKER_NAME", "server")
        spent = f": {', '.join(parts)}" if parts else ""
        level = logging.INFO if self.supervised else logging.DEBUG
        log.log(level, "%s [%d] is up after %.2f s%s", name, os.getpid(), total, spent)

    def fail(self, why: str) -> None:
        """Have main say why this worker can't start, and do what follows from that."""
        if not self.tell("failed", why):
            log.error("this worker does not start: %s", why)

    def explain(self, error: BaseException) -> str:
        """Why a handler has failed, in the words of the log."""
        from .explanations import explain, explain_unplaced

        for record in self.records:
            if record.error is error:
                what = f"its before_server_start handler {record.name}"
                return explain(error, what, Place(*record[:3]), record.seconds)
        return explain_unplaced(error, "the start of the app")

    def where(self, frame: FrameType | None) -> list[object]:
        """Whether the handler awaits, and the frames in which it does, innermost first.

        Frames on the stack are not repeated: main has them already.
        """
        if not self._running or any(run.is_running for run in self._running):
            return [False, []]
        return [True, self._running[0].awaiting()]  # the one that has waited longest


def of_this_process(app: App) -> Startup | None:
    """The start that this process is in; `None` where the Reaper is switched off.

    Raises:
        SystemExit: a setting has a bad value, or a handler is misplaced. In a worker main has seen
            to that.
    """
    global _current
    if _current is None:
        from ..config import Settings

        settings = Settings.read_or_exit(app.config)
        if settings.enabled:
            refuse_misplaced()
            _current = Startup(settings.handler_timeout, time.monotonic())
    return _current


def refuse_misplaced() -> None:
    """`decorators.refuse_misplaced`, where anything has been decorated at all."""
    decorators = sys.modules.get("sanic_reaper.decorators")
    if decorators is not None:
        decorators.refuse_misplaced()


def take_over(startup: Startup) -> None:
    """In a worker, before anything else: this is its start."""
    global _current
    _current = startup


_current: Startup | None = None


def _explain_late(error: BaseException) -> str:
    from .explanations import explain_unplaced

    return explain_unplaced(error, "an after_server_start listener")


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
