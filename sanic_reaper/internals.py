"""What we touch inside Sanic, sanic-ext and `multiprocessing`. Nobody else reaches in there.

But for `main_internals`: what only main needs, no worker shall pay for.

Checked against Sanic 24.12.1 and 25.12.1, sanic-ext 24.12.0 and 25.12.0, CPython 3.10 to 3.13. Each
function says what it relies on; `tests/test_internals.py` asks an installed Sanic whether it holds.
(`manager` subclasses WorkerManager, `processes` the three Process classes: both by their methods.)
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import multiprocessing
import multiprocessing.process
import multiprocessing.resource_tracker
import multiprocessing.util
import os
import sys
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import suppress
from functools import partial, wraps
from types import FrameType
from typing import Any, NamedTuple, TypeAlias

from sanic import Sanic
from sanic.http.constants import Stage
from sanic.http.http1 import Http
from sanic.models.futures import FutureListener
from sanic_ext import Extension

App: TypeAlias = "Sanic[Any, Any]"
"""An app, whatever its config and its context are."""

MANAGER_SITES = (
    "sanic.mixins.startup",
    "sanic_ext.extensions.health.monitor",
    "sanic_ext.extensions.logging.logger",
)
"""Modules that start a SyncManager by calling the global `Manager`, looked up at the call."""


def substitute_manager_factory(factory: Callable[[], Any]) -> None:
    """Let Sanic and sanic-ext start their SyncManagers with `factory`.

    Patching `multiprocessing.managers` was rejected: it would change the user's own managers too.
    """
    for name in MANAGER_SITES:
        module = sys.modules.get(name)
        if module is not None and hasattr(module, "Manager"):
            module.__dict__["Manager"] = factory


def listeners(app: App, event: str) -> list[Callable[..., Any]]:
    """The live list of the listeners of a `main_process_*` event: `trigger_events` iterates it."""
    found: list[Callable[..., Any]] = app.listeners[event]
    return found


def primary_name() -> str | None:
    """In a worker: the name of the app whose `serve` started it, from the process's arguments."""
    kwargs = getattr(multiprocessing.current_process(), "_kwargs", {})
    name: str | None = kwargs.get("app_name")
    return name


def substitute_worker_signals(
    set_up: Callable[[App, bool, bool, asyncio.AbstractEventLoop], None],
    on_serving: Callable[[Callable[[], None] | None], None],
    clean_up: Callable[[Callable[[], None]], None],
) -> None:
    """Replace how a worker sets up its signals, and learn when its loop starts to run for ever.

    `_serve_http_1` looks both functions up in its module when it needs them.

    Args:
        set_up: receives Sanic's arguments: app, run_multiple, register_sys_signals, loop. The third
            is true: where there is a main process, Sanic takes nothing else (`prepare` of
            mixins/startup.py).
        on_serving: receives the function with which Sanic ends the worker's connections, if any.
        clean_up: is called instead of that function, with it.
    """
    from sanic.server import runners

    run_for_ever: Callable[..., None] = runners._run_server_forever

    def _setup_system_signals(
        app: App, run_multiple: bool, register: bool, loop: asyncio.AbstractEventLoop
    ) -> None:
        os.environ["SANIC_WORKER_PROCESS"] = "true"
        set_up(app, run_multiple, register, loop)

    def _run_server_forever(
        loop: asyncio.AbstractEventLoop,
        before_stop: Any,
        after_stop: Any,
        cleanup: Callable[[], None] | None,
        *more: Any,
    ) -> None:
        on_serving(cleanup)
        ending = partial(clean_up, cleanup) if cleanup is not None else None
        run_for_ever(loop, before_stop, after_stop, ending, *more)

    vars(runners).update(
        _setup_system_signals=_setup_system_signals, _run_server_forever=_run_server_forever
    )
    _let_stop_without_manager()


class Serving(NamedTuple):
    """What a worker has open."""

    servers: Sequence[Any]
    """The listening asyncio or uvloop servers."""
    connections: Sequence[Collection[Any]]
    """The live sets of Sanic's protocols: one of the primary app, one of each secondary app."""


def what_it_serves(cleanup: Callable[[], None]) -> Serving:
    """The servers and connections of this worker.

    Args:
        cleanup: `_cleanup` of `_serve_http_1`, in whose closure the primary app's are. Those of
            secondary apps are in their `AsyncioServer`.

    Returns:
        As much of it as can be found.
    """
    known: Mapping[str, Any] = {}
    if inspect.isfunction(cleanup):
        known = inspect.getclosurevars(cleanup).nonlocals
    servers = [known["http_server"]] if "http_server" in known else []
    connections = [known["connections"]] if "connections" in known else []
    for app in Sanic._app_registry.values():
        for info in app.state.server_info:
            secondary: Any = getattr(info, "server", None)  # its task closes it by itself
            if getattr(secondary, "connections", None) is not None:
                connections.append(secondary.connections)
    return Serving(servers, connections)


