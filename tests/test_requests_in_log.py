"""Which request hangs, and in which line: in every verdict, in the log, and at the endpoint."""

from __future__ import annotations

import json
import re
from signal import SIGTERM
from typing import Any

import pytest
from support.census import wait_until
from support.http import KeptAlive
from support.server import START, Server
from support.waiting import line_of, wait_for_requests


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
