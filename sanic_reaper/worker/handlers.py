"""What a start handler is called in a log, and what its user has said of it."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple


class Place(NamedTuple):
    """Something in the user's code: a handler, or a line that one sits in."""

    name: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.name} ({self.file}:{self.line})" if self.file else self.name


class StartupTimeout(TimeoutError):
    """A handler of `before_server_start` or `after_server_start`, or work in the background, took
    longer than it may.

    Raised inside it, so that its `finally` blocks run.

    Attributes:
        place: the handler.
        limit: the seconds that it had.
        source: who set the limit: `@startup_timeout`, `@background` or `REAPER_HANDLER_TIMEOUT`.
        blocked: whether it blocked the event loop at that moment; else it awaited something.
    """

    def __init__(self, place: Place, limit: float, source: str) -> None:
        super().__init__(f"{place} has not finished within {limit:g} s ({source})")
        self.place = place
        self.limit = limit
        self.source = source
        self.blocked = False


EXEMPT = "reaper_exempt"
"""What a route says that answers during background work too:
`@app.get("/health", ctx_reaper_exempt=True)`."""


class Background(NamedTuple):
    timeout: float
    """Seconds that it may take. 0: no limit."""
    ready_when_done: bool
    """Whether requests are turned away until it is done."""


class Handler:
    """A handler with what its user has said of it. Called, it is the handler and nothing more."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.__wrapped__ = function
        functools.update_wrapper(self, function)
        self.timeout: float | None = None
        self.background: Background | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__wrapped__(*args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> Handler:
        if instance is None:
            return self
        bound = copy.copy(self)
        bound.__wrapped__ = self.__wrapped__.__get__(instance, owner)
        return bound


def describe(listener: Any) -> Place:
    """What a handler is called: by its own name and line, not by those of what wraps it."""
    function = unwrapped(listener)
    code = getattr(function, "__code__", None)
    name = getattr(function, "__qualname__", None) or type(function).__name__
    short = name.rpartition("<locals>.")[2]
    if code is None:
        return Place(short, "", 0)
    return Place(short.removesuffix(".__call__"), code.co_filename, code.co_firstlineno)


def is_async(listener: Any) -> bool:
    """Whether what is called first is a coroutine function; beneath it there may be what it will.

    A wrapper that runs a coroutine function by `asyncio.run` is a function.
    """
    return inspect.iscoroutinefunction(unwrapped(listener, to_the_bottom=False))


def unwrapped(listener: Any, to_the_bottom: bool = True) -> Any:
    """The function beneath partials, methods and callable objects.

    Args:
        to_the_bottom: beneath the user's own wrappers too.
    """
    for _ in range(100):
        if isinstance(listener, functools.partial):
            listener = listener.func
        elif isinstance(listener, Handler) or (to_the_bottom and hasattr(listener, "__wrapped__")):
            listener = listener.__wrapped__
        elif inspect.ismethod(listener):
            listener = listener.__func__
        elif not hasattr(listener, "__code__") and hasattr(type(listener).__call__, "__code__"):
            listener = type(listener).__call__
        else:
            break
    return listener


def is_internal(listener: Any) -> bool:
    """Whether it is of Sanic's, sanic-ext's or ours: of no interest to the user.

    A client of sanic-testing sends its request in a listener: that is no part of a start.
    """
    return package_of(listener) in ("sanic", "sanic_ext", "sanic_testing", "sanic_reaper")


def package_of(listener: Any) -> str:
    """The top-level package that it comes from. "": unknown."""
    return (getattr(unwrapped(listener), "__module__", None) or "").partition(".")[0]