def end_keep_alive(connections: Iterable[Any]) -> None:
    """From now on each response says `Connection: close`, and is its connection's last.

    So clients that are busy move on to another worker before this one closes its connections. Only
    requests that a client has sent ahead, and that are here already, are answered first.

    `Http` looks the method up for each request, when its first bytes come; a request that is under
    way has the old one, and is given the new one. `app.config.KEEP_ALIVE` was the alternative:
    24.12 does not look at it. A response whose header has been sent has promised to keep the
    connection: the client may use it once more, and is told then.

    Args:
        connections: those that are open now.
    """
    original: Callable[..., Awaitable[None]] = Http.http1_response_header
    ahead: dict[Http, int] = {}

    async def http1_response_header(self: Http, *args: Any, **kwargs: Any) -> None:
        self.keep_alive = self.keep_alive and _has_more(self, ahead)
        await original(self, *args, **kwargs)

    Http.http1_response_header = http1_response_header  # type: ignore[method-assign]
    for protocol in connections:
        http = getattr(protocol, "_http", None)
        bound = getattr(http, "response_func", None)
        if http is not None and getattr(bound, "__func__", None) is original:
            http.response_func = http.http1_response_header


def _has_more(http: Http, ahead: dict[Http, int]) -> bool:
    """Whether one more request lies in the buffer of a connection, sent ahead (pipelining).

    Args:
        ahead: how many there are still. Counted once for each connection: a client that goes on
            sending would hold up the stop.
    """
    if http.request_body:
        return False  # what is in the buffer is the rest of this request
    left = ahead.setdefault(http, http.recv_buffer.count(b"\r\n\r\n"))
    ahead[http] = max(0, left - 1)
    return left > 0 and bool(http.recv_buffer)


def is_idle(protocol: Any) -> bool:
    """Whether a connection has no request that is being received or answered."""
    http = getattr(protocol, "_http", None)
    return http is None or (http.stage is Stage.IDLE and not http.recv_buffer)


def is_websocket(protocol: Any) -> bool:
    return getattr(protocol, "websocket", None) is not None


def cut_off(protocol: Any) -> None:
    """End a connection whatever goes on on it, as `_cleanup` does when the grace period is over."""
    if is_websocket(protocol):
        protocol.websocket.fail_connection(code=1001)
    else:
        protocol.abort()


def has_unfinished_tasks(app: App) -> bool:
    """Whether a task of `app.add_task` with a name, which Sanic has cancelled, still cleans up."""
    return any(task is not None and not task.done() for task in app._task_registry.values())


def count_requests(arguments: dict[str, Any]) -> Mapping[str, int]:
    """Have the protocols of a worker, and of its secondary apps, count together.

    Each counts its requests in a dictionary of its own, unless `worker_serve` is given one.

    Returns:
        The dictionary, whose `requests_count` is the sum.
    """
    counted: dict[str, int] = arguments.get("state") or {"requests_count": 0}
    arguments["state"] = counted
    for infos in (arguments.get("server_info") or {}).values():
        for info in infos:
            info.settings["state"] = counted
    return counted


def _let_stop_without_manager() -> None:
    """On 24.12 a worker says that it serves no longer before its `after_server_stop` listeners run.

    Where the SyncManager is dead it would end there, with a traceback and without them. So would
    one that is told to stop while its `after_server_start` listeners run: it says that it serves
    when they are through, and stops then.
    """
    from sanic.worker.multiplexer import WorkerMultiplexer

    original = getattr(WorkerMultiplexer, "set_serving", None)
    if original is None:
        return

    def set_serving(self: WorkerMultiplexer, serving: bool) -> None:
        with suppress(EOFError, OSError):
            original(self, serving)

    WorkerMultiplexer.set_serving = set_serving  # type: ignore[method-assign]


def on_early_end(tell: Callable[[BaseException], None]) -> None:
    """Learn why a worker ends before its start has begun: the import of the app, a factory, TLS.

    `worker_serve` prints the exception, says so to main without a reason, and returns: the exit
    code is 0. It does that in its `except` block.
    """
    from sanic.worker.multiplexer import WorkerMultiplexer

    original = WorkerMultiplexer.terminate

    def terminate(self: WorkerMultiplexer, early: bool = False) -> None:
        error = sys.exc_info()[1]
        if early and error is not None:
            tell(error)
        original(self, early)

    WorkerMultiplexer.terminate = terminate  # type: ignore[method-assign]


def before_stop(take: Callable[[App, bool], bool]) -> None:
    """Ask, when somebody calls `app.stop`, before Sanic does what it does.

    Args:
        take: called with the app and `terminate`; whether it sees to the stop itself.
    """
    original = Sanic.stop

    @wraps(original)
    def stop(self: App, terminate: bool = True, unregister: bool = False) -> None:
        if not take(self, terminate):
            original(self, terminate, unregister)

    Sanic.stop = stop  # type: ignore[method-assign, assignment]


