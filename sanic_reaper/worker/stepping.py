"""Runs one handler step by step: each step is timed, and a limit reaches the handler anywhere."""

from __future__ import annotations

import asyncio
import inspect
import sys
import time
from collections.abc import Awaitable, Callable, Generator
from types import FrameType
from typing import TYPE_CHECKING, Any, ClassVar

from .alarm import Alarm
from .handlers import Place, StartupTimeout

if TYPE_CHECKING:
    from .explanations import Frame

NOWHERE = Place("?", "", 0)
"""The place of what has no name."""

BLOCKED = 0.1
"""Seconds that a step may take before the handler is reported as blocking the event loop."""


async def call_with(handler: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function or a coroutine function."""
    result = handler(*args, **kwargs)
    return await result if inspect.isawaitable(result) else result


async def error_of(awaitable: Awaitable[Any]) -> BaseException | None:
    """Await something, and return what it raises.

    For tasks: a task that raises `SystemExit` ends the event loop, and nothing more is logged.
    """
    try:
        await awaitable
    except BaseException as error:
        return error
    return None


class HandlerRun:
    """One handler, run step by step in the task that awaits this object.

    Args:
        coroutine: the handler.
        timeout: what to raise inside the handler at its limit. `None`: no limit.
        place: name and line of the handler.
    """

    last_blocking: ClassVar[Place] = NOWHERE
    """The handler whose step was the latest to hold the event loop for longer than `BLOCKED`."""

    def __init__(
        self, coroutine: Any, timeout: StartupTimeout | None = None, place: Place = NOWHERE
    ) -> None:
        self.place = place
        self.began = time.monotonic()
        self.longest_step = 0.0
        """Seconds of the longest step."""
        self.is_running = False
        """Whether a step runs now. If not, the handler awaits something."""
        self._coroutine = coroutine
        self._timeout = timeout
        self._expired = False
        self._future: Any = None
        """What the task waits for."""
        self._task: asyncio.Task[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __await__(self) -> Generator[Any, None, Any]:
        self._task, self._loop = asyncio.current_task(), asyncio.get_running_loop()
        with Alarm(self._timeout.limit if self._timeout else 0.0, self._on_alarm):
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
                    self.longest_step = max(self.longest_step, took)
                    if took > BLOCKED:
                        HandlerRun.last_blocking = self.place
                self._future = awaited
                try:
                    yield awaited
                except GeneratorExit:
                    self._coroutine.close()
                    raise
                except BaseException as error:
                    thrown = self._translated(error)
                    step = lambda: self._coroutine.throw(thrown)  # noqa: B023, E731
                else:
                    step = lambda: self._coroutine.send(None)  # noqa: E731

    @classmethod
    def coroutine_of(cls, frame: FrameType) -> Any:
        """The handler that a frame runs step by step. `None`: it is no frame of `__await__`."""
        is_ours = frame.f_code is cls.__await__.__code__
        return frame.f_locals["self"]._coroutine if is_ours else None

    def _translated(self, error: BaseException) -> BaseException:
        """The timeout, if an error is the cancellation by which `_wake` has reported it."""
        if not self._expired or not isinstance(error, asyncio.CancelledError):
            return error
        self._expired = False
        if sys.version_info >= (3, 11) and self._task is not None:
            self._task.uncancel()
        assert self._timeout is not None
        return self._timeout

    def _on_alarm(self) -> None:
        """Raise the timeout inside the handler. Called in a signal handler."""
        assert self._timeout is not None
        if self.is_running:
            self._timeout.blocked = True
            raise self._timeout
        self._expired = True
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._wake)

    def expire(self, timeout: StartupTimeout) -> None:
        """Raise `timeout` inside the handler, which awaits something. Called in another task."""
        self._timeout, self._expired = timeout, True
        self._wake()

    def _wake(self) -> None:
        if self._expired and self._task is not None:
            self._task.cancel()

    def awaited_frames(self) -> list[Frame]:
        """The lines in which the handler and what it awaits are suspended, innermost first."""
        found: list[Frame] = []
        awaited, future = self._coroutine, self._future
        while awaited is not None and len(found) < 100:
            frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
            if frame is None:  # the iterator of a future, which does not name its owner
                if not isinstance(future, asyncio.Task):
                    break
                awaited, future = future.get_coro(), getattr(future, "_fut_waiter", None)
                continue
            found.append((frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
            awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
        return found[::-1]
