"""`REAPER_ENDPOINT`: any worker answers for the whole server."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.census import wait_until
from support.http import HOST, Exchange, get
from support.marks import methods
from support.server import SLACK, SUPERVISED, Server

from sanic_reaper.state.server import STALE

PREFIX = "/__reaper__"
WITH_ENDPOINT = SUPERVISED.with_config(REAPER_ENDPOINT=PREFIX)


def ask(server: Server, path: str) -> tuple[int, str]:
    """Quickly, for the worker that has accepted it may be the one that hangs."""
    return server.get(f"{PREFIX}/{path}", timeout=1)


def wait_for_answer(server: Server, path: str, status: int, words: str, within: float = 10) -> None:
    last: list[tuple[int, str]] = []

    def is_there() -> bool:
        last[:] = [ask(server, path)]
        return last[0][0] == status and words in last[0][1]

    wait_until(is_there, within, lambda: f"{path}: {status} {words!r}, not {last}")


def wait_until_ready(server: Server) -> None:
    wait_for_answer(server, "ready", 200, "ok", within=20)


def samples(text: str) -> dict[str, float]:
    return {
        " ".join([sample.name.removeprefix("sanic_reaper_"), *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def metrics(server: Server) -> dict[str, float]:
    status, body = ask(server, "metrics")
    return samples(body) if status == 200 else {}


def wait_for_metric(server: Server, name: str, is_it: Callable[[float], bool]) -> dict[str, float]:
    """All metrics of the first answer in which it is: the other worker may have looked earlier."""
    found: dict[str, float] = {}

    def is_there() -> bool:
        found.clear()
        found.update(metrics(server))
        return name in found and is_it(found[name])

    wait_until(is_there, 10, lambda: f"{name}: {found}")
    return found


def exchange(server: Server, method: str, path: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(HOST, server.port, timeout=5)
    connection.request(method, f"{PREFIX}/{path}")
    return connection.getresponse()


@pytest.mark.every_method
@methods
def test_any_worker_answers_for_the_whole_server(launch, method):
    server = launch(WITH_ENDPOINT.with_(method=method))
    workers = server.wait_serving()
    wait_until_ready(server)
    wait_for_answer(server, "live", 200, "ok")  # the other worker may have looked `FRESH` before
    # One makes it ready.
    before = wait_for_metric(server, "workers serving", lambda number: number == 2)
    assert before["workers_wanted"] == 2
    assert before["worker_starts_total"] == 2
    assert before["watchdog_up"] == 1
    assert before["worker_deaths_total signal"] == before["worker_restarts_total signal"] == 0
    assert 0 < before["worker_startup_seconds Sanic-Server-1-0"] < 30

    [first, second] = workers
    first.send(SIGKILL)
    wait_for_metric(server, "worker_restarts_total signal", lambda number: number == 1)
    wait_until_ready(server)
    second.send(SIGKILL)
    after = wait_for_metric(server, "worker_restarts_total signal", lambda number: number == 2)
    assert after["worker_deaths_total signal"] == 2, "not one of these workers has seen both"
    assert after["worker_starts_total"] == 4
    assert all(after[name] >= number for name, number in before.items() if "_total" in name)

    status = json.loads(ask(server, "status")[1])
    assert status["method"] == method
    assert status["main"]["pid"] == server.events("main_process_start")[-1].pid
    assert [one["cause"] for one in status["events"] if one["name"] == "worker.died"] == [
        "signal"
    ] * 2
    assert str(server.box.folder) not in json.dumps(status)
    assert server.stop() == 0


def test_what_is_asked_and_how(launch):
    server = launch(WITH_ENDPOINT.with_(method="fork", workers=1, manage=True))
    server.wait_serving()
    wait_until_ready(server)
    [custom] = server.processes_of(server.wait_for("custom process"))
    custom.send(SIGKILL)
    for path in ("live", "ready", "metrics", "status"):
        answer, head = exchange(server, "GET", path), exchange(server, "HEAD", path)
        assert (answer.status, head.status) == (200, 200)
        assert answer.headers["Cache-Control"] == head.headers["Cache-Control"] == "no-store"
        assert answer.read()
        assert head.read() == b""
        assert exchange(server, "POST", path).status == 405
    assert (
        exchange(server, "GET", "metrics")
        .headers["Content-Type"]
        .startswith("text/plain; version=")
    )
    assert exchange(server, "GET", "").status == 404
    assert exchange(server, "GET", "kill").status == 404
    documented = server.get("/docs/openapi.json")
    assert documented[0] == 200
    assert "/do/{action}" in documented[1]
    assert PREFIX not in documented[1]
    if shutil.which("promtool"):
        body = exchange(server, "GET", "metrics").read()
        done = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True)
        assert (done.returncode, done.stdout + done.stderr) == (0, b"")
    assert server.get("/middleware") == (200, "0")
    death = {"name": "worker.died", "role": "process", "cause": "signal", "value": 1}
    wait_until(
        lambda: death in json.loads(ask(server, "status")[1])["counters"], 5, server.describe
    )
    assert metrics(server)["worker_deaths_total signal"] == 0, "it was none"
    assert server.get("/imported/sanic_reaper.worker.endpoint") == (200, "True")
    # Somebody has tidied up.
    (server.box.folder / "sanic-reaper").rename(server.box.folder / "elsewhere")
    wait_for_answer(server, "live", 503, "the state files of main can't be read: No such file")
    assert ask(server, "metrics")[0] == ask(server, "status")[0] == 503
    assert server.get()[0] == 200
    assert server.stop() == 0


def test_it_is_off_by_default(launch):
    server = launch(SUPERVISED.with_(workers=1))
    server.wait_serving()
    assert ask(server, "live")[0] == ask(server, "status")[0] == 404
    assert server.get("/imported/sanic_reaper.worker.endpoint") == (200, "False")
    assert server.get("/imported/sanic_reaper.state.discovery") == (200, "False")
    assert server.stop() == 0


def test_a_worker_that_hangs_and_a_main_that_is_stopped(launch):
    server = launch(WITH_ENDPOINT.with_config(REAPER_HEARTBEAT_TIMEOUT=4.0))
    server.wait_serving()
    wait_until_ready(server)
    Exchange(server.port, "/do/block")
    server.wait_for("holding")
    wait_for_answer(server, "ready", 503, "] is stalled")
    assert ask(server, "live")[0] == 200, "the other one answers"
    assert metrics(server)["workers blocked"] == 1
    wait_for_metric(server, "blocked_seconds_total", lambda seconds: seconds > 3)
    wait_for_metric(server, "worker_restarts_total hung", lambda number: number == 1)
    wait_until_ready(server)
    after = metrics(server)
    assert after["kills_total worker hung"] == after["worker_deaths_total hung"] == 1
    assert 3 < after["blocked_seconds_total"] < 4 + SLACK, "it is not forgotten with the worker"

    server.main.send(SIGSTOP)
    stopped = time.monotonic()
    wait_for_answer(
        server, "live", 503, "the main process's loop has been stalled for ", within=STALE + SLACK
    )
    assert time.monotonic() - stopped > STALE - 2
    assert ask(server, "ready")[0] == 503
    assert metrics(server)["main_beat_age_seconds"] >= STALE
    assert server.get()[0] == 200, "and goes on"
    server.main.send(SIGCONT)
    wait_until_ready(server)
    assert server.stop() == 0


@pytest.mark.parametrize("ready_when_done", [True, False])
def test_background_work_keeps_nobody_from_asking(launch, ready_when_done):
    subject = WITH_ENDPOINT.with_(
        method="fork",
        workers=1,
        listeners={"before_server_start": "async"},
        decorate={"background": ([], {"ready_when_done": ready_when_done})},
    )
    server = launch(subject)
    server.wait_serving()
    server.wait_for("holding")
    wait_for_answer(server, "live", 200, "ok")
    if ready_when_done:
        wait_for_answer(server, "ready", 503, "still does background work: listen")
        assert server.get()[0] == 503
        assert metrics(server)["workers background"] == 1
    else:
        wait_until_ready(server)
        assert server.get()[0] == 200
        assert metrics(server)["workers serving"] == 1
    assert server.stop() == 0


def test_a_route_of_the_apps_own_is_in_the_way(launch):
    server = launch(WITH_ENDPOINT.with_(own_route=f"{PREFIX}/live"))
    assert server.exit_code() == 78
    [error] = server.errors()
    assert error.endswith(
        f"REAPER_ENDPOINT = '{PREFIX}' is not allowed: the app has a route {PREFIX}/live"
    )
    assert not server.events("before_server_start")
    server.wait_gone()


def test_of_two_apps_the_first_one_answers(launch, ports):
    second = ports.take()
    server = launch(
        WITH_ENDPOINT.with_(method="fork"),
        argv=[sys.executable, "modes.py", "two apps"],
        env={"SECOND_PORT": str(second)},
    )
    server.wait_serving()
    wait_until_ready(server)
    assert get(second) == (200, "Secondary")
    assert get(second, f"{PREFIX}/live")[0] == 404
    assert server.stop() == 0


def test_without_a_main_process_there_are_no_such_paths(launch):
    server = launch(WITH_ENDPOINT, argv=[sys.executable, "modes.py", "single"])
    server.wait_for("after_server_start done")
    assert ask(server, "live")[0] == 404
    assert "REAPER_ENDPOINT has no effect" in server.output()
    server.command.process.send(SIGTERM)
    assert server.exit_code() == 0
