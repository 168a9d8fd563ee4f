"""What users say of their start handlers: checked when their module is imported."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast, overload

from .compat import sanic_app, sanic_listeners
from .compat.sanic_app import App
from .log import log
from .model.exit_codes import BAD_CONFIGURATION
from .untrusted import LONGEST_DURATION
from .worker.handlers import BackgroundOptions, DecoratedHandler, describe, options_of

F = TypeVar("F", bound="Callable[..., Any]")
"""A handler keeps its type: what becomes of it is called with the same arguments."""

PLACES = {
    "startup_timeout": ("before_server_start", "after_server_start"),
    # It begins when the handlers of `after_server_start` are through, wherever it is registered.
    "background": ("before_server_start",),
}
"""The events whose handlers each decorator is for."""


def startup_timeout(seconds: float) -> Callable[[F], F]:
    """Limit one handler of `before_server_start` or `after_server_start`, in place of
    `REAPER_HANDLER_TIMEOUT`.

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

    def decorate(function: F) -> F:
        handler = _handler("startup_timeout", function)
        if handler.background is not None:
            raise TypeError("@background takes its limit itself: @background(timeout=...)")
        if handler.timeout is not None:
            raise TypeError(f"{describe(handler)} has a @startup_timeout already")
        handler.timeout = limit
        return cast(F, handler)

    return decorate


@overload
def background(function: F, /) -> F: ...


@overload
def background(*, timeout: float = 0, ready_when_done: bool = True) -> Callable[[F], F]: ...


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

    def decorate(function: F) -> F:
        handler = _handler("background", function)
        if handler.timeout is not None:
            raise TypeError("@background takes its limit itself: @background(timeout=...)")
        handler.background = BackgroundOptions(limit, ready_when_done)
        return cast(F, handler)

    return decorate if function is None else decorate(function)


def _seconds(decorator: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        what = "it is used without its seconds" if callable(value) else f"{value!r} is no number"
        raise TypeError(f"@{decorator}: {what}; write @{decorator}(30)")
    if not 0 <= value < math.inf:
        raise ValueError(f"@{decorator}: {value!r} is no number of seconds, 0 or more")
    return float(min(value, LONGEST_DURATION))


def _handler(decorator: str, function: Any) -> DecoratedHandler:
    if not callable(function) or inspect.isclass(function) or not _takes_an_app(function):
        raise TypeError(
            f"@{decorator} belongs on a before_server_start handler, "
            f"a function that takes the app; this is {function!r}"
        )
    if sanic_listeners.is_registered(function):
        raise TypeError(
            f"@{decorator} stands above the decorator that registers {describe(function)}, "
            f"and so has no effect on it; put it below, next to the function"
        )
    return function if isinstance(function, DecoratedHandler) else DecoratedHandler(function)


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


def refuse_misplaced(apps: Iterable[App] | None = None) -> None:
    """Where a server begins: see that what was decorated is registered as what it is meant for.

    It can't be seen any earlier: what registers a handler comes after what decorates it, and is
    Sanic's.

    Args:
        apps: those that the server serves. `None`: every app of this process.

    Raises:
        SystemExit: it is not. The one line that says so is in the log.
    """
    for app in sanic_app.apps() if apps is None else apps:
        for event, listener in sanic_listeners.registered(app):
            handler = options_of(listener)
            if handler is None:
                continue
            decorator = "startup_timeout" if handler.background is None else "background"
            if event not in PLACES[decorator]:
                log.error(
                    "@%s has no effect on %s, which is registered as %s: it belongs on a handler "
                    "of %s",
                    decorator,
                    describe(handler),
                    event,
                    " or ".join(PLACES[decorator]),
                )
                raise SystemExit(BAD_CONFIGURATION)
