"""How Sanic registers listeners, keeps them and calls them."""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from functools import partial, wraps
from typing import Any, TypeAlias

from sanic import Sanic

from .sanic_app import App

Listeners: TypeAlias = "Callable[[], Awaitable[None]]"
"""Runs the listeners of an event."""

Around: TypeAlias = "Callable[[App, Listeners], Awaitable[None]]"
"""Called in the place of a function that runs the listeners of an event. Receives that function."""


def listeners(app: App, event: str) -> list[Callable[..., Any]]:
    """The live list of the listeners of a `main_process_*` event. `trigger_events` iterates it.

    Returns:
        An empty list without effect, if Sanic has no such list.
    """
    found: list[Callable[..., Any]] = getattr(app, "listeners", {event: []})[event]
    return found


def put_first(app: App, event: str, listener: Callable[..., Any]) -> None:
    """Register a listener of a `main_process_*` event, to be called before all others."""
    app.listener(event)(listener)
    found = listeners(app, event)
    if listener in found:
        found.remove(listener)
        found.insert(0, listener)


def instrument_start(
    before: Around, after: Around, stop: Around, on_set_up: Callable[[App], None]
) -> None:
    """Wrap the listeners of a start and a stop, in whatever way the app is started.

    Every kind of server calls `Sanic._server_event`, and looks it up on the instance. An instance
    has slots, so the method is replaced in the class, once. (A worker acks among the
    `after_server_start` listeners.)

    Args:
        before: wraps `before_server_start`.
        after: wraps `after_server_start`.
        stop: wraps `before_server_stop`.
        on_set_up: called when Sanic begins to set up an app.
    """
    original: Callable[..., Awaitable[None]] | None = getattr(Sanic, "_server_event", None)
    if original is None or hasattr(original, "reaper_wraps_it"):
        return

    arounds = {("init", "before"): before, ("init", "after"): after, ("shutdown", "before"): stop}

    @wraps(original)
    async def _server_event(self: App, *event: Any, **more: Any) -> None:
        around = arounds.get(event[:2])
        if around is None:
            await original(self, *event, **more)
        else:
            await around(self, partial(original, self, *event, **more))

    _server_event.reaper_wraps_it = True  # type: ignore[attr-defined]
    Sanic._server_event = _server_event  # type: ignore[method-assign]
    before_routing(on_set_up)


def before_routing(prepare: Callable[[App], None]) -> None:
    """Have a function called with each app that starts, before its router is finalised.

    Every kind of server calls `Sanic._startup`, which finalises the router. `app.amend()` after
    that was rejected: it finalises everything a second time, the signals too.

    The coroutine is still Sanic's own, because asyncio prints its place if the task is slow (debug
    mode).
    """
    original: Callable[[App], Coroutine[Any, Any, None]] | None = getattr(Sanic, "_startup", None)
    if original is None:
        return

    @wraps(original)
    def _startup(self: App) -> Coroutine[Any, Any, None]:
        prepare(self)
        return original(self)

    Sanic._startup = _startup  # type: ignore[method-assign]


_SIGNALS = {
    "before_server_start": "server.init.before",
    "after_server_start": "server.init.after",
}


def start_handlers(app: App, event: str) -> list[Any]:
    """The signal routes that call the handlers of one event of the start.

    A route looks up its `handler` at each call. That of a listener is a partial of
    `Sanic._listener`.

    Args:
        event: `before_server_start` or `after_server_start`.

    Returns:
        The routes, as far as they can be found.
    """
    routes: Any = getattr(getattr(app, "signal_router", None), "routes", ())
    return [route for route in routes if getattr(route.ctx, "definition", None) == _SIGNALS[event]]


def listener_of(handler: Any) -> Any:
    """The function that the user registered, from the handler of a signal route."""
    return getattr(handler, "keywords", {}).get("listener", handler)


def is_registered(listener: Any) -> bool:
    """Whether an app or a blueprint has a function as a listener.

    No registry has a blueprint before an app has it. So the garbage collector is asked which
    objects refer to the function. That takes 2 ms, and only if a decorator of the Reaper is used.
    """
    try:
        from sanic.models.futures import FutureListener
    except ImportError:
        return False
    holders = gc.get_referrers(listener)
    return any(
        isinstance(one, FutureListener) and getattr(one, "listener", None) is listener
        for one in holders
    )


def registered(app: App) -> Iterator[tuple[str, Any]]:
    """The functions that an app and its blueprints have registered: as what, and the function."""
    for part in (app, *app.blueprints.values()):
        for listener in getattr(part, "_future_listeners", ()):
            yield listener.event, listener.listener
        for route in getattr(part, "_future_routes", ()):
            yield "a request handler", route.handler


def listener_arguments(listener: Callable[..., Any], app: App) -> tuple[Any, ...]:
    """The arguments of a listener: the app, and the loop if the listener takes two."""
    try:
        inspect.signature(listener).bind(app)
    except TypeError:
        return (app, asyncio.get_running_loop())
    except ValueError:
        pass
    return (app,)
