"""The connections of a worker and their requests, read from Sanic's protocol objects.

Nothing is kept about a request: each question looks at what is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from sanic import Request

from ..model.questions import CLOSED, RECEIVING
from .sanic_server import is_websocket

if TYPE_CHECKING:
    from ..model.stacks import Frame

HANDLER = "handler"
STAGES = {
    "HANDLER": HANDLER,
    "RESPONSE": "response",
    "FAILED": "error handler",
    "IDLE": "after the response",
}
"""How the stages of `sanic.http.Http` are called, once the header of the request has arrived."""

STREAMING = "RESPONSE"
"""The name of the stage in which a response has begun."""

HANDLES = "handle_request"
"""The method of Sanic's app that calls middlewares and handlers. Sanic compiles it anew for each
app, with its name in the place of the file's (touchup/schemes/base.py)."""

RECEIVES = "receive_more"
"""The method of Sanic's protocol in which a request waits for the rest of its body."""

CONNECTS = "connection_task"
"""The method of Sanic's protocol that the task of a connection runs."""

WEBSOCKET = "WebSocket"
"""A connection that has become one."""


class Found(NamedTuple):
    """One request in flight.

    Attributes:
        request: Sanic's request.
        task: the task of its connection.
        began: `time.perf_counter` when its handler, or a middleware before that, began.
        stage: what is done with it, one of `STAGES`.
        connection: `HTTP`, `streaming`, `WebSocket` or `closed`.
    """

    request: Any
    task: asyncio.Task[Any] | None
    began: float
    stage: str
    connection: str


def share_connections(arguments: dict[str, Any]) -> list[set[Any]]:
    """Have each server of a worker keep its connections in a set that the caller knows too.

    Args:
        arguments: the keyword arguments of `worker_serve`, which are changed.

    Returns:
        The sets: that of the primary app, and those of the secondary apps. None if Sanic takes no
        such set.
    """
    from sanic.worker.serve import worker_serve

    if "connections" not in worker_serve.__code__.co_varnames:
        return []
    if arguments.get("connections") is None:
        arguments["connections"] = set()
    shared = [arguments["connections"]]
    with suppress(Exception):  # those of secondary apps where they can be had
        for infos in (arguments.get("server_info") or {}).values():
            for info in infos:
                shared.append(info.settings.setdefault("connections", set()))
    return shared


def id_of(request: Any) -> object:
    """The id of a request. "": the app makes ids by a method of its own, and has not made this one.

    That method is not called: it can count, or wait for a lock that this thread holds.
    """
    made = getattr(request, "_id", None)
    if made is None and _makes_ids(type(request)) is _makes_ids(Request):
        return request.id
    return "" if made is None else made


def _makes_ids(request_class: Any) -> object:
    """The function by which a class of requests makes ids. In Sanic's own it is a class method."""
    return getattr(request_class.generate_id, "__func__", request_class.generate_id)


def stage_of(found: Found, frames: Sequence[Frame]) -> str:
    """The stage of a request, also whether its body is still being received.

    Args:
        found: one of `in_flight`.
        frames: the lines in which it waits, innermost first.
    """
    if found.stage == HANDLER and any(frame[2] == RECEIVES for frame in frames[:3]):
        return RECEIVING
    return found.stage


def down_to_handler(frames: list[Frame]) -> list[Frame]:
    """The frames down to Sanic's call of the handler. Those below are Sanic's, and always the same.

    Args:
        frames: the lines in which a request waits, innermost first.
    """
    for at, (file, _, name) in enumerate(frames):
        if name == HANDLES and (file == HANDLES or file.endswith("/sanic/app.py")):
            return frames[:at] or frames
    return frames


def began_at(connections: list[set[Any]]) -> list[float]:
    """When each request in flight began. Each heartbeat asks, so it makes nothing else.

    Args:
        connections: of the servers of this worker.

    Raises:
        AttributeError: Sanic's protocol has other attributes.
    """
    return [
        http.perft0
        for protocols in connections
        for protocol in list(protocols)
        if (http := protocol.http) is not None
        and http.perft0 is not None
        and http.request is not None
    ]


def in_flight(connections: list[set[Any]]) -> Iterator[Found]:
    """The requests whose header has arrived, and whose handlers have not returned.

    Args:
        connections: of the servers of this worker.

    Raises:
        AttributeError: Sanic's protocol has other attributes.
    """
    for protocols in connections:
        for protocol in list(protocols):
            if (found := _request_of(protocol)) is not None:
                yield found


def forgotten(connections: list[set[Any]]) -> Iterator[Found]:
    """The requests whose client has closed the connection, and whose handlers have not returned.

    They are found by the tasks of the event loop.

    Args:
        connections: of the servers of this worker.

    Raises:
        AttributeError: Sanic's protocol has other attributes.
    """
    loop = asyncio._get_running_loop()
    known = {id(protocol._task) for protocols in connections for protocol in protocols}
    for task in asyncio.all_tasks(loop) if loop is not None else ():
        protocol = None if id(task) in known else _protocol_of(task)
        if protocol is not None and (found := _request_of(protocol)) is not None:
            is_http = found.connection != WEBSOCKET
            yield found._replace(connection=CLOSED) if is_http else found


def _protocol_of(task: asyncio.Task[Any]) -> Any:
    """The connection that a task runs. `None`: it runs something else, or has ended."""
    coroutine = task.get_coro()
    if getattr(getattr(coroutine, "cr_code", None), "co_name", "") != CONNECTS:
        return None
    frame = getattr(coroutine, "cr_frame", None)
    return None if frame is None else frame.f_locals.get("self")


def _request_of(protocol: Any) -> Found | None:
    http = protocol.http
    if http is None or http.perft0 is None or http.request is None:
        return None
    stage = getattr(http.stage, "name", "")
    kind = "streaming" if stage == STREAMING else "HTTP"
    if is_websocket(protocol):
        kind = WEBSOCKET
    return Found(http.request, protocol._task, http.perft0, STAGES.get(stage, ""), kind)