def tell_main_to_stop(app: App) -> None:
    """What `app.stop(terminate=True)` does first, in a worker."""
    if hasattr(app, "multiplexer"):
        app.multiplexer.terminate()


def end_with(code: int) -> None:
    """Where one process is all there is: have it end with this exit code when its server stops.

    `serve_single` reports an exception that passes through it with a traceback; the last thing that
    it calls, in its `finally`, is this method. (Line 1316 of `sanic/mixins/startup.py`.) Where the
    caller is not run by it, under ASGI or by hand, nothing is changed: the exit code would be that
    of a later server.
    """
    serve_single = Sanic.serve_single.__func__.__code__  # type: ignore[attr-defined]
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code is not serve_single:
        frame = frame.f_back
    if frame is None:
        return
    clean_up: Callable[[], None] = Sanic._cleanup_apps

    def leave() -> None:
        Sanic._cleanup_apps = clean_up  # type: ignore[method-assign]
        clean_up()
        raise SystemExit(code)

    Sanic._cleanup_apps = leave  # type: ignore[method-assign]


def after_serve(call: Callable[[], None]) -> None:
    """Have a function called whenever `Sanic.serve` ends, in whatever way but `os._exit`.

    It is the last thing that a server with workers does: `app.run` returns what it returns. Nothing
    within it comes as late: after `main_process_stop` it shuts down the SyncManager.
    """
    original = Sanic.serve.__func__  # type: ignore[attr-defined]
    if hasattr(original, "reaper_original"):
        return

    @wraps(original)
    def serve(*args: Any, **kwargs: Any) -> Any:
        global _serving
        _serving += 1
        try:
            return original(*args, **kwargs)
        finally:
            _serving -= 1
            call()

    serve.reaper_original = original  # type: ignore[attr-defined]
    Sanic.serve = classmethod(serve)  # type: ignore[method-assign, assignment]


def in_serve() -> bool:
    """Whether a call of `after_serve` is to be expected."""
    return _serving > 0


_serving = 0


Listeners: TypeAlias = "Callable[[], Awaitable[None]]"
"""Runs the listeners of an event."""

Around: TypeAlias = "Callable[[App, Listeners], Awaitable[None]]"
"""Called instead of what runs the listeners of an event, with that."""


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


def let_join(is_ours: Callable[[Any], bool], join: Callable[[App, Any], None]) -> None:
    """Have `app.extend(extensions=[...])` work at any time for extensions that can join later.

    Sanic refuses it once the app's extensions are set up, by an earlier `app.extend` or any use of
    `app.ext`, and calls sanic-ext missing where AUTO_EXTEND is off.

    Args:
        is_ours: whether an extension can join later.
        join: adds it to an app.
    """
    original: Callable[..., Any] = Sanic.extend
    if hasattr(original, "reaper_stands_around"):
        return

    @wraps(original)
    def extend(self: App, *, extensions: Any = None, **options: Any) -> Any:
        ours = [one for one in extensions or () if is_ours(one)]
        is_set_up = hasattr(self, "_ext")
        if not ours and is_set_up and any(map(is_ours, self.ext.extensions)):
            raise RuntimeError(
                "Cannot extend Sanic after Sanic Extensions has been setup. If the Reaper's line "
                "has done that, put it below this one: it works after any other app.extend()"
            )
        if not ours or not (is_set_up or not self.config.AUTO_EXTEND):
            return original(self, extensions=extensions, **options)
        if len(ours) < len(extensions) or options:
            raise RuntimeError(
                "Cannot extend Sanic after Sanic Extensions has been setup, or without AUTO_EXTEND."
                " The Reaper can join all the same, by a line of its own: "
                "app.extend(extensions=[Reaper]). Everything else belongs in the first app.extend()"
            )
        for extension in ours:
            join(self, extension)
        return getattr(self, "_ext", None)

    extend.reaper_stands_around = True  # type: ignore[attr-defined]
    Sanic.extend = extend  # type: ignore[method-assign]


def add_extension(app: App, extension: Any) -> None:
    """Start an extension, as `sanic_ext.Extend` does when an app's extensions are set up.

    Where they are not set up yet it is not on their list, and works all the same.
    """
    bootstrap = getattr(app, "_ext", None)
    config = getattr(bootstrap, "config", None)
    created = Extension.create(extension, app, config)  # type: ignore[arg-type]
    created._startup(bootstrap)  # type: ignore[no-untyped-call]
    if bootstrap is not None:
        bootstrap.extensions.append(created)


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


def in_test_mode() -> bool:
    """Whether a client of sanic-testing has been made in this process."""
    return bool(Sanic.test_mode)


def is_secondary(app: App) -> bool:
    """Whether Sanic itself starts an app, beside the primary one: `_start_servers` notes it."""
    return not app.state.primary
