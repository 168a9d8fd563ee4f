"""The internals of the server that a worker runs: its signals, its connections, its stop."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial, wraps
from typing import Any, NamedTuple

from sanic import Sanic

try:
    from sanic.http.constants import Stage
    from sanic.http.http1 import Http
except ImportError:  # a Sanic of the future: its responses do not say that the worker stops
    Http = Stage = None  # type: ignore[assignment, misc]

from .sanic_app import App, apps


def substitute_worker_signals(
    set_up: Callable[[App, bool, bool, asyncio.AbstractEventLoop], None],
    on_serving: Callable[[Callable[[], None] | None, asyncio.AbstractEventLoop], None],
    clean_up: Callable[[Callable[[], None]], None],
) -> None:
    """Replace how a worker sets up its signals, and be told when its loop starts to run.

    `_serve_http_1` looks both functions up in its module when it needs them.

    Args:
        set_up: receives Sanic's arguments: app, run_multiple, register_sys_signals, loop. The third
            one is true: with a main process, Sanic allows nothing else (`prepare` of
            mixins/startup.py).
        on_serving: receives Sanic's function that closes the worker's connections, or `None`, and
            the loop.
        clean_up: is called in the place of that function, and receives it.
    """
    from sanic.server import runners

    run_for_ever: Callable[..., None] = runners._run_server_forever

    def _run_server_forever(
        loop: asyncio.AbstractEventLoop,
        before_stop: Any,
        after_stop: Any,
        cleanup: Callable[[], None] | None,
        *more: Any,
    ) -> None:
        on_serving(cleanup, loop)
        ending = partial(clean_up, cleanup) if cleanup is not None else None
        run_for_ever(loop, before_stop, after_stop, ending, *more)

    vars(runners).update(_run_server_forever=_run_server_forever)
    if hasattr(runners, "_setup_system_signals"):
        vars(runners).update(_setup_system_signals=_marking_worker(set_up))
    _let_stop_without_manager()


def _marking_worker(
    set_up: Callable[[App, bool, bool, asyncio.AbstractEventLoop], None],
) -> Callable[[App, bool, bool, asyncio.AbstractEventLoop], None]:
    """A replacement of `_setup_system_signals`, which also marks the process as a worker."""

    def _setup_system_signals(
        app: App, run_multiple: bool, register: bool, loop: asyncio.AbstractEventLoop
    ) -> None:
        os.environ["SANIC_WORKER_PROCESS"] = "true"
        set_up(app, run_multiple, register, loop)

    return _setup_system_signals


class Serving(NamedTuple):
    """The sockets that a worker has open."""

    servers: Sequence[Any]
    """The listening asyncio or uvloop servers."""
    connections: Sequence[Collection[Any]]
    """The live sets of Sanic's protocol objects: one set for each app of the worker."""


def open_sockets(cleanup: Callable[[], None]) -> Serving:
    """The servers and connections of this worker, as far as they can be found.

    Args:
        cleanup: `_cleanup` of `_serve_http_1`. Its closure has those of the primary app. Those of
            secondary apps are in their `AsyncioServer`.
    """
    known: Mapping[str, Any] = {}
    if inspect.isfunction(cleanup):
        known = inspect.getclosurevars(cleanup).nonlocals
    servers = [known["http_server"]] if "http_server" in known else []
    connections = [known["connections"]] if "connections" in known else []
    for app in apps():
        for info in app.state.server_info:
            secondary: Any = getattr(info, "server", None)  # its task closes it by itself
            if getattr(secondary, "connections", None) is not None:
                connections.append(secondary.connections)
    return Serving(servers, connections)


def stop_accepting(server: Any, loop: asyncio.AbstractEventLoop) -> None:
    """Have a server accept no more connections. Its socket stays open.

    asyncio makes the transport of an accepted connection in a later turn of the loop. If the server
    has been closed by then, the connection is dropped without a word: the transport asserts that it
    is open (`asyncio/base_events.py`, `Server._attach`). uvloop makes the transport at once.

    Args:
        server: as `loop.create_server` returns it.
        loop: its event loop.
    """
    with suppress(Exception):  # the caller closes it all the same
        for sock in server.sockets:
            loop.remove_reader(sock.fileno())


def end_keep_alive(connections: Iterable[Any]) -> None:
    """Have each response from now on say `Connection: close` and end its connection.

    So busy clients move on to another worker before this worker closes its connections. Requests
    that a client has sent ahead (pipelining), and that have arrived, are answered first.

    `Http` looks the method up for each request when its first bytes come. A request that is being
    answered has the old method, and gets the new one. `app.config.KEEP_ALIVE` was rejected: 24.12
    does not read it. A response whose header has been sent has promised to keep the connection: the
    client can send one more request, and its response closes the connection.

    Args:
        connections: the connections that are open now.

    Raises:
        AttributeError: `Http` has other attributes. Nothing is changed then.
    """
    original: Callable[..., Awaitable[None]] = Http.http1_response_header
    for name in ("keep_alive", "recv_buffer", "request_body"):
        getattr(Http, name)  # it must not be missed in a response
    ahead: dict[Http, int] = {}

    async def http1_response_header(self: Http, *args: Any, **kwargs: Any) -> None:
        self.keep_alive = self.keep_alive and _has_more(self, ahead)
        await original(self, *args, **kwargs)

    Http.http1_response_header = http1_response_header  # type: ignore[method-assign]
    for protocol in connections:
        http = getattr(protocol, "http", None)
        bound = getattr(http, "response_func", None)
        if http is not None and getattr(bound, "__func__", None) is original:
            http.response_func = http.http1_response_header


