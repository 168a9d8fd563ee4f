"""What is touched where Sanic keeps its listeners, registers them and calls them."""

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
"""Called instead of what runs the listeners of an event, with that."""


def listeners(app: App, event: str) -> list[Callable[..., Any]]:
    """The live list of the listeners of a `main_process_*` event: `trigger_events` iterates it.

    Returns:
        An empty list that nobody knows, where Sanic has no such list.
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
    """Stand around `before_server_start`, `after_server_start` and `before_server_stop`, whatever
    starts the app; and hear when Sanic begins to set it up.

    Every kind of server calls `Sanic._server_event` and looks it up on the instance; an instance
    has slots, so it is replaced in the class, once. A worker acks among the latter listeners.
    """
    original: Callable[..., Awaitable[None]] | None = getattr(Sanic, "_server_event", None)
    if original is None or hasattr(original, "reaper_stands_around"):
        return

    arounds = {("init", "before"): before, ("init", "after"): after, ("shutdown", "before"): stop}

    @wraps(original)
    async def _server_event(self: App, *event: Any, **more: Any) -> None:
        around = arounds.get(event[:2])
        if around is None:
            await original(self, *event, **more)
        else:
            await around(self, partial(original, self, *event, **more))

    _server_event.reaper_stands_around = True  # type: ignore[attr-defined]
    Sanic._server_event = _server_event  # type: ignore[method-assign]
    before_routing(on_set_up)


def before_routing(prepare: Callable[[App], None]) -> None:
    """Have each app that starts in this process prepared before its router is finalised.

    Every kind of server calls `Sanic._startup`, which finalises it. `app.amend()`, later, was the
    alternative: it finalises everything a second time, the signals too.

    The coroutine stays Sanic's own: in debug mode asyncio prints where that of a slow task stands.
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
    """The routes of the signal of one event of the start; each calls its `handler`, read then.

    A listener's is a partial of `Sanic._listener`.

    Args:
        event: `before_server_start` or `after_server_start`.

    Returns:
        As many as can be found.
    """
    routes: Any = getattr(getattr(app, "signal_router", None), "routes", ())
    return [route for route in routes if getattr(route.ctx, "definition", None) == _SIGNALS[event]]


def listener_of(handler: Any) -> Any:
    """What the user registered, given a signal's handler."""
    return getattr(handler, "keywords", {}).get("listener", handler)


def is_registered(listener: Any) -> bool:
    """Whether an app or a blueprint has it as a listener: Sanic hands back what it has registered.

    No registry knows a blueprint before an app has it, so the garbage collector is asked who holds
    the listener. That takes 2 ms, and only where a decorator of ours is used.
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
    """What an app and its blueprints have been given by decorators: as what, and the function."""
    for part in (app, *app.blueprints.values()):
        for listener in getattr(part, "_future_listeners", ()):
            yield listener.event, listener.listener
        for route in getattr(part, "_future_routes", ()):
            yield "a request handler", route.handler


def listener_arguments(listener: Callable[..., Any], app: App) -> tuple[Any, ...]:
    """With what Sanic calls a listener: the app, and the loop if it asks for that too."""
    try:
        inspect.signature(listener).bind(app)
    except TypeError:
        return (app, asyncio.get_running_loop())
    except ValueError:
        pass
    return (app,)
