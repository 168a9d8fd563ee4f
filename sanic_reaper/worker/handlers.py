"""The name of a start handler in the log, and the options that its decorators set."""

from __future__ import annotations

import copy
import functools
import inspect
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ..compat.sanic_app import App


class Place(NamedTuple):
    """A place in the user's code: a handler, or a line in it."""

    name: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.name} ({self.file}:{self.line})" if self.file else self.name


class StartupTimeout(TimeoutError):
    """A handler of `before_server_start` or `after_server_start`, or background work, reached its
    limit.

    Raised inside the handler, so that its `finally` blocks run.

    Attributes:
        place: name and line of the handler.
        limit: its limit in seconds.
        source: where the limit is set: `@startup_timeout`, `@background` or
            `REAPER_HANDLER_TIMEOUT`, with the number.
        blocked: whether the handler blocked the event loop at its limit. If not, it awaited
            something.
    """

    def __init__(self, place: Place, limit: float, source: str) -> None:
        super().__init__(f"{place} has not finished within {limit:g} s ({source})")
        self.place = place
        self.limit = limit
        self.source = source
        self.blocked = False


EXEMPT = "reaper_exempt"
"""Attribute of a route's `ctx` that lets the route answer during background work:
`@app.get("/health", ctx_reaper_exempt=True)`."""


class BackgroundOptions(NamedTuple):
    """The arguments of `@background`."""

    timeout: float
    """Limit of the work in seconds. 0: no limit."""
    ready_when_done: bool
    """Whether requests are turned away until the work is done."""


class DecoratedHandler:
    """A handler with the options that its decorators set. A call of it calls the handler."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.__wrapped__ = function
        functools.update_wrapper(self, function)
        self.timeout: float | None = None
        """The limit in seconds that `@startup_timeout` sets. `None`: it is not used."""
        self.background: BackgroundOptions | None = None
        """The arguments of `@background`. `None`: it is not used."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__wrapped__(*args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> DecoratedHandler:
        if instance is None:
            return self
        bound = copy.copy(self)
        bound.__wrapped__ = self.__wrapped__.__get__(instance, owner)
        return bound


def options_of(listener: Any) -> DecoratedHandler | None:
    """The options that decorators of the Reaper have set for a listener, if there are any."""
    while not isinstance(listener, DecoratedHandler):
        # A partial of the decorated handler, or a wrapper of the user's around it.
        listener = getattr(listener, "func", None) or getattr(listener, "__wrapped__", None)
        if listener is None:
            return None
    return listener


def refuse_misplaced(apps: Iterable[App] | None = None) -> None:
    """Call `decorators.refuse_misplaced` if that module is loaded.

    Raises:
        SystemExit: a handler is misplaced.
    """
    decorators = sys.modules.get("sanic_reaper.decorators")
    if decorators is not None:
        decorators.refuse_misplaced(apps)


def describe(listener: Any) -> Place:
    """Name and line of a handler's own function, without what wraps it."""
    function = unwrapped(listener)
    code = getattr(function, "__code__", None)
    name = getattr(function, "__qualname__", None) or type(function).__name__
    short = name.rpartition("<locals>.")[2]
    if code is None:
        return Place(short, "", 0)
    return Place(short.removesuffix(".__call__"), code.co_filename, code.co_firstlineno)


def is_async(listener: Any) -> bool:
    """Whether the outermost function of a listener is a coroutine function.

    What that function wraps does not count: a wrapper that runs a coroutine function by
    `asyncio.run` is a function.
    """
    return inspect.iscoroutinefunction(unwrapped(listener, to_the_bottom=False))


def unwrapped(listener: Any, to_the_bottom: bool = True) -> Any:
    """The function inside partials, methods and callable objects.

    Args:
        to_the_bottom: whether to unwrap the user's own wrappers too.
    """
    for _ in range(100):
        if isinstance(listener, functools.partial):
            listener = listener.func
        elif isinstance(listener, DecoratedHandler) or (
            to_the_bottom and hasattr(listener, "__wrapped__")
        ):
            listener = listener.__wrapped__
        elif inspect.ismethod(listener):
            listener = listener.__func__
        elif not hasattr(listener, "__code__") and hasattr(type(listener).__call__, "__code__"):
            listener = type(listener).__call__
        else:
            break
    return listener


def is_internal(listener: Any) -> bool:
    """Whether a listener belongs to Sanic, sanic-ext or the Reaper, and so not to the user.

    One of sanic-testing is internal too: a test client sends its request in a listener, and that is
    no part of a start.
    """
    return package_of(listener) in ("sanic", "sanic_ext", "sanic_testing", "sanic_reaper")


def package_of(listener: Any) -> str:
    """The top-level package that a listener comes from. "": unknown."""
    return (getattr(unwrapped(listener), "__module__", None) or "").partition(".")[0]
