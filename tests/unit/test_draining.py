"""How a stopping worker lets go of its connections, where no real client shows it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from sanic_reaper.compat import sanic_server
from sanic_reaper.worker.draining import Draining


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
