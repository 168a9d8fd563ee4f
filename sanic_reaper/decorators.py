"""The decorators for start handlers.

Their arguments are checked when the user's module is imported.
"""

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
"""The type of a handler, which a decorator keeps: it is called with the same arguments."""

PLACES = {
    "startup_timeout": ("before_server_start", "after_server_start"),
    # Background work begins after the `after_server_start` handlers, wherever it is registered.
    "background": ("before_server_start",),
}
"""The events for whose handlers each decorator is meant."""


def startup_timeout(seconds: float) -> Callable[[F], F]:
    """Limit one handler of `before_server_start` or `after_server_start`, in place of
    `REAPER_HANDLER_TIMEOUT`.

        @app.before_server_start
        @startup_timeout(30)
        async def connect(app): ...

    Args:
        seconds: limit in seconds. 0: no limit.

    Raises:
        TypeError: `seconds` is not a number, or the decorator stands above
            `@app.before_server_start`, or on something that is not a handler.
        ValueError: `seconds` is negative or not finite.
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
    """Run a `before_server_start` handler beside the first requests, as background work.

        @app.before_server_start
        @background(timeout=300)
        def load_model(app): ...

    The start does not wait for it. A function runs in a thread of its own, a coroutine function as
    a task. Until the work is done, the worker answers requests with `NotReady` (503).

    Args:
        timeout: limit in seconds. 0: no limit. The start has failed if the work takes longer or
            raises an exception.
        ready_when_done: `False` lets requests through from the beginning.

    Raises:
        TypeError: an argument is of another type, or the decorator is misplaced, as in
            `startup_timeout`.
        ValueError: `timeout` is negative or not finite.
    """
    limit = _seconds("background", timeout)
    if not isinstance(ready_when_done, bool):
        raise TypeError(f"background(ready_when_done={ready_when_done!r}): must be True or False")

    def decorate(function: F) -> F:
        handler = _handler("background", function)
        if handler.timeout is not None:
            raise TypeError("@background takes its limit itself: @background(timeout=...)")
        handler.background = BackgroundOptions(limit, ready_when_done)
        return cast(F, handler)

    return decorate if function is None else decorate(function)


def _seconds(decorator: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        what = "the seconds are missing" if callable(value) else f"{value!r} is not a number"
        raise TypeError(f"@{decorator}: {what}; write @{decorator}(30)")
    if not 0 <= value < math.inf:
        raise ValueError(f"@{decorator}: {value!r} is not a number of seconds, 0 or more")
    return float(min(value, LONGEST_DURATION))


def _handler(decorator: str, function: Any) -> DecoratedHandler:
    if not callable(function) or inspect.isclass(function) or not _takes_an_app(function):
        raise TypeError(
            f"@{decorator} belongs on a before_server_start handler, "
            f"a function that takes the app; this is {function!r}"
        )
    if sanic_listeners.is_registered(function):
        raise TypeError(
            f"@{decorator} has no effect on {describe(function)}, because it stands above the "
            f"decorator that registers the function; put it below, next to the function"
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
    """Check that each decorated function is registered for an event of `PLACES`.

    Called when a server starts. It cannot be checked earlier, because Sanic registers a handler
    after the decorator has run.

    Args:
        apps: the apps that the server serves. `None`: every app of this process.

    Raises:
        SystemExit: one is not (`BAD_CONFIGURATION`). One line in the log says which.
    """
    for app in sanic_app.apps() if apps is None else apps:
        for event, listener in sanic_listeners.registered(app):
            handler = options_of(listener)
            if handler is None:
                continue
            decorator = "startup_timeout" if handler.background is None else "background"
            if event not in PLACES[decorator]:
                log.error(
                    "@%s has no effect on %s, which is registered as %s: put it on a handler of %s",
                    decorator,
                    describe(handler),
                    event,
                    " or ".join(PLACES[decorator]),
                )
                raise SystemExit(BAD_CONFIGURATION)
