"""A stopping worker and its connections: each request is answered, and no client waited for."""

from __future__ import annotations

import time
from contextlib import closing, suppress
from signal import SIGKILL, SIGTERM

import pytest
import sanic
from support.census import holds, wait_until
from support.http import KeptAlive
from support.load import Load
from support.marks import methods, signals
from support.proxy import PROXIES, put_in_front
from support.server import PLAIN, SLACK, START, SUPERVISED, Server
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

LONG = {"GRACEFUL_SHUTDOWN_TIMEOUT": 15.0, "REAPER_SHUTDOWN_TIMEOUT": 20.0}
"""Sanic's own limit for a drain. A stop that waits for a client lasts as long."""

DRAINED = SUPERVISED.with_(workers=1, config={**LONG, "REAPER_ORPHAN_GRACE": 12.0})
IN_FLIGHT = 1.5
"""Seconds that a request takes that is under way at the stop."""

PROMPT = IN_FLIGHT + 1.0 + 2 * SLACK
"""Seconds that a stop may take then, on a busy machine; half of what it would take otherwise."""

both_loops = pytest.mark.parametrize("uvloop", [True, False])


def wait_drained(server: Server, since: float, signum: int = SIGTERM) -> None:
    server.wait_gone(PROMPT)
    assert time.monotonic() - since < PROMPT
    assert server.exit_code() == (-SIGKILL if signum == SIGKILL else 0)
    assert "SIGKILL" not in server.output()
    assert "Traceback" not in server.output()


@pytest.mark.smoke
@both_loops
@signals(SIGTERM, SIGKILL)
@methods
def test_a_request_in_flight_is_the_last_one_of_its_connection(launch, method, signum, uvloop):
    server = launch(DRAINED.with_(method=method).with_config(USE_UVLOOP=uvloop))
    server.wait_serving()
    with closing(KeptAlive(server.port)) as client:
        client.ask(f"/do/async:{IN_FLIGHT}")
        server.wait_for("request")
        sent = server.send(signum)
        answer = client.answer()
        assert (answer.status, answer.body) == (200, "done")
        assert answer.is_last
        client.wait_closed()
        wait_drained(server, sent, signum)


@both_loops
def test_a_request_of_which_only_the_beginning_has_come(launch, uvloop):
    subject = DRAINED.with_(listeners={"before_server_stop": "async:0.5"})
    server = launch(subject.with_config(USE_UVLOOP=uvloop))
    server.wait_serving()
    with closing(KeptAlive(server.port)) as client:
        client.send("GET / HTTP/1.1\r\nHost:")
        assert server.get()[0] == 200, "and so the loop has read it"
        sent = server.send(SIGTERM)
        server.wait_for("before_server_stop")
        client.send(" shop\r\n\r\n")
        assert client.answer().is_last
        wait_drained(server, sent)


@both_loops
def test_requests_that_were_sent_ahead_are_all_answered(launch, uvloop):
    server = launch(DRAINED.with_config(USE_UVLOOP=uvloop))
    server.wait_serving()
    with closing(KeptAlive(server.port)) as client:
        client.ask(f"/do/async:{IN_FLIGHT}", "/do/async:0.1", "/")
        server.wait_for("request")
        sent = server.send(SIGTERM)
        answers = [client.answer() for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 200]
        assert [answer.is_last for answer in answers] == [False, False, True]
        client.wait_closed()
        wait_drained(server, sent)


def test_a_client_that_sends_ahead_without_end_holds_nothing_up(launch):
    server = launch(DRAINED)
    server.wait_serving()
    with closing(KeptAlive(server.port)) as client:
        client.ask("/do/async:0.5", "/")
        server.wait_for("request")
        sent = server.send(SIGTERM)
        with suppress(EOFError, ConnectionError):
            for _ in range(1_000_000):
                client.ask("/", "/")
                client.answer()
        wait_drained(server, sent)


@both_loops
@pytest.mark.parametrize("goes_on", [True, False], ids=["and used again", "and left idle"])
def test_a_response_that_has_promised_to_keep_the_connection(launch, goes_on, uvloop):
    """Its header was sent before the stop. Idleness is looked for again when it is over."""
    server = launch(DRAINED.with_config(USE_UVLOOP=uvloop))
    server.wait_serving()
    with closing(KeptAlive(server.port)) as client:
        client.ask(f"/stream/{IN_FLIGHT}")
        server.wait_for("request")
        sent = server.send(SIGTERM)
        answer = client.answer()
        assert answer.body == "begun"
        assert not answer.is_last
        if goes_on:
            client.ask("/")
            assert client.answer().is_last
        client.wait_closed()
        wait_drained(server, sent)


@pytest.mark.skipif(
    sanic.__version__ < "25", reason="its handshake and the websockets of today don't get on"
)
@both_loops
def test_a_websocket_is_told_at_once(launch, uvloop):
    server = launch(DRAINED.with_config(USE_UVLOOP=uvloop))
    server.wait_serving()
    with connect(f"ws://127.0.0.1:{server.port}/echo") as client:
        client.send("hello")
        assert client.recv(timeout=10) == "hello"
        sent = server.send(SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=10)
        # Normal: Sanic has cancelled its handler first; or "going away".
        assert closed.value.rcvd.code in (1000, 1001)
        wait_drained(server, sent)


