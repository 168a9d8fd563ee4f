"""What is touched where Sanic keeps its listeners, registers them and calls them."""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from functools import partial, wraps
from typing import Any, TypeAlias

from sanic import Sanic
from sanic.models.futures import FutureListener

from .sanic_app import App

Listeners: TypeAlias = "Callable[[], Awaitable[None]]"
"""Runs the listeners of an event."""

Around: TypeAlias = "Callable[[App, Listeners], Awaitable[None]]"
"""Called instead of what runs the listeners of an event, with that."""


def listeners(app: App, event: str) -> list[Callable[..., Any]]:
    """The live list of the listeners of a `main_process_*` event: `trigger_events` iterates it."""
    found: list[Callable[..., Any]] = app.listeners[event]
    return found


def instrument_start(
    before: Around, after: Around, stop: Around, on_set_up: Callable[[App], None]
) -> None:
    """Stand around `before_server_start`, `after_server_start` and `before_server_stop`, whatever
    starts the app; and hear when Sanic begins to set it up.

    Every kind of server calls `Sanic._server_event` and looks it up on the instance; an instance
    has slots, so it is replaced in the class, once. A worker acks among the latter listeners.
    """
    original: Callable[..., Awaitable[None]] = Sanic._server_event
    if hasattr(original, "reaper_stands_around"):
        return

    arounds = {("init", "before"): before, ("init", "after"): after, ("shutdown", "before"): stop}

    @wraps(original)
    async def _server_event(self: App, concern: str, action: str, loop: Any = None) -> None:
        around = arounds.get((concern, action))
        if around is None:
            await original(self, concern, action, loop)
        else:
            await around(self, partial(original, self, concern, action, loop))

    _server_event.reaper_stands_around = True  # type: ignore[attr-defined]
    Sanic._server_event = _server_event  # type: ignore[method-assign]
    before_routing(on_set_up)


def before_routing(prepare: Callable[[App], None]) -> None:
    """Have each app that starts in this process prepared before its router is finalised.

    Every kind of server calls `Sanic._startup`, which finalises it. `app.amend()`, later, was the
    alternative: it finalises everything a second time, the signals too.

    The coroutine stays Sanic's own: in debug mode asyncio prints where that of a slow task stands.
    """
    original: Callable[[App], Coroutine[Any, Any, None]] = Sanic._startup

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
    """
    routes: Any = app.signal_router.routes
    return [route for route in routes if route.ctx.definition == _SIGNALS[event]]


def listener_of(handler: Any) -> Any:
    """What the user registered, given a signal's handler."""
    return getattr(handler, "keywords", {}).get("listener", handler)


def is_registered(listener: Any) -> bool:
    """Whether an app or a blueprint has it as a listener: Sanic hands back what it has registered.

    No registry knows a blueprint before an app has it, so the garbage collector is asked who holds
    the listener. That takes 2 ms, and only where a decorator of ours is used.
    """
    holders = gc.get_referrers(listener)
    return any(isinstance(one, FutureListener) and one.listener is listener for one in holders)


def registered(app: App) -> Iterator[tuple[str, Any]]:
    """What an app and its blueprints have been given by decorators: as what, and the function."""
    for part in (app, *app.blueprints.values()):
        for listener in part._future_listeners:
            yield listener.event, listener.listener
        for route in part._future_routes:
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
