"""One handler of a start, run step by step: what a step takes is seen, and its limit reaches it in
any of them.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import time
from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any, ClassVar

from .alarm import Alarm
from .handlers import Place, StartupTimeout

if TYPE_CHECKING:
    from .explanations import Frame

NOWHERE = Place("?", "", 0)


BLOCKED = 0.1
"""Seconds that a handler may hold the event loop before somebody is told."""


async def call_with(handler: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    result = handler(*args, **kwargs)
    return await result if inspect.isawaitable(result) else result


async def outcome(awaitable: Awaitable[Any]) -> BaseException | None:
    """What it raises. A task that raises `SystemExit` would end the event loop, and with it all
    that is to be said of it."""
    try:
        await awaitable
    except BaseException as error:
        return error
    return None


class Run:
    """One handler, run step by step in the task that awaits this.

    Args:
        coroutine: the handler.
        timeout: what to raise inside it at its limit, if it has one.
        place: what it is called, and where it stands.
    """

    last_long: ClassVar[Place] = NOWHERE
    """The one whose step was the last to hold the event loop for longer than `BLOCKED`."""

    def __init__(
        self, coroutine: Any, timeout: StartupTimeout | None = None, place: Place = NOWHERE
    ) -> None:
        self.place = place
        self.began = time.monotonic()
        self.longest = 0.0
        self.is_running = False
        self._coroutine = coroutine
        self._timeout = timeout
        self._expired = False
        self._future: Any = None
        """What its task waits for."""
        self._task: asyncio.Task[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __await__(self) -> Generator[Any, None, Any]:
        self._task, self._loop = asyncio.current_task(), asyncio.get_running_loop()
        with Alarm(self._timeout.limit if self._timeout else 0.0, self._expire):
            step: Callable[[], Any] = lambda: self._coroutine.send(None)  # noqa: E731
            while True:
                began = time.perf_counter()
                self.is_running = True
                try:
                    awaited = step()
                except StopIteration as end:
                    return end.value
                finally:
                    self.is_running = False
                    took = time.perf_counter() - began
                    self.longest = max(self.longest, took)
                    if took > BLOCKED:
                        Run.last_long = self.place
                self._future = awaited
                try:
                    yield awaited
                except GeneratorExit:
                    self._coroutine.close()
                    raise
                except BaseException as error:
                    thrown = self._what_was_meant(error)
                    step = lambda: self._coroutine.throw(thrown)  # noqa: B023, E731
                else:
                    step = lambda: self._coroutine.send(None)  # noqa: E731

    def _what_was_meant(self, error: BaseException) -> BaseException:
        """A cancellation of ours is the timeout, in the words that asyncio understands."""
        if not self._expired or not isinstance(error, asyncio.CancelledError):
            return error
        self._expired = False
        if sys.version_info >= (3, 11) and self._task is not None:
            self._task.uncancel()
        assert self._timeout is not None
        return self._timeout

    def _expire(self) -> None:
        """In a signal handler."""
        assert self._timeout is not None
        if self.is_running:
            self._timeout.blocked = True
            raise self._timeout
        self._expired = True
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._wake)

    def expire(self, timeout: StartupTimeout) -> None:
        """Raise it inside the handler now, which awaits something: we are another task."""
        self._timeout, self._expired = timeout, True
        self._wake()

    def _wake(self) -> None:
        if self._expired and self._task is not None:
            self._task.cancel()

    def awaiting(self) -> list[Frame]:
        """The lines in which it and what it awaits are suspended, innermost first."""
        found: list[Frame] = []
        awaited, future = self._coroutine, self._future
        while awaited is not None and len(found) < 100:
            frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
            if frame is None:  # the iterator of a future, which does not tell whose it is
                if not isinstance(future, asyncio.Task):
                    break
                awaited, future = future.get_coro(), getattr(future, "_fut_waiter", None)
                continue
            found.append((frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
            awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
        return found[::-1]
