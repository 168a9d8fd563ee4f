"""What is touched inside the server that a worker runs: its signals, its connections, its stop."""

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
except ImportError:  # a Sanic of the future: clients are told less of a stop
    Http = Stage = None  # type: ignore[assignment, misc]

from .sanic_app import App, apps


def substitute_worker_signals(
    set_up: Callable[[App, bool, bool, asyncio.AbstractEventLoop], None],
    on_serving: Callable[[Callable[[], None] | None, asyncio.AbstractEventLoop], None],
    clean_up: Callable[[Callable[[], None]], None],
) -> None:
    """Replace how a worker sets up its signals, and learn when its loop starts to run for ever.

    `_serve_http_1` looks both functions up in its module when it needs them.

    Args:
        set_up: receives Sanic's arguments: app, run_multiple, register_sys_signals, loop. The third
            is true: where there is a main process, Sanic takes nothing else (`prepare` of
            mixins/startup.py).
        on_serving: receives the function with which Sanic ends the worker's connections, if any,
            and the loop.
        clean_up: is called instead of that function, with it.
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
    for app in apps():
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
    """Whether a connection has no request that is being received or answered.

    Raises:
        AttributeError: Sanic's protocol has other attributes.
    """
    http = protocol.http
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
    tasks: Mapping[str, Any] = getattr(app, "_task_registry", {})
    return any(task is not None and not task.done() for task in tasks.values())


def count_requests(arguments: dict[str, Any]) -> Mapping[str, int]:
    """Have the protocols of a worker, and of its secondary apps, count together.

    Each counts its requests in a dictionary of its own, unless `worker_serve` is given one.

    Returns:
        The dictionary, whose `requests_count` is the sum. It stays 0 where Sanic takes no such
        dictionary.
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
    """Ask, when somebody calls `app.stop`, before Sanic does what it does.

    Args:
        take: called with the app and `terminate`; whether it sees to the stop itself.
    """
    original = Sanic.stop

    @wraps(original)
    def stop(self: App, terminate: bool = True, *args: Any, **kwargs: Any) -> None:
        if not take(self, terminate):
            original(self, terminate, *args, **kwargs)

    Sanic.stop = stop  # type: ignore[method-assign, assignment]


def tell_main_to_stop(app: App) -> None:
    """What `app.stop(terminate=True)` does first, in a worker."""
    if hasattr(app, "multiplexer"):
        app.multiplexer.terminate()
