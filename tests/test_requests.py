"""Which request hangs, and in which line: on demand, and in every verdict."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from contextlib import ExitStack
from signal import SIGCONT, SIGSTOP, SIGTERM
from typing import Any

import pytest
from support.census import wait_until
from support.http import Exchange, KeptAlive, get
from support.marks import methods
from support.server import LIMITS, START, SUBJECTS, SUPERVISED, Server

APP = SUBJECTS / "waiting.py"
WORKER = "Sanic-Server-0-0"

Begin = Callable[..., Server]


def line_of(name: str) -> int:
    """The line that waits, by its comment."""
    lines = APP.read_text().splitlines()
    return next(at for at, line in enumerate(lines, 1) if line.endswith(f"# in {name}"))


@pytest.fixture
def begin(launch) -> Begin:
    """Start `subjects/waiting.py`, and wait until it serves."""

    def start(
        method: str = "fork",
        uvloop: bool = False,
        second: int = 0,
        background: bool = False,
        **config: Any,
    ) -> Server:
        how = {"method": method, "uvloop": uvloop, "second": second, "background": background}
        how["config"] = {**LIMITS, **config}
        server = launch(
            SUPERVISED, argv=[sys.executable, str(APP)], env={"WAITING": json.dumps(how)}
        )
        server.wait_for("serving")
        wait_until(lambda: server.get("/quick")[0] == 200, START, server.describe)
        return server

    return start


@pytest.fixture
def open_() -> Any:
    """Sends a request, and closes the connection at the end of the test."""
    with ExitStack() as connections:

        def send(server: Server, path: str) -> Exchange:
            exchange = Exchange(server.port, path, timeout=60)
            connections.callback(exchange.close)
            return exchange

        yield send


def asked(server: Server, *arguments: str) -> list[dict[str, Any]]:
    """The requests in flight of all workers, as the command tells."""
    said = server.ask("requests", *arguments, "--json")
    assert said.code == 0, said.text
    return [request for worker in said.data["workers"] for request in worker["requests"]]


def wait_for_requests(server: Server, count: int) -> list[dict[str, Any]]:
    def enough() -> list[dict[str, Any]]:
        found = asked(server)
        return found if len(found) >= count else []

    return wait_until(enough, START, lambda: f"{count} requests\n{server.describe()}")


def own_lines(request: dict[str, Any]) -> list[int]:
    return [line for file, line, _ in request["frames"] if file == str(APP)]


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


# -- verdicts -------------------------------------------------------------------------------------


def lost(server: Server) -> list[str]:
    return re.findall(r"lost: (.*)", server.output())


@pytest.mark.parametrize("uvloop", [False, True])
def test_what_a_stop_waits_for_and_loses(begin, open_, uvloop):
    server = begin(uvloop=uvloop, GRACEFUL_SHUTDOWN_TIMEOUT=60, REAPER_SHUTDOWN_TIMEOUT=5.0)
    for number in range(12):
        open_(server, f"/await/{number}?secret")
    wait_for_requests(server, 12)
    server.send(SIGTERM)
    server.wait_gone()
    output = server.output()
    assert re.search(r"waits for 12 requests, the oldest GET /await/\d+, \d+ s$", output, re.M)
    assert output.count("waits for") == 1
    told = lost(server)
    assert len(told) == 11
    assert told[-1] == "2 more"
    where = f"waiting.py:{line_of('await')} in waits"
    assert all(
        re.fullmatch(rf"GET /await/\d+ \(\d+ s\), awaits {where}", one) for one in told[:-1]
    ), told
    assert "secret" not in output
    report = server.ask("report", "--json").data
    assert "GET /await/" in json.dumps(report)


@pytest.mark.parametrize("uvloop", [False, True])
def test_a_hung_worker_tells_what_it_loses(begin, open_, uvloop):
    server = begin(uvloop=uvloop, REAPER_HEARTBEAT_TIMEOUT=2.0)
    open_(server, "/await/1")
    wait_for_requests(server, 1)
    open_(server, "/block/600")
    server.wait_for_output("a replacement starts")
    told = lost(server)
    assert any(one.startswith("GET /block/600") and "runs in waiting.py" in one for one in told), (
        told
    )
    assert any(one.startswith("GET /await/1") for one in told)


def test_a_worker_that_can_not_tell_what_it_loses(begin, open_):
    """C code holds the GIL: the last heartbeat had their number."""
    server = begin(REAPER_HEARTBEAT_TIMEOUT=2.0, REAPER_ENDPOINT="/-")
    open_(server, "/await/1")

    def has_beaten() -> bool:
        return (json.loads(server.get("/-/status")[1])["requests_in_flight"] or 0) >= 1

    wait_until(has_beaten, START, server.describe)
    open_(server, "/gil")
    server.wait_for_output("a replacement starts")
    [line] = lost(server)
    assert re.fullmatch(r"[1-9]\d* requests?, which the worker could not describe", line)


def test_a_replaced_worker_tells_what_it_loses(begin, open_):
    server = begin(GRACEFUL_SHUTDOWN_TIMEOUT=60, REAPER_SHUTDOWN_TIMEOUT=4.0)
    open_(server, "/await/1")
    wait_for_requests(server, 1)
    assert server.get("/replace")[0] == 200
    server.wait_for_output("lost: GET /await/1")


def test_a_recycled_worker_tells_what_it_loses(begin, open_):
    server = begin(
        GRACEFUL_SHUTDOWN_TIMEOUT=60, REAPER_SHUTDOWN_TIMEOUT=4.0, REAPER_MAX_LIFETIME=3.0
    )
    open_(server, "/await/1")
    server.wait_for_output("lost: GET /await/1")
    assert "did not stop in time after it was replaced" in server.output()


def test_a_forced_stop_tells_what_it_loses(begin, open_):
    server = begin(GRACEFUL_SHUTDOWN_TIMEOUT=60, REAPER_SHUTDOWN_TIMEOUT=30.0)
    open_(server, "/await/1")
    wait_for_requests(server, 1)
    server.send(SIGTERM)
    server.wait_for_output("waits for 1 request, GET /await/1")
    server.send(SIGTERM)
    server.wait_gone()
    assert [one.partition(" (")[0] for one in lost(server)] == ["GET /await/1"]


def test_without_paths(begin, open_):
    server = begin(REAPER_REQUEST_PATHS=False, REAPER_SLOW_REQUEST=1.0)
    open_(server, "/await/private")
    wait_for_requests(server, 1)
    server.wait_for_output("GET Waiting.waits has been in flight")
    said = server.ask("requests")
    assert "GET Waiting.waits " in said.text
    server.send(SIGTERM)
    server.wait_gone()
    assert "private" not in said.text + server.output()


SECRETS = {"path-secret", "query-secret", "header-secret", "cookie-secret", "body-secret"}
ASK = (
    "POST /body/path-secret?a=query-secret HTTP/1.1\r\nHost: x\r\nX-Key: header-secret\r\n"
    "Cookie: c=cookie-secret\r\nContent-Length: 20\r\n\r\na=body-secret"
)


@pytest.mark.parametrize("shows_paths", [True, False], ids=["with paths", "without"])
def test_what_is_nobodys_business_is_nowhere(begin, open_, shows_paths):
    """In no line of the log, no answer of a command, no event, no file of a run, no document."""
    server = begin(
        background=True,
        REAPER_REQUEST_PATHS=shows_paths,
        REAPER_SLOW_REQUEST=1.0,
        REAPER_BLOCKED_WARNING=1.0,
        REAPER_ENDPOINT="/-",
        REQUEST_TIMEOUT=600,
        GRACEFUL_SHUTDOWN_TIMEOUT=60,
        REAPER_SHUTDOWN_TIMEOUT=8.0,
    )
    connection = KeptAlive(server.port)
    connection.send(ASK)
    open_(server, "/await/path-secret?a=query-secret")
    server.wait_for("request.slow", 2)
    [worker] = [name for name in server.ask("ps").text.split() if name.startswith("Sanic-Server")]
    asked = [["requests"], ["requests", "--json"], ["dump", worker, "--tasks"], ["ps", "--json"]]
    told = [server.ask(*arguments).text for arguments in asked]
    told += [server.get(f"/-/{page}")[1] for page in ("status", "metrics")]
    open_(server, "/block/4.0?a=query-secret")
    server.wait_for("worker.blocked")
    server.send(SIGTERM)
    server.wait_for("worker.killed")
    server.wait_gone()
    told += [server.ask("report", *how).text for how in (["--full"], ["--json"], ["--html", "-"])]
    told += [server.output(), str(server.events())]
    told += [file.read_text() for file in server.box.folder.rglob("*.state")]
    whole = "\n".join(told)
    shown = {secret for secret in SECRETS if secret in whole}
    assert shown == ({"path-secret"} if shows_paths else set())
    for words in ("lost: ", "waits for ", "has been in flight", "    request  GET "):
        assert words in server.output()


@pytest.mark.parametrize("uvloop", [False, True])
def test_a_slow_request_is_reported_once(begin, open_, uvloop):
    server = begin(uvloop=uvloop, REAPER_SLOW_REQUEST=1.0)
    open_(server, "/await/1?secret")
    line = server.wait_for_output("has been in flight for")
    assert re.search(
        r"GET /await/1 has been in flight for \d\.\d s \(REAPER_SLOW_REQUEST = 1 s\)", line
    )
    where = server.wait_for_output("it awaits")
    assert f"waiting.py:{line_of('await')} in waits" in where
    open_(server, "/task")
    server.wait_for_output("GET /task has been in flight")
    assert server.output().count("/await/1 has been in flight") == 1
    assert "secret" not in server.output()


def test_a_client_can_not_forge_a_line(begin):
    """It chooses the id, and Sanic accepts a line break and an escape sequence there."""
    server = begin(REAPER_SLOW_REQUEST=1.0)
    connection = KeptAlive(server.port)
    forged = "1\nERROR: [reaper] forged\x1b[2J"
    connection.send(f"GET /await/1 HTTP/1.1\r\nHost: x\r\nX-Request-ID: {forged}\r\n\r\n")
    line = server.wait_for_output("route Waiting.waits")
    assert r"id 1\nERROR: [reaper] forged\x1b[2J, handler" in line
    [request] = wait_for_requests(server, 1)
    assert request["id"] == r"1\nERROR: [reaper] forged\x1b[2J"
    said = server.ask("requests").text
    assert r"id 1\nERROR" in said
    assert "\x1b" not in said + server.output()


def test_counts_for_everybody_who_reaches_the_port(begin, open_):
    server = begin(REAPER_ENDPOINT="/-")
    open_(server, "/await/private")

    def status() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(server.get("/-/status")[1])
        return found

    wait_until(lambda: (status()["requests_in_flight"] or 0) >= 1, START, server.describe)
    document = status()
    worker = next(one for one in document["processes"] if one["role"] == "worker")
    assert worker["requests_in_flight"] >= 1
    assert worker["oldest_request_seconds"] > 0.0
    assert "private" not in json.dumps(document)
    metrics = server.get("/-/metrics")[1]
    assert re.search(r'^sanic_reaper_requests_in_flight\{worker="[^"]+"\} [1-9]', metrics, re.M)
    assert re.search(r'^sanic_reaper_oldest_request_seconds\{worker="[^"]+"\} \d', metrics, re.M)