@both_loops
def test_a_pool_of_connections(launch, uvloop):
    server = launch(DRAINED.with_(workers=2).with_config(USE_UVLOOP=uvloop))
    server.wait_serving()
    pool = [KeptAlive(server.port) for _ in range(40)]
    try:
        for client in pool:
            client.ask("/")
            assert client.answer().status == 200
        busy, idle = pool[:15], pool[15:]
        for client in busy:
            client.ask(f"/do/async:{IN_FLIGHT}")
        server.wait_for("request", len(busy))
        sent = server.send(SIGTERM)
        server.wait_for("before_server_stop", 2)
        for client in idle[:10]:
            client.ask("/")
        answers = [client.answer() for client in [*busy, *idle[:10]]]
        assert all(answer.status == 200 and answer.is_last for answer in answers)
        for client in pool:
            client.wait_closed()
        wait_drained(server, sent)
    finally:
        for client in pool:
            client.close()


def test_a_task_that_needs_a_moment_to_clean_up(launch):
    server = launch(DRAINED)
    server.wait_serving()
    assert server.get("/task/0.5")[0] == 200
    server.wait_for("holding")
    sent = server.send(SIGTERM)
    wait_drained(server, sent)
    assert server.events("cleaned up")


def test_what_outlasts_the_grace_is_cut_off(launch):
    server = launch(DRAINED.with_config(GRACEFUL_SHUTDOWN_TIMEOUT=1.0))
    server.wait_serving()
    with closing(KeptAlive(server.port)) as client:
        client.ask("/do/async:60")
        server.wait_for("request")
        sent = server.send(SIGTERM)
        with pytest.raises((EOFError, ConnectionError)):
            client.answer()
        wait_drained(server, sent)


@methods
def test_a_stop_is_a_stop_where_nothing_of_this_can_be_done(launch, method):
    """In another Sanic, perhaps, which has other names for what it takes: a courtesy, no more."""
    server = launch(DRAINED.with_(method=method, other_names=True, workers=2))
    server.wait_serving()
    exchange = server.request(f"/do/async:{IN_FLIGHT}")
    sent = server.send(SIGTERM)
    assert exchange.answer() == (200, "done")
    wait_drained(server, sent)


def test_control_plain_sanic_waits_for_the_client(launch):
    server = launch(PLAIN.with_(workers=1).with_config(GRACEFUL_SHUTDOWN_TIMEOUT=8.0))
    server.wait_serving()
    with closing(KeptAlive(server.port)) as client:
        client.ask(f"/do/async:{IN_FLIGHT}")
        server.wait_for("request")
        server.send(SIGTERM)
        assert not client.answer().is_last
        assert holds(lambda: not server.command.ended, 5)


# -- a proxy in front -----------------------------------------------------------------------------

proxies = pytest.mark.parametrize("proxy", PROXIES)


@proxies
@signals(SIGTERM, SIGKILL)
def test_a_stop_behind_a_proxy(launch, ports, proxy, signum):
    """The proxy keeps its connections to the server, and closes none of them by itself."""
    server = launch(DRAINED.with_(workers=2))
    server.wait_serving()
    own = ports.take()
    put_in_front(proxy, server.port, own, server.box)
    with closing(KeptAlive(own)) as client, closing(KeptAlive(own)) as other:
        other.ask("/")
        assert other.answer().status == 200
        client.ask(f"/do/async:{IN_FLIGHT}")
        server.wait_for("request")
        main, workers = server.main, server.workers
        sent = server.send(signum)
        assert client.answer().body == "done"
        wait_until(lambda: not any(one.alive for one in [main, *workers]), PROMPT, server.describe)
        assert time.monotonic() - sent < PROMPT
        assert "SIGKILL" not in server.output()


@proxies
@both_loops
def test_no_request_fails_behind_a_proxy_while_workers_are_recycled(launch, ports, proxy, uvloop):
    subject = SUPERVISED.with_(on_event="note", workers=2)
    server = launch(subject.with_config(REAPER_MAX_REQUESTS=100, USE_UVLOOP=uvloop))
    server.wait_serving()
    own = ports.take()
    log = put_in_front(proxy, server.port, own, server.box)
    with Load(own, clients=8, pause=0.005) as load:
        server.wait_for("worker.recycled", 3, 2 * START)
    assert not load.failures, log.read_text()
    assert sum(load.answers.values()) > 100


@proxies
def test_no_request_fails_behind_a_proxy_while_workers_are_restarted(launch, ports, proxy):
    server = launch(SUPERVISED)
    old = server.wait_serving()
    own = ports.take()
    log = put_in_front(proxy, server.port, own, server.box)
    with Load(own, clients=8, pause=0.005) as load:
        assert server.get("/restart-without-downtime")[0] == 200
        wait_until(lambda: not any(one.alive for one in old), START, server.describe)
    assert not load.failures, log.read_text()
