"""Work that a worker does beside its first requests: `@background`.

It begins when the worker has acked. Until all of it is done, requests are answered with `NotReady`
by a middleware that stands in each route's own list, and is taken out again: afterwards a request
costs what it did before.

With a client of sanic-testing requests wait instead. Such a client sends its request before the
app's start is over, and stops the app when it has the answer.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

from sanic import Request
from sanic.exceptions import ServiceUnavailable

from ..compat import sanic_app, sanic_listeners
from ..compat.sanic_app import App
from ..log import log
from . import explanations, handlers
from .handlers import Background, Place, StartupTimeout
from .startup import Startup, now
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
        self.task: asyncio.Task[None] | None = None
        """What sees to it, once it has begun."""
        self.error: BaseException | None = None
        """Why it has failed."""

    @property
    def arguments(self) -> tuple[Any, ...]:
        return sanic_listeners.listener_arguments(self.listener, self.app)

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
        self._gated: list[Any] = []
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
        """This app's start is over, or a request has come: see to what has not begun yet."""
        loop = asyncio.get_running_loop()
        for work in self.pending:
            if work.app is app and work.task is None:
                work.began = time.monotonic()
                is_async = handlers.is_async(work.listener)
                run = self._run_coroutine if is_async else self._run_thread
                work.task = loop.create_task(run(work))
                self._tasks.append(work.task)
        if self.ready:
            self.open_gate()

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

    def close_gate(self, apps: Iterable[App]) -> None:
        """Before the first request can come. Again, when another app has its routes."""
        if self.ready and self._process.supervised:
            return
        for route in (route for app in apps for route in app.router.routes):
            before = route.extra.request_middleware
            if self._is_gated(route) and self._gate not in before:
                self._gated.append(route)
                clients = [one for one in before if _is_of_a_client(one)]
                others = [one for one in before if one not in clients]
                route.extra.request_middleware = deque([*clients, self._gate, *others])

    def _is_gated(self, route: Any) -> bool:
        """A start of an app's own needs each request: the first one may have to begin the work."""
        return not self._process.supervised or not _is_exempt(route)

    def open_gate(self) -> None:
        """A new list, for a request may be on its way through the old one; and without the gate
        alone, for a test client has put something of its own in there."""
        for route in self._gated:
            kept = [one for one in route.extra.request_middleware if one != self._gate]
            route.extra.request_middleware = deque(kept)
        self._gated.clear()

    async def _gate(self, request: Request) -> None:
        if not self._process.awaits_listeners:
            self.begin(request.app)
        if sanic_app.in_test_mode() and not self._process.supervised:
            await self._wait()
        elif not self.ready and not _is_exempt(request.route):
            raise NotReady

    async def _wait(self) -> None:
        """Until a request can be answered.

        Raises:
            RuntimeError: it never can. The client gets 500, and the test that sends the request
                finds the reason in the log.
        """
        works = [work for work in self.pending if work.options.ready_when_done]
        tasks = [work.task for work in works if work.task is not None]
        if tasks:
            await asyncio.wait(tasks)
        for work in works:
            if work.error is not None:
                raise RuntimeError(f"background work {work.place} has failed") from work.error

    async def _run_coroutine(self, work: Work) -> None:
        self._tell_begin(work)
        await self._await(work, call_with(work.listener, *work.arguments))

    async def _await(self, work: Work, coroutine: Coroutine[Any, Any, Any]) -> None:
        run = Run(coroutine, place=work.place)
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
            self.open_gate()
        self._process.tell_if_ready(now())

    def _fail(self, work: Work, error: BaseException, frames: list[explanations.Frame]) -> None:
        """The worker can't do what it was started for: a failed start, later than others."""
        work.error = error
        if self._failed:
            return
        self._failed = True
        seconds = time.monotonic() - work.began
        what = f"its background work {work.place.name}"
        self._process.fail(explanations.explain(error, what, work.place, seconds, frames))
        if not self._process.supervised and not sanic_app.in_test_mode():
            sanic_app.end_with(1)
            work.app.stop(terminate=False)


def _is_of_a_client(middleware: Any) -> bool:
    """Whether a test client notes the request with it, which it shall do whatever the answer is."""
    return handlers.package_of(getattr(middleware, "func", middleware)) == "sanic_testing"


def _is_exempt(route: Any) -> bool:
    return bool(getattr(route.ctx, handlers.EXEMPT, False))


async def _awaited(result: Awaitable[Any]) -> Any:
    return await result
