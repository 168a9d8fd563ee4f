"""`sanic-reaper report` on real servers: one that was stopped, one whose main died, one that never
served. The command runs in the server's box: elsewhere its pids would mean nothing.
"""

from __future__ import annotations

import json
import re
from signal import SIGKILL, SIGTERM
from typing import Any
from xml.etree import ElementTree

import pytest
from support.census import wait_until
from support.commands import run
from support.marks import methods
from support.server import BOUND, ORPHAN_GRACE, SHUTDOWN_TIMEOUT, START, SUPERVISED, Server

SLOW = SUPERVISED.with_(on_event="note", listeners={"before_server_start": "block:1"})


def report(server: Server, *arguments: str) -> str:
    """Of the subject: root also sees what servers outside of the box leave in /run."""
    output = server.box.folder / "report"
    said = run(server.box, server.env, output, "report", "--app", "Subject", *arguments)
    assert said.code == 0, said.text
    return said.text


def record(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(report(server, "--json"))
    return found


def workers_in(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in found["processes"] if one["role"] == "worker"]


@pytest.mark.smoke
@methods
def test_a_slow_start_a_killed_worker_and_a_stop_that_one_held_up(launch, method):
    server = launch(SLOW.with_(method=method))
    victim, _ = server.wait_serving()
    wait_until(
        lambda: record(server)["server"]["outcome"] == "serving",
        20,  # each look is a new process, on a busy machine
        lambda: f"{record(server)}\n{server.describe()}",
    )
    alive = report(server)
    assert "serving since" in alive
    assert "STOP" not in alive

    victim.send(SIGKILL)
    server.wait_for("worker.replaced")
    server.request("/do/block")
    assert server.stop() == 0

    found = record(server)
    told = found["server"]
    assert (told["outcome"], told["exit_code"]) == ("stopped", 0)
    assert told["reason"] == "stopping on SIGTERM"
    assert told["serving_at"] - told["began"] > 1
    assert told["began"] < told["serving_at"] < told["stop_at"] < told["ended_at"]
    assert SHUTDOWN_TIMEOUT - 1.5 < told["stop_seconds"] < BOUND
    first = workers_in(found)
    assert len(first) == 3
    for worker in first:
        handler, _late = [one for one in worker["handlers"] if one["name"] == "listen_blocking"]
        assert "subject.py:" in handler["place"]
        assert 0.9 < handler["ended"] - handler["began"] < 5
        assert worker["began"] < worker["imported_at"] <= handler["began"]
        assert handler["ended"] <= worker["ready_at"]
    [dead] = [one for one in first if one["ended_at"] < told["stop_at"]]
    assert (dead["exit_code"], dead["killed_by"]) == (-SIGKILL, None)
    [heir] = [one for one in first if one["in_place_of"]]
    assert heir["in_place_of"] == dead["pid"]
    [held_up] = [one for one in first if one["killed_by"]]
    assert held_up["killed_by"] == "watchdog"
    assert held_up["killed_for"] == "did not stop in time"
    assert held_up["told_to_stop_at"] == told["stop_at"]
    [other] = [one for one in first if one not in (dead, held_up)]
    assert other["exit_code"] == 0
    assert found["watchdog"] == [], "main has lived to its end"

    text = report(server)
    assert "stopped on SIGTERM" in text
    assert "killed by the watchdog: did not stop in time" in text
    assert "main died" not in text
    target = server.box.folder / "page.html"
    report(server, "--html", str(target))
    page = ElementTree.fromstring(target.read_text())
    rows = page.findall(".//table/caption/../tbody/tr")
    assert len(rows) == len(found["processes"])


@methods
def test_main_that_was_killed_and_what_the_watchdog_did_then(launch, method):
    server = launch(SLOW.with_(method=method))
    server.wait_serving()
    before = wait_until(
        lambda: next(iter([found] if (found := record(server))["server"]["serving_at"] else []), 0),
        20,
        server.describe,
    )
    server.request("/do/block")
    server.send(SIGKILL)
    server.wait_gone()

    found = record(server)
    told = found["server"]
    assert told["outcome"] == "killed"
    assert told["exit_code"] is None
    assert before["server"]["outcome"] == "serving"
    assert told["serving_at"] < told["main_died_at"] < told["nothing_left_at"]
    assert ORPHAN_GRACE - 0.5 < told["stop_seconds"] < BOUND
    assert all(one["ended_at"] for one in workers_in(found)), "the watchdog has seen their ends"
    assert [one["killed_for"] for one in workers_in(found) if one["killed_by"]] == [
        "did not stop in time"
    ]
    lines = [one["text"] for one in found["watchdog"]]
    assert "has died; stopping what it started" in lines[0]
    assert any(line.startswith("SIGKILL to worker Sanic-Server") for line in lines)
    text = report(server)
    assert "main died at" in text
    assert "AFTER MAIN'S DEATH  nothing was left after" in text
    assert "SIGKILL to worker Sanic-Server" in text
    assert "After main" in report(server, "--html", "-")


@methods
def test_main_and_watchdog_killed_together(launch, method):
    server = launch(SLOW.with_(method=method))
    server.wait_serving()
    server.kill_with_watchdog()
    server.wait_gone()
    assert "the watchdog has left no word" in report(server)


@methods
def test_a_start_that_failed(launch, method):
    server = launch(SUPERVISED.with_(method=method, listeners={"before_server_start": "raise"}))
    assert server.exit_code(START) == 1
    server.wait_gone()
    found = record(server)
    assert found["server"]["outcome"] == "failed"
    assert found["server"]["exit_code"] == 1
    assert found["server"]["serving_at"] is None
    assert "the database is not there" in found["server"]["reason"]
    failed = [one for one in workers_in(found) if one["failure"]]
    assert failed
    for worker in failed:
        assert [one["name"] for one in worker["handlers"] if one["has_failed"]] == [
            "listen_blocking"
        ]
    text = report(server)
    assert "START  has never served" in text
    assert "exit code 1" in text
    assert "subject.py" in text


def test_a_start_that_was_tried_again(launch):
    """And main that is killed as it stops."""
    subject = SUPERVISED.with_(
        method="fork", workers=1, listeners={"before_server_start": "raise-once"}
    ).with_config(REAPER_STARTUP_RETRIES=1, REAPER_SHUTDOWN_TIMEOUT=15)
    server = launch(subject)
    server.wait_serving()
    found = wait_until(
        lambda: (now := record(server)) and now["server"]["serving_at"] and now, 20, server.describe
    )
    [failed] = [one for one in found["events"] if one["name"] == "start.failed"]
    assert "the database is not there" in failed["reason"]
    first, second = workers_in(found)
    assert (failed["pid"], second["in_place_of"]) == (first["pid"], first["pid"])
    assert (first["ready_at"], first["exit_code"] == 0) == (None, False)
    assert re.search(r"not started +Sanic-Server-0-0 .*listen_blocking", report(server))

    server.request("/do/block")
    server.send(SIGTERM)
    wait_until(lambda: record(server)["server"]["stop_at"], 10, server.describe)
    server.send(SIGKILL)
    server.wait_gone()
    told = record(server)["server"]
    assert told["outcome"] == "killed"
    assert told["stop_at"] < told["main_died_at"] < told["nothing_left_at"]
    assert "while it stopped" in report(server)


def test_no_run(new_box, tmp_path):
    env = {"XDG_RUNTIME_DIR": str(tmp_path), "TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    said = run(new_box(), env, tmp_path / "output", "report", "--app", "nobody's")
    assert said.code == 1
    assert str(tmp_path) in said.text


@methods
@pytest.mark.parametrize("works", [False, True], ids=["plain", "background work"])
def test_the_log_the_report_and_the_status_have_one_number_for_a_start(launch, method, works):
    subject = SUPERVISED.with_(
        method=method,
        workers=1,
        listeners={"before_server_start": "async:1", "after_server_start": "async:0.3"},
        decorate={"background": ([], {})} if works else {},
    ).with_config(REAPER_ENDPOINT="/__reaper__")
    server = launch(subject)
    wait_until(lambda: server.get("/__reaper__/ready")[0] == 200, START, server.describe)
    line = server.wait_for_output("is up after")
    found = re.search(r"is up after (\d+\.\d\d) s: import (\d+\.\d\d) s, .*listen", line)
    assert found, line
    up, imported = found.groups()

    [ready] = wait_until(  # the worker knows it first, then main, then what main has written
        lambda: [one for one in record(server)["events"] if one["name"] == "worker.ready"],
        START,
        server.describe,
    )
    said = report(server)
    assert f"up after {up} s" in said
    assert ("ready after" in said) == works
    assert re.search(rf"^ +{re.escape(imported)} s  import$", said, re.M), said
    [worker] = workers_in(record(server))
    [shown] = workers_in(json.loads(server.get("/__reaper__/status")[1]))
    # To two places from the measurement, or from its three: 2.2849 is 2.28, and 2.285 is 2.29.
    assert shown["startup_seconds"] == pytest.approx(float(up), abs=0.0056)
    assert ready["seconds"] == pytest.approx(shown["ready_seconds"], abs=0.001)
    assert (shown["ready_seconds"] > shown["startup_seconds"] + 0.3) == works
    assert (worker["ready_at"] > worker["up_at"]) == works
    assert "exit_code" in worker
    assert server.stop() == 0
