"""How a stopping worker lets go of its connections, where no real client shows it."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace
from typing import ClassVar

import pytest

from sanic_reaper.compat import sanic_server
from sanic_reaper.worker.draining import IDLE_GRACE, Draining, _has_unread


def an_app(grace=15.0):
    return SimpleNamespace(
        config=SimpleNamespace(GRACEFUL_SHUTDOWN_TIMEOUT=grace), _task_registry={}
    )


@pytest.mark.parametrize("policy", ["asyncio", "uvloop"])
def test_a_loop_that_was_told_to_stop_twice_turns_once_more(policy):
    """The second word is left over, and would end the next run before it has begun."""
    loop = pytest.importorskip(policy).new_event_loop()
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.stop()
    Draining(an_app(), loop)._turn(0.01)
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()


@pytest.mark.parametrize("policy", ["asyncio", "uvloop"])
def test_a_handler_that_exits_meanwhile_changes_nothing(policy):
    loop = pytest.importorskip(policy).new_event_loop()

    async def leave():
        raise SystemExit(3)

    task = loop.create_task(leave())
    called = []
    Draining(an_app(), loop).clean_up(lambda: called.append(1))
    assert called == [1]
    assert isinstance(task.exception(), SystemExit)
    loop.close()


@pytest.mark.parametrize("fails", [True, False])
def test_sanics_own_clean_up_runs_and_has_nothing_to_wait_for(fails, monkeypatch):
    app, loop, seen = an_app(), asyncio.new_event_loop(), []
    draining = Draining(app, loop)
    if fails:
        monkeypatch.setattr(draining, "_drain", lambda grace: 1 / 0)
    draining.clean_up(lambda: seen.append(app.config.GRACEFUL_SHUTDOWN_TIMEOUT))
    assert seen == [15.0 if fails else 0.0]
    assert app.config.GRACEFUL_SHUTDOWN_TIMEOUT == 15.0
    loop.close()


def test_a_clean_up_of_another_kind_has_nothing_in_it():
    assert sanic_server.open_sockets(print).servers == []


class AnHttp:
    """What a connection has received and not yet answered."""

    def __init__(self, buffer, body=None):
        self.recv_buffer, self.request_body = bytearray(buffer), body


HEAD = b"GET / HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize(
    ("buffer", "body", "more"),
    [
        (b"", None, [False]),
        (HEAD, None, [True, False]),
        (HEAD * 3, None, [True, True, True, False]),
        (HEAD[:-1], None, [False]),
        (HEAD, True, [False]),
    ],
    ids=["nothing", "one", "three", "the beginning of one", "the body of this one"],
)
def test_how_many_requests_were_sent_ahead(buffer, body, more):
    http, ahead = AnHttp(buffer, body), {}
    found = []
    for _ in more:
        found.append(sanic_server._has_more(http, ahead))
        del http.recv_buffer[: len(HEAD)]
        http.recv_buffer += b"GET"  # it goes on sending
    assert found == more


class Kept(asyncio.Protocol):
    """A connection that its set knows, as Sanic's does."""

    known: ClassVar[list[Kept]] = []

    def connection_made(self, transport):
        self.known.append(self)
        self.transport = transport


@pytest.mark.parametrize("policy", ["asyncio", "uvloop"])
@pytest.mark.parametrize("is_drained", [True, False])
def test_a_connection_that_was_accepted_in_the_last_turn(policy, is_drained):
    """Its transport is made in a later turn of asyncio's loop. `False` is the control."""
    loop = pytest.importorskip(policy).new_event_loop()
    Kept.known.clear()
    server = loop.run_until_complete(loop.create_server(Kept, "127.0.0.1", 0))
    address = server.sockets[0].getsockname()
    with socket.create_connection(address):
        if policy == "uvloop":
            loop.run_until_complete(asyncio.sleep(0.05))
        else:
            loop.call_soon(loop.stop)
            loop.run_forever()  # one turn: it is accepted
        if is_drained:
            draining = Draining(an_app(), loop)
            draining._serving = sanic_server.Serving([server], [])
            draining._drain(0.0)
        else:
            server.close()
            loop.run_until_complete(asyncio.sleep(0.05))
        assert len(Kept.known) == (is_drained or policy == "uvloop")
        for one in Kept.known:
            one.transport.abort()
        loop.run_until_complete(asyncio.sleep(0))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    loop.close()


# -- connections ----------------------------------------------------------------------------------


class AConnection:
    """An idle connection of Sanic's, and how often it was closed."""

    http = None

    def __init__(self, sock=None, websocket=None):
        known = {"socket": sock}
        self.transport = None if sock is None else SimpleNamespace(get_extra_info=known.get)
        self.websocket = websocket
        self.closed = 0

    def close_if_idle(self):
        self.closed += 1


def close_idle(connection, times):
    """Close it, if it is to be closed, at each of these moments. Returns how often it was."""
    draining = Draining(an_app(), None)
    for now in times:
        draining._close_idle([connection], now)
    return connection.closed


def test_a_websocket_is_told_once_and_at_once():
    """Its client has to answer."""
    assert close_idle(AConnection(websocket=object()), [0.0, 0.03, IDLE_GRACE + 1.0]) == 1


@pytest.mark.parametrize(
    ("sent", "times", "closed"),
    [
        (b"", [0.0, IDLE_GRACE / 2], 0),
        (b"", [0.0, IDLE_GRACE + 0.1], 1),
        (b"GET", [0.0, IDLE_GRACE + 0.1], 0),
    ],
    ids=["idle for a moment", "idle for long", "a request that nobody has read yet"],
)
def test_an_idle_connection(sent, times, closed):
    ours, its = socket.socketpair()
    with ours, its:
        its.send(sent)
        assert close_idle(AConnection(ours), times) == closed


def test_a_connection_without_a_socket_has_nothing_unread():
    """One that is being closed has lost its transport, or its descriptor."""
    ours, its = socket.socketpair()
    its.send(b"GET")
    assert _has_unread(AConnection(ours))
    ours.close()
    its.close()
    assert not _has_unread(AConnection(ours))
    assert not _has_unread(AConnection())


def test_a_loop_that_nothing_but_exits_is_left_after_two_turns():
    """A handler can call `sys.exit()` in each of them: the worker exits all the same."""
    loop = asyncio.new_event_loop()
    exits = []

    def leave():
        exits.append(loop.call_soon(leave))
        raise SystemExit(3)

    loop.call_soon(leave)
    Draining(an_app(), loop)._turn(60.0)
    assert len(exits) == 2
    exits[-1].cancel()
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    loop.run_until_complete(asyncio.wait(left))
    loop.close()