def _has_more(http: Http, ahead: dict[Http, int]) -> bool:
    """Whether the buffer of a connection has one more request, sent ahead (pipelining).

    Args:
        http: the parser of the connection.
        ahead: number of requests left, by connection. They are counted once, so that a client that
            goes on sending cannot delay the stop.
    """
    if http.request_body:
        return False  # what is in the buffer is the rest of this request
    left = ahead.setdefault(http, http.recv_buffer.count(b"\r\n\r\n"))
    ahead[http] = max(0, left - 1)
    return left > 0 and bool(http.recv_buffer)


def is_idle(protocol: Any) -> bool:
    """Whether a connection has no request that is being received or answered.

    Raises:
        AttributeError: Sanic's protocol has other attributes.
    """
    http = protocol.http
    return http is None or (http.stage is Stage.IDLE and not http.recv_buffer)


def is_websocket(protocol: Any) -> bool:
    """Whether a connection has become a WebSocket."""
    return getattr(protocol, "websocket", None) is not None


def cut_off(protocol: Any) -> None:
    """Close a connection even if a request is in flight, as `_cleanup` does after the grace."""
    if is_websocket(protocol):
        protocol.websocket.fail_connection(code=1001)
    else:
        protocol.abort()


def has_unfinished_tasks(app: App) -> bool:
    """Whether a named task of `app.add_task`, which Sanic has cancelled, has not ended yet."""
    tasks: Mapping[str, Any] = getattr(app, "_task_registry", {})
    return any(task is not None and not task.done() for task in tasks.values())


def count_requests(arguments: dict[str, Any]) -> Mapping[str, int]:
    """Have all connections of a worker count their requests in one dictionary.

    Each connection has a dictionary of its own, unless `worker_serve` is given one.

    Args:
        arguments: the keyword arguments of `worker_serve`, which are changed.

    Returns:
        The dictionary. `requests_count` is the sum. It stays 0 if Sanic takes no such dictionary.
    """
    from sanic.worker.serve import worker_serve

    if "state" not in worker_serve.__code__.co_varnames:
        return {"requests_count": 0}
    counted: dict[str, int] = arguments.get("state") or {}
    counted.setdefault("requests_count", 0)
    arguments["state"] = counted
    with suppress(Exception):  # those of secondary apps are counted where they can be
        for infos in (arguments.get("server_info") or {}).values():
            for info in infos:
                info.settings["state"] = counted
    return counted


def _let_stop_without_manager() -> None:
    """Let a worker of Sanic 24.12 stop although the SyncManager has died.

    Before its `after_server_stop` listeners run, such a worker reports that it no longer serves. If
    the SyncManager has died, the worker would exit there, with a traceback and without these
    listeners. The same happens to a worker that is told to stop during its `after_server_start`
    listeners, because it reports after them that it serves.
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
    """Be told why a worker exits before its start: the app's import, a factory or TLS has failed.

    `worker_serve` prints the exception, tells main without a reason, and returns, so that the exit
    code is 0. It does that in its `except` block.

    Args:
        tell: receives the exception.
    """
    from sanic.worker.multiplexer import WorkerMultiplexer

    original = getattr(WorkerMultiplexer, "terminate", None)
    if original is None:
        return

    def terminate(self: WorkerMultiplexer, early: bool = False, *args: Any, **kwargs: Any) -> None:
        error = sys.exc_info()[1]
        if early and error is not None:
            tell(error)
        original(self, early, *args, **kwargs)

    WorkerMultiplexer.terminate = terminate  # type: ignore[method-assign]


def before_stop(take: Callable[[App, bool], bool]) -> None:
    """Have a function called at each `app.stop`, before Sanic's own.

    Args:
        take: receives the app and `terminate`. Returns whether it has taken over the stop. If so,
            Sanic's own `stop` is not called.
    """
    original = Sanic.stop

    @wraps(original)
    def stop(self: App, terminate: bool = True, *args: Any, **kwargs: Any) -> None:
        if not take(self, terminate):
            original(self, terminate, *args, **kwargs)

    Sanic.stop = stop  # type: ignore[method-assign, assignment]


def ask_main_to_stop(app: App) -> None:
    """Ask main to stop the server, as `app.stop(terminate=True)` does in a worker."""
    if hasattr(app, "multiplexer"):
        app.multiplexer.terminate()
