"""Background work (`@background`): handlers that run beside a worker's first requests.

The work begins when the worker has acked. Until all of it is done, requests are answered with
`NotReady` by a middleware in each route's own list. Then the middleware is removed, so that a
request costs what it did before.

With a client of sanic-testing, requests wait instead. Such a client sends its request before the
app's start is complete, and stops the app when it has the answer.
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
from .handlers import BackgroundOptions, Place, StartupTimeout
from .startup import Startup, now
from .stepping import HandlerRun, call_with, error_of

TIMEOUT_GRACE = 1.0
"""Seconds that background work gets to end after `StartupTimeout` was raised in it."""

RETRY_AFTER = 2
"""Seconds that the response header `Retry-After` tells a client to wait."""


class NotReady(ServiceUnavailable):
    """The answer to a request while background work goes on: 503.

    `@app.exception(NotReady)` replaces the response.
    """

    def __init__(self) -> None:
        super().__init__("not ready yet", quiet=True, headers={"Retry-After": str(RETRY_AFTER)})


class BackgroundWork:
    """One handler that runs in the background.

    Args:
        app: the app that starts.
        listener: the handler as it was registered, perhaps a partial with arguments.
        place: name and line of the handler.
        options: the arguments of `@background`.
    """

    def __init__(
        self, app: App, listener: Callable[..., Any], place: Place, options: BackgroundOptions
    ) -> None:
        self.app = app
        self.listener = listener
        self.place = place
        self.options = options
        self.began = 0.0
        """Monotonic time at which the work began."""
        self.number = 0
        """The number by which main knows the work."""
        self.task: asyncio.Task[None] | None = None
        """The task that runs the work and enforces its limit. `None`: the work has not begun."""
        self.error: BaseException | None = None
        """Why the work has failed. `None`: it has not."""

    @property
    def arguments(self) -> tuple[Any, ...]:
        """The arguments with which Sanic would call the handler."""
        return sanic_listeners.listener_arguments(self.listener, self.app)

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the limit. `None`: there is no limit."""
        limit = self.options.timeout
        return max(0.0, self.began + limit - time.monotonic()) if limit else None

    @property
    def timeout(self) -> StartupTimeout:
        """What is raised in the handler at its limit."""
        limit = self.options.timeout
        return StartupTimeout(self.place, limit, f"@background(timeout={limit:g})")


