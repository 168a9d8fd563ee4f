"""What users say of their `before_server_start` handlers, and what a handler is called in a log."""

from __future__ import annotations

import copy
import functools
import inspect
import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

Listener = TypeVar("Listener", bound=Callable[..., Any])


class Place(NamedTuple):
    """Something in the user's code: a handler, or a line that one sits in."""

    name: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.name} ({self.file}:{self.line})" if self.file else self.name


class StartupTimeout(TimeoutError):
    """A `before_server_start` handler, or work in the background, took longer than it may.

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


def startup_timeout(seconds: float) -> Callable[[Callable[..., Any]], Handler]:
    """Limit one `before_server_start` handler, in place of `REAPER_HANDLER_TIMEOUT`.

        @app.before_server_start
        @startup_timeout(30)
        async def connect(app): ...

    Args:
        seconds: what it may take. 0: no limit.

    Raises:
        TypeError: it is no number, or the decorator stands above `@app.before_server_start`, or on
            something that is no handler.
        ValueError: it is negative or not finite.
    """
    limit = _seconds("startup_timeout", seconds)

    def decorate(function: Callable[..., Any]) -> Handler:
        handler = _handler("startup_timeout", function)
        if handler.background is not None:
            raise TypeError("@background takes its limit itself: @background(timeout=...)")
        if handler.timeout is not None:
            raise TypeError(f"{describe(handler)} has a @startup_timeout already")
        handler.timeout = limit
        return handler

    return decorate


def background(
    function: Callable[..., Any] | None = None,
    *,
    timeout: float = 0,
    ready_when_done: bool = True,
) -> Any:
    """Take a `before_server_start` handler out of the start: the worker serves, it goes on beside.

        @app.before_server_start
        @background(timeout=300)
        def load_model(app): ...

    A function runs in a thread of its own, a coroutine function as a task. Until it is done the
    worker answers requests with `NotReady`, 503.

    Args:
        timeout: seconds that it may take. 0: no limit. More, or an error, is a failed start.
        ready_when_done: `False` lets requests through from the beginning.

    Raises:
        TypeError, ValueError: as `startup_timeout`.
    """
    limit = _seconds("background", timeout)
    if not isinstance(ready_when_done, bool):
        raise TypeError(f"background(ready_when_done={ready_when_done!r}): True or False")

    def decorate(function: Callable[..., Any]) -> Handler:
        handler = _handler("background", function)
        if handler.timeout is not None:
            raise TypeError("@background takes its limit itself: @background(timeout=...)")
        handler.background = Background(limit, ready_when_done)
        return handler

    return decorate if function is None else decorate(function)


def _seconds(decorator: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        what = "it is used without its seconds" if callable(value) else f"{value!r} is no number"
        raise TypeError(f"@{decorator}: {what}; write @{decorator}(30)")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"@{decorator}: {value!r} is no number of seconds, 0 or more")
    return float(value)


def _handler(decorator: str, function: Any) -> Handler:
    if not callable(function) or inspect.isclass(function) or not _takes_an_app(function):
        raise TypeError(
            f"@{decorator} belongs on a before_server_start handler, "
            f"a function that takes the app; this is {function!r}"
        )
    if _is_registered(function):
        raise TypeError(
            f"@{decorator} stands above the decorator that registers {describe(function)}, "
            f"and so has no effect on it; put it below, next to the function"
        )
    return function if isinstance(function, Handler) else Handler(function)


def _takes_an_app(function: Callable[..., Any]) -> bool:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # in C, without a signature
        return True
    for arguments in ((None,), (None, None), (None, None, None)):  # app; loop; self of a method
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return True
    return False


def _is_registered(function: Any) -> bool:
    """Sanic's decorators register what they get and hand back the same."""
    from sanic import Sanic

    return any(
        future.listener is function
        for app in Sanic._app_registry.values()
        for future in app._future_listeners
    )


def describe(listener: Any) -> Place:
    """What a handler is called: by its own name and line, not by those of what wraps it."""
    function = unwrapped(listener)
    code = getattr(function, "__code__", None)
    name = getattr(function, "__qualname__", None) or type(function).__name__
    short = name.rpartition("<locals>.")[2]
    if code is None:
        return Place(short, "", 0)
    return Place(short.removesuffix(".__call__"), code.co_filename, code.co_firstlineno)


def unwrapped(listener: Any) -> Any:
    """The function beneath wrappers, partials, methods and callable objects."""
    for _ in range(100):
        if isinstance(listener, functools.partial):
            listener = listener.func
        elif hasattr(listener, "__wrapped__"):
            listener = listener.__wrapped__
        elif inspect.ismethod(listener):
            listener = listener.__func__
        elif not hasattr(listener, "__code__") and hasattr(type(listener).__call__, "__code__"):
            listener = type(listener).__call__
        else:
            break
    return listener


def is_internal(listener: Any) -> bool:
    """Whether it is of Sanic's, sanic-ext's or ours: of no interest to the user."""
    package = (getattr(unwrapped(listener), "__module__", None) or "").partition(".")[0]
    return package in ("sanic", "sanic_ext", "sanic_reaper")


_LIBRARIES = tuple(
    {path for path in (sys.prefix, sys.base_prefix, sys.exec_prefix) if path not in ("", "/")}
)


def is_user_code(file: str) -> bool:
    """Whether a file is of the user's own: not the standard library, nor anything installed."""
    if file.startswith("<") or "/site-packages/" in file or "/dist-packages/" in file:
        return False
    return not any(file.startswith(f"{path}/lib") for path in _LIBRARIES) and not is_ours(file)


def is_ours(file: str) -> bool:
    return file.startswith(_PACKAGE) and not file.startswith(_PACKAGE + "examples/")


_PACKAGE = __file__.rpartition("/")[0] + "/"
