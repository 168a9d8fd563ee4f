"""Which request hangs, and in which line: on demand."""

from __future__ import annotations

import json
import re
import sys
from contextlib import ExitStack
from signal import SIGCONT, SIGSTOP, SIGTERM

import pytest
from support.census import wait_until
from support.http import Exchange, KeptAlive, get
from support.marks import methods
from support.server import START, SUPERVISED, Server
from support.waiting import WORKER, asked, line_of, own_lines, wait_for_requests

GET = "GET {} HTTP/1.1\r\nHost: x\r\n\r\n"
BODY = "POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc"
UPGRADE = (
    "GET {} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)

STATES = {
    "/await/1": ("await", "Waiting.waits", "handler", "HTTP"),
    "/task": ("task", "Waiting.waits_for_a_task", "handler", "HTTP"),
    "/limited": ("limited", "Waiting.waits_with_a_limit", "handler", "HTTP"),
    "/several": ("several", "Waiting.waits_for_several", "handler", "HTTP"),
    "/generator": ("generator", "Waiting.waits_for_a_generator", "handler", "HTTP"),
    "/thread": ("thread", "Waiting.waits_for_a_thread", "handler", "HTTP"),
    "/executor": ("executor", "Waiting.waits_for_an_executor", "handler", "HTTP"),
    "/stream": ("stream", "Waiting.streams", "response", "streaming"),
    "/unread": ("unread", "Waiting.floods", "response", "streaming"),
    "/answered": ("answered", "Waiting.goes_on", "after the response", "HTTP"),
    "/fails": ("fails", "Waiting.fails", "handler", "HTTP"),
    "/missing": ("missing", "", "handler", "HTTP"),
    "/early": ("early", "Waiting.in_a_middleware", "handler", "HTTP"),
    "/late": ("late", "Waiting.late", "handler", "HTTP"),
    "/v2/shop/middleware": ("middleware", "Waiting.shop.never", "handler", "HTTP"),
    "/v2/shop/cart": ("cart", "Waiting.shop.cart", "handler", "HTTP"),
    "/body": ("", "Waiting.reads", "receiving the body", "HTTP"),
    "/upload": ("upload", "Waiting.uploads", "receiving the body", "HTTP"),
    "/socket": ("socket", "Waiting.talks", "handler", "WebSocket"),
    "/gone": ("gone", "Waiting.cleans_up", "handler", "closed"),
    "/await/ahead": ("await", "Waiting.waits", "handler", "HTTP"),
    "/elsewhere": ("elsewhere", "Other.waits_elsewhere", "handler", "HTTP"),
}
"""Each path: the comment of the line that it waits in, its route, its stage, its connection."""

HOW = {"/body": BODY, "/upload": BODY, "/socket": UPGRADE, "/await/ahead": GET + GET}
"""What is sent, if that is more than a request."""


@pytest.mark.parametrize("uvloop", [False, True])
@methods
def test_each_request_is_named_with_its_line(begin, ports, method, uvloop):
    second = ports.take()
    server = begin(method, uvloop, second, REQUEST_TIMEOUT=600)
    wait_until(lambda: get(second, "/unknown")[0] == 404, START, server.describe)
    with ExitStack() as opened:
        connections = {
            path: KeptAlive(second if "else" in path else server.port) for path in STATES
        }
        for path, connection in connections.items():
            opened.callback(connection.close)
            connection.send(
                HOW.get(path, GET).format(f"{path}?token=secret", "/quick?token=secret")
            )
        wait_for_requests(server, len(STATES))
        connections["/gone"].close()

        def is_named(path: str) -> bool:
            found = {request["path"]: request for request in asked(server)}
            return found.keys() == STATES.keys() and found[path]["connection"] == STATES[path][3]

        wait_until(lambda: is_named("/gone"), START, server.describe)
        wait_until(lambda: is_named("/unread"), START, server.describe)
        check_each(server)
        server.send(SIGTERM)
        server.wait_gone()


def check_each(server: Server) -> None:
    found = {request["path"]: request for request in asked(server)}
    assert found.keys() == STATES.keys()
    for path, (comment, route, stage, connection) in STATES.items():
        request = found[path]
        assert (request["route"], request["stage"]) == (route, stage), request
        assert request["method"] == ("POST" if HOW.get(path) == BODY else "GET")
        assert request["connection"] == connection, request
        assert own_lines(request)[:1] == ([line_of(comment)] if comment else []), request
        assert 0.0 <= request["seconds"] < START
        assert request["id"]
    assert "secret" not in server.ask("requests").text
    assert "ticker" not in json.dumps(found)


def test_a_websocket(begin, open_):
    server = begin(REAPER_SLOW_REQUEST=1.0)
    connection = KeptAlive(server.port)
    connection.send(UPGRADE.format("/socket"))
    [request] = wait_for_requests(server, 1)
    assert request["connection"] == "WebSocket"
    assert line_of("socket") in own_lines(request)
    open_(server, "/await/1")
    server.wait_for_output("GET /await/1 has been in flight")
    assert "/socket has been" not in server.output(), "it is older, and not slow"


def test_requests_that_were_sent_ahead_wait_unnamed(begin):
    """The one that is answered is in flight. Of the next ones nobody has read a line."""
    server = begin()
    connection = KeptAlive(server.port)
    connection.ask("/quick", "/await/1", "/await/2")
    [request] = wait_for_requests(server, 1)
    assert request["path"] == "/await/1"


def test_a_connection_that_is_kept_alive_has_none(begin):
    server = begin()
    connection = KeptAlive(server.port)
    connection.ask("/quick")
    connection.answer()
    assert asked(server) == []
    assert "no requests in flight; its event loop turns" in server.ask("requests").text


def test_another_app_of_the_same_server(begin, ports):
    second = ports.take()
    server = begin(second=second)
    exchange = wait_until(lambda: _connected(second), START, server.describe)
    [request] = wait_for_requests(server, 1)
    assert request["path"] == "/elsewhere"
    assert own_lines(request)[0] == line_of("elsewhere")
    exchange.close()


def _connected(port: int) -> Exchange | None:
    try:
        return Exchange(port, "/elsewhere")
    except ConnectionRefusedError:
        return None


@pytest.mark.parametrize("uvloop", [False, True])
@pytest.mark.parametrize("name", ["block", "together"])
def test_a_blocked_loop_is_no_obstacle(begin, open_, name, uvloop):
    server = begin(uvloop=uvloop, REAPER_BLOCKED_WARNING=1.0)
    open_(server, "/await/1")
    wait_for_requests(server, 1)
    open_(server, f"/{name}/8")
    server.wait_for("blocking")
    running, waiting = sorted(asked(server), key=lambda request: not request["runs"])
    assert (running["path"], running["runs"]) == (f"/{name}/8", True)
    assert own_lines(running)[0] == line_of(name)
    assert (waiting["path"], waiting["runs"]) == ("/await/1", False)
    assert own_lines(waiting)[0] == line_of("await")
    server.wait_for_output(f"request  GET /{name}/8, for")


@pytest.mark.parametrize("uvloop", [False, True])
def test_a_loop_that_is_blocked_for_a_client_that_has_gone(begin, uvloop):
    server = begin(uvloop=uvloop, REAPER_BLOCKED_WARNING=1.0)
    connection = KeptAlive(server.port)
    connection.ask("/leaves")
    wait_for_requests(server, 1)
    connection.close()
    server.wait_for("blocking")
    [request] = asked(server)
    assert (request["path"], request["connection"], request["runs"]) == ("/leaves", "closed", True)
    assert own_lines(request) == [line_of("leaves")]
    server.wait_for_output("request  GET /leaves, for")


@pytest.mark.parametrize("name", ["gil", "lock"])
def test_the_gil_in_c_leaves_the_stacks(begin, open_, name):
    """Also C code that has released the GIL: it waits, and no signal handler of Python runs."""
    server = begin()
    open_(server, "/await/1")
    wait_for_requests(server, 1)
    open_(server, f"/{name}")
    server.wait_for("blocking")
    said = server.ask("requests", "--json").data["workers"][0]
    assert said["how"] == (
        "blocking the event loop, in C code that holds the GIL or does not return"
    )
    assert said["requests"] == []
    assert said["error"].startswith(f"its requests are not known: it is {said['how']}; ")
    shown = server.ask("requests")
    assert shown.code == 1
    assert "no requests in flight" not in shown.text
    assert f"line {line_of(name)} in " in server.ask("dump", WORKER).text


def test_a_stopped_worker_is_not_asked(begin, open_):
    """The question would make it continue, under a debugger too."""
    server = begin()
    open_(server, "/await/1")
    [worker] = server.processes_of(server.events("serving"))
    worker.send(SIGSTOP)
    said = server.ask("requests")
    assert said.code == 1
    assert "it is stopped, by SIGSTOP or by a debugger, and can't be asked" in said.text
    worker.send(SIGCONT)
    [request] = wait_for_requests(server, 1)
    assert request["path"] == "/await/1"


def test_a_body_that_has_not_arrived(begin):
    server = begin(REQUEST_TIMEOUT=600)
    connection = KeptAlive(server.port)
    connection.send("POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
    [request] = wait_for_requests(server, 1)
    assert (request["method"], request["path"]) == ("POST", "/body")
    assert request["stage"] == "receiving the body"
    connection.send("defghij")

    def is_handled() -> bool:
        return asked(server)[0]["stage"] == "handler"

    wait_until(is_handled, START, server.describe)
    assert own_lines(asked(server)[0])[0] == line_of("body")


def test_a_request_that_sanic_has_cancelled(begin, open_):
    """One ends with its response. Of the other one the handler goes on, and its client waits."""
    server = begin(RESPONSE_TIMEOUT=1.0, REQUEST_TIMEOUT=1.0)
    half = KeptAlive(server.port)
    half.send("GET /await/1 HTTP/1.1\r\n")
    assert half.answer().status == 408
    exchange = open_(server, "/await/1")
    open_(server, "/gone")
    assert exchange.answer()[0] == 503

    def is_cancelled() -> bool:
        return [own_lines(request) for request in asked(server)] == [[line_of("gone")]]

    wait_until(is_cancelled, START, server.describe)
    [request] = asked(server)
    assert (request["path"], request["connection"]) == ("/gone", "HTTP")


def test_what_is_no_request(begin):
    server = begin(background=True)
    assert server.get("/work")[0] == 200
    assert asked(server) == []
    [worker] = [name for name in server.ask("ps").text.split() if name.startswith("Sanic-Server")]
    text = server.ask("dump", worker, "--tasks").text
    for function, comment in (("tick", "tick"), ("warm_up", "background"), ("work_on", "work")):
        assert f'waiting.py", line {line_of(comment)} in {function}' in text
    assert "\nticker: " in text
    assert "\nwork: " in text


@pytest.mark.parametrize("mode", ["single", "create_server", "asgi that stays"])
def test_where_there_is_no_main_process_there_is_nobody_to_ask(launch, mode):
    server = launch(SUPERVISED, argv=[sys.executable, "modes.py", mode])
    server.wait_for("after_server_start done" if mode == "single" else "up")
    said = server.ask("requests")
    assert said.code == 1
    assert "(under ASGI, and in a single process, none can)" in said.text


def test_tasks(begin):
    server = begin()
    said = server.ask("dump", "main", "--tasks")
    assert said.code == 0
    assert "main runs no event loop, and has no tasks" in said.text
    [worker] = [name for name in server.ask("ps").text.split() if name.startswith("Sanic-Server")]
    said = server.ask("dump", worker, "--tasks")
    assert re.search(
        r"^ticker: .*, awaits\n(  File .*\n)*  File .*waiting.py\", line \d+ in tick",
        said.text,
        re.M,
    )
