"""Work that a worker does beside its first requests: `@background`.

It begins when the worker has acked. Until all of it is done, requests are answered with `NotReady`
by a middleware that stands in each route's own list, and is taken out again: afterwards a request
costs what it did before.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from sanic import Request
from sanic.exceptions import ServiceUnavailable

from .. import internals
from ..internals import App
from ..log import log
from . import explanations, handlers
from .handlers import Background, Place, StartupTimeout
from .startup import Startup
from .stepping import Run, call_with, outcome

SWALLOWED = 1.0
"""Seconds that work may take to end after `StartupTimeout` was raised in it."""

RETRY_AFTER = 2
"""Seconds that a client is told to wait."""


class NotReady(ServiceUnavailable):
    """The worker still does background work. `@app.exception(NotReady)` replaces the response."""

    def __init__(self) -> None:
        super().__init__("not ready yet", quiet=True, headers={"Retry-After": str(RETRY_AFTER)})


class Work:
    """One handler that goes on in the background.

    Args:
        listener: as it was registered: perhaps a partial of what was decorated, with arguments.
    """

    def __init__(
        self, app: App, listener: Callable[..., Any], place: Place, options: Background
    ) -> None:
        self.app = app
        self.listener = listener
        self.place = place
        self.options = options
        self.began = 0.0
        """When it began, on the monotonic clock."""
        self.number = 0
        """By which main knows it."""

    @property
    def arguments(self) -> tuple[Any, ...]:
        return internals.listener_arguments(self.listener, self.app)

    @property
    def left(self) -> float | None:
        """Seconds that it still has. `None`: no limit."""
        limit = self.options.timeout
        return max(0.0, self.began + limit - time.monotonic()) if limit else None

    @property
    def timeout(self) -> StartupTimeout:
        limit = self.options.timeout
        return StartupTimeout(self.place, limit, f"@background(timeout={limit:g})")


class Backgrounds:
    """All of one worker's background work."""

    def __init__(self, process: Startup) -> None:
        self.pending: list[Work] = []
        self._process = process
        self._gated: list[tuple[Any, Any]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._failed = False

    @property
    def ready(self) -> bool:
        return not any(work.options.ready_when_done for work in self.pending)

    def add(
        self, app: App, listener: Callable[..., Any], place: Place, options: Background
    ) -> None:
        self.pending.append(Work(app, listener, place, options))

    def begin(self, app: App) -> None:
        """This app's start is over: the worker has acked, its loop is about to run for good."""
        loop = asyncio.get_running_loop()
        for work in [work for work in self.pending if work.app is app]:
            work.began = time.monotonic()
            is_async = handlers.is_async(work.listener)
            run = self._run_coroutine if is_async else self._run_thread
            self._tasks.append(loop.create_task(run(work)))

    async def cancel(self) -> None:
        """The worker stops. A coroutine may clean up, for a second; a thread is abandoned.

        The app's own list of tasks was the alternative. It cancels those that have a name, does
        not run the loop for them to end, and waits for ever if they don't (`Sanic.shutdown_tasks`).
        """
        tasks = [task for task in self._tasks if not task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def close_gate(self) -> None:
        """Before the first request can come. Again, when another app has its routes."""
        if self.ready:
            return
        for route in internals.routes():
            before = route.extra.request_middleware
            if not getattr(route.ctx, handlers.EXEMPT, False) and _turn_away not in before:
                self._gated.append((route, before))
                route.extra.request_middleware = [_turn_away, *before]

    def _open_gate(self) -> None:
        for route, before in self._gated:
            route.extra.request_middleware = before
        self._gated.clear()

    async def _run_coroutine(self, work: Work) -> None:
        self._tell_begin(work)
        await self._await(work, call_with(work.listener, *work.arguments))

    async def _await(self, work: Work, coroutine: Coroutine[Any, Any, Any]) -> None:
        run = Run(coroutine)
        task = asyncio.ensure_future(outcome(run))
        try:
            await asyncio.wait([task], timeout=work.left)
            if task.done():
                self._conclude(work, task.result())
                return
            frames = run.awaiting()
            run.expire(work.timeout)
            await asyncio.wait([task], timeout=SWALLOWED)
            self._fail(work, work.timeout, frames)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait([task], timeout=SWALLOWED)
            raise
        finally:
            self._process.tell_end(work.number)

    async def _run_thread(self, work: Work) -> None:
        """In a thread of its own: the loop's executor would have the interpreter's exit wait."""
        loop = asyncio.get_running_loop()
        arguments = work.arguments  # here: one of them may be this loop
        ended: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()

        def run() -> None:
            result, error = None, None
            self._tell_begin(work, threading.get_ident())
            try:
                result = work.listener(*arguments)
            except BaseException as raised:
                error = raised
            # From here: what blocks the event loop now is not to be laid at this work's door.
            self._process.tell_end(work.number, error is not None)
            try:
                loop.call_soon_threadsafe(ended.set_result, (result, error))
            except RuntimeError:  # the loop is closed: nobody waits any more
                pass

        thread = threading.Thread(target=run, name=f"background {work.place.name}", daemon=True)
        thread.start()
        await asyncio.wait([ended], timeout=work.left)
        if not ended.done():
            self._fail(work, work.timeout, explanations.frames_of_thread(thread.ident))
            return
        result, error = ended.result()
        if inspect.isawaitable(result):  # of a function that wraps a coroutine function
            self._tell_begin(work)
            await self._await(work, _awaited(result))
        else:
            self._conclude(work, error)

    def _tell_begin(self, work: Work, thread: int = 0) -> None:
        """Main ends this worker if we can't: neither a blocked loop nor the GIL holds main up."""
        source = work.timeout.source
        work.number = self._process.tell_begin(
            "work", work.place, work.options.timeout, source, thread
        )

    def _conclude(self, work: Work, error: BaseException | None) -> None:
        if error is None:
            self._done(work)
        else:
            self._fail(work, error, [])

    def _done(self, work: Work) -> None:
        self.pending.remove(work)
        log.info("%s is done after %.2f s", work.place, time.monotonic() - work.began)
        if self.ready:
            self._open_gate()
        self._process.tell_if_ready()

    def _fail(self, work: Work, error: BaseException, frames: list[explanations.Frame]) -> None:
        """The worker can't do what it was started for: a failed start, later than others."""
        if self._failed:
            return
        self._failed = True
        seconds = time.monotonic() - work.began
        what = f"its background work {work.place.name}"
        self._process.fail(explanations.explain(error, what, work.place, seconds, frames))
        if not self._process.supervised:
            internals.end_with(1)
            work.app.stop(terminate=False)


async def _awaited(result: Awaitable[Any]) -> Any:
    return await result


async def _turn_away(request: Request) -> None:
    raise NotReady