class BackgroundTasks:
    """The background work of one start.

    Args:
        start: is told when work begins and ends.
    """

    def __init__(self, start: Startup) -> None:
        self.pending: list[BackgroundWork] = []
        """The work that is not done yet."""
        self._start = start
        self._gated: list[Any] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._has_failed = False

    @property
    def is_ready(self) -> bool:
        """Whether no work that is left keeps requests from being answered."""
        return not any(work.options.ready_when_done for work in self.pending)

    def add(
        self, app: App, listener: Callable[..., Any], place: Place, options: BackgroundOptions
    ) -> None:
        """Take a handler, to be run later."""
        self.pending.append(BackgroundWork(app, listener, place, options))

    def begin(self, app: App) -> None:
        """Begin the work of one app: the app is up, or a request has come."""
        loop = asyncio.get_running_loop()
        for work in self.pending:
            if work.app is app and work.task is None:
                work.began = time.monotonic()
                is_async = handlers.is_async(work.listener)
                run = self._run_coroutine if is_async else self._run_thread
                work.task = loop.create_task(run(work))
                self._tasks.append(work.task)
        if self.is_ready:
            self.open_gate()

    async def cancel(self) -> None:
        """Cancel the work, because the worker stops. A coroutine gets a second to clean up; a
        thread is left behind.

        The app's own list of tasks was rejected. Sanic cancels the tasks that have a name, does not
        run the loop for them to end, and waits for ever if they don't (`Sanic.shutdown_tasks`).
        """
        tasks = [task for task in self._tasks if not task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def close_gate(self, apps: Iterable[App]) -> None:
        """Have requests turned away. Called before the first request can come, and for each app."""
        if self.is_ready and self._start.is_supervised:
            return
        for route in (route for app in apps for route in app.router.routes):
            before = getattr(route.extra, "request_middleware", None)
            if before is None:
                self._start.send("lacks", "middleware of a route")
                return
            if self._is_gated(route) and self._gate not in before:
                self._gated.append(route)
                clients = [one for one in before if _is_of_a_client(one)]
                others = [one for one in before if one not in clients]
                route.extra.request_middleware = deque([*clients, self._gate, *others])

    def _is_gated(self, route: Any) -> bool:
        """Whether requests of a route meet the gate.

        Without a main process every route does: the first request may have to begin the work.
        """
        return not self._start.is_supervised or not _is_exempt(route)

    def open_gate(self) -> None:
        """Let requests through.

        Each route gets a new list, because a request may be on its way through the old one. Only
        the gate is left out: a test client may have added a middleware of its own.
        """
        for route in self._gated:
            kept = [one for one in route.extra.request_middleware if one != self._gate]
            route.extra.request_middleware = deque(kept)
        self._gated.clear()

    async def _gate(self, request: Request) -> None:
        if not self._start.awaits_listeners:
            self.begin(request.app)
        if sanic_app.in_test_mode() and not self._start.is_supervised:
            await self._wait()
        elif not self.is_ready and not _is_exempt(request.route):
            raise NotReady

    async def _wait(self) -> None:
        """Wait until a request can be answered.

        Raises:
            RuntimeError: it never can be. The client gets 500, and the reason is in the log.
        """
        works = [work for work in self.pending if work.options.ready_when_done]
        tasks = [work.task for work in works if work.task is not None]
        if tasks:
            await asyncio.wait(tasks)
        for work in works:
            if work.error is not None:
                raise RuntimeError(f"background work {work.place} has failed") from work.error

    async def _run_coroutine(self, work: BackgroundWork) -> None:
        self._send_begin(work)
        await self._await(work, call_with(work.listener, *work.arguments))

    async def _await(self, work: BackgroundWork, coroutine: Coroutine[Any, Any, Any]) -> None:
        run = HandlerRun(coroutine, place=work.place)
        task = asyncio.ensure_future(error_of(run))
        try:
            await asyncio.wait([task], timeout=work.seconds_left)
            if task.done():
                self._on_end(work, task.result())
                return
            frames = run.awaited_frames()
            run.expire(work.timeout)
            await asyncio.wait([task], timeout=TIMEOUT_GRACE)
            self._on_failure(work, work.timeout, frames)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait([task], timeout=TIMEOUT_GRACE)
            raise
        finally:
            self._start.send_end(work.number)

    async def _run_thread(self, work: BackgroundWork) -> None:
        """Run the work in a thread of its own.

        The interpreter's exit would wait for a thread of the loop's executor.
        """
        loop = asyncio.get_running_loop()
        arguments = work.arguments  # here: one of them may be this loop
        ended: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()

        def run() -> None:
            result, error = None, None
            self._send_begin(work, threading.get_ident())
            try:
                result = work.listener(*arguments)
            except BaseException as raised:
                error = raised
            # Sent from this thread, because the event loop can be blocked by something else.
            self._start.send_end(work.number, error is not None)
            try:
                loop.call_soon_threadsafe(ended.set_result, (result, error))
            except RuntimeError:  # the loop is closed: nobody waits any more
                pass

        thread = threading.Thread(target=run, name=f"background {work.place.name}", daemon=True)
        thread.start()
        await asyncio.wait([ended], timeout=work.seconds_left)
        if not ended.done():
            self._on_failure(work, work.timeout, explanations.frames_of_thread(thread.ident))
            return
        result, error = ended.result()
        if inspect.isawaitable(result):  # of a function that wraps a coroutine function
            self._send_begin(work)
            await self._await(work, _await_result(result))
        else:
            self._on_end(work, error)

    def _send_begin(self, work: BackgroundWork, thread: int = 0) -> None:
        """Tell main the limit.

        Main has this worker killed if the worker can't enforce the limit by itself, because the
        event loop is blocked or the GIL is held.
        """
        source = work.timeout.source
        work.number = self._start.send_begin(
            "work", work.place, work.options.timeout, source, thread
        )

    def _on_end(self, work: BackgroundWork, error: BaseException | None) -> None:
        if error is None:
            self._on_done(work)
        else:
            self._on_failure(work, error, [])

    def _on_done(self, work: BackgroundWork) -> None:
        self.pending.remove(work)
        log.info("%s is done after %.2f s", work.place, time.monotonic() - work.began)
        if self.is_ready:
            self.open_gate()
        self._start.send_if_ready(now())

    def _on_failure(
        self, work: BackgroundWork, error: BaseException, frames: list[explanations.Frame]
    ) -> None:
        """Treat the failure as a failed start."""
        work.error = error
        if self._has_failed:
            return
        self._has_failed = True
        seconds = time.monotonic() - work.began
        what = f"its background work {work.place.name}"
        self._start.fail(explanations.explain(error, what, work.place, seconds, frames))
        if not self._start.is_supervised and not sanic_app.in_test_mode():
            sanic_app.exit_single_process_with(1)
            work.app.stop(terminate=False)


def _is_of_a_client(middleware: Any) -> bool:
    """Whether a middleware belongs to a test client, which must see each request first."""
    return handlers.package_of(getattr(middleware, "func", middleware)) == "sanic_testing"


def _is_exempt(route: Any) -> bool:
    return bool(getattr(route.ctx, handlers.EXEMPT, False))


async def _await_result(result: Awaitable[Any]) -> Any:
    return await result
