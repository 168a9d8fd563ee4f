"""A log of JSON objects: each event in turn has its fields there, and each line can be read."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, SIGTERM, SIGVTALRM
from typing import Any

import pytest
from support.census import wait_until
from support.marks import methods
from support.server import (
    SHUTDOWN_TIMEOUT,
    START,
    SUPERVISED,
    Server,
    Subject,
    without_deprecations,
)

from sanic_reaper.events import NAMES
from sanic_reaper.main.fields import FIELDS

JSON = SUPERVISED.with_(log="json", on_event="note", method="fork", workers=1)
"""Its own hook notes each event too."""

CRASH = SIGVTALRM
"""Of this one nothing but the log tells: of a crash in C, `faulthandler` writes stacks as text."""


def objects(server: Server) -> list[dict[str, Any]]:
    """The lines of its output. Each is a JSON object, from whichever process it is."""
    whole = without_deprecations(server.output()).rpartition("\n")[0].splitlines()
    found = [json.loads(line) for line in whole]
    assert all(isinstance(line, dict) for line in found)
    return found


def told(server: Server, event: str) -> list[dict[str, Any]]:
    return [line for line in objects(server) if line.get("reaper_event") == event]


def wait_told(server: Server, event: str, count: int = 1) -> list[dict[str, Any]]:
    def enough() -> list[dict[str, Any]]:
        found = told(server, event)
        return found if len(found) >= count else []

    return wait_until(enough, START, lambda: f"{count} x {event}\n{server.describe()}")


def check_like_hooks(server: Server) -> None:
    """What the log has of each worker is what a hook has received: each event, and no other one."""
    lines = Counter(
        (line["reaper_event"], line["worker"], line["pid"], line.get("cause", ""))
        for line in objects(server)
        if line.get("reaper_event", "").startswith("worker.")
    )
    heard = Counter(
        (one.event, one.more["whose"], one.more["of"], one.more["cause"])
        for one in server.events()
        if one.event in NAMES and one.event.startswith("worker.")
    )
    assert lines
    assert not heard - lines, server.describe()
    if "events are dropped" not in server.output():  # the hooks of a busy machine
        assert not lines - heard, server.describe()
    hooks = {one.more["of"] for one in server.events("orphan.killed")}
    assert hooks <= {line["pid"] for line in told(server, "orphan.killed")}


# -- each event in turn ---------------------------------------------------------------------------


@dataclass
class Case:
    """How an event comes about.

    Attributes:
        name: of the case.
        events: each event with fields that one of its lines has.
        subject: what runs.
        deed: what is done to it once it serves. It returns when the events have happened.
        code: the exit code of the server; it is stopped if it does not end by itself.
    """

    name: str
    events: Mapping[str, Mapping[str, object]]
    subject: Subject
    deed: Callable[[Server], object] | None = None
    code: int = 0


def crash(server: Server) -> None:
    """Kill the worker that serves, and wait for its replacement."""
    before = len(told(server, "worker.replaced"))
    server.workers[0].send(CRASH)
    wait_told(server, "worker.replaced", before + 1)


def crash_twice(server: Server) -> None:
    crash(server)
    server.workers[0].send(CRASH)
    server.exit_code(START)


def restart(server: Server) -> None:
    server.get("/restart")
    wait_told(server, "worker.replaced")


def use_up(server: Server) -> None:
    for _ in range(6):
        server.get()
    wait_told(server, "worker.recycled")


def block(server: Server) -> None:
    server.request("/do/block:3")
    wait_told(server, "worker.blocked")


def wait_long(server: Server) -> None:
    exchange = server.request("/do/async:600")
    wait_told(server, "request.slow")
    exchange.close()


def hang(server: Server) -> None:
    server.request("/do/block")
    wait_told(server, "worker.replaced")


def orphan(server: Server) -> None:
    wait_for_deaf(server)
    crash(server)
    wait_until(lambda: len(told(server, "orphan.killed")) >= 4, START, server.describe)


def wait_for_deaf(server: Server) -> None:
    """Wait until the shell that each worker has started ignores SIGTERM, and its child too."""
    number = server.subject.workers
    wait_until(lambda: len(server.children) == number, START, server.describe)


def kill_custom(server: Server) -> None:
    [custom] = server.processes_of(server.wait_for("custom process"))
    custom.send(SIGKILL)
    wait_told(server, "worker.died")


BY_SIGNAL = {"cause": "signal", "signal": "SIGVTALRM", "exit_code": -SIGVTALRM}
KILLED = {"signal": "SIGKILL", "evidence": "started by main"}
STUCK = {"before_server_start": "block"}
CASES = [
    Case("start", {"worker.started": {}, "worker.ready": {"seconds": 0}}, JSON),
    Case(
        "death",
        {"worker.died": BY_SIGNAL, "worker.replaced": {"cause": "signal"}},
        JSON,
        crash,
    ),
    Case(
        "crash loop",
        {
            "worker.died": BY_SIGNAL,
            "worker.crashloop": {"signal": "SIGVTALRM", "exit_code": -SIGVTALRM},
        },
        JSON.with_config(REAPER_RESPAWN_LIMIT=1),
        crash_twice,
        75,
    ),
    Case("restart", {"worker.replaced": {"cause": "ordered"}}, JSON, restart),
    Case(
        "recycling",
        {"worker.recycled": {"cause": "requests"}},
        JSON.with_config(REAPER_MAX_REQUESTS=5),
        use_up,
    ),
    Case(
        "blocked loop",
        {"worker.blocked": {"seconds": 1}},
        JSON.with_config(REAPER_BLOCKED_WARNING=1.0),
        block,
    ),
    Case(
        "slow request",
        {"request.slow": {"seconds": 1}},
        JSON.with_config(REAPER_SLOW_REQUEST=1.0),
        wait_long,
    ),
    Case(
        "hung loop",
        {
            "worker.killed": {**KILLED, "cause": "hung", "seconds": 0},
            "worker.died": {"cause": "hung", "signal": "SIGKILL"},
            "worker.replaced": {"cause": "hung"},
        },
        JSON.with_config(REAPER_HEARTBEAT_TIMEOUT=2.0),
        hang,
    ),
    Case(
        "late start",
        {
            "worker.slow": {"seconds": 0.5},
            "worker.killed": {**KILLED, "cause": "startup", "seconds": 5},
        },
        JSON.with_(listeners=STUCK).with_config(
            REAPER_SLOW_HANDLER=0.5, REAPER_STARTUP_TIMEOUT=8.0
        ),
        code=1,
    ),
    Case(
        "late stop",
        {"worker.killed": {**KILLED, "cause": "stop", "seconds": SHUTDOWN_TIMEOUT - 2}},
        JSON.with_(listeners={"before_server_stop": "block"}),
    ),
    Case(
        "orphans",
        {"orphan.killed": {"orphan": "sleep", "signal": "SIGKILL", "seconds": 0}},
        JSON.with_(children=["deaf"]),
        orphan,
    ),
    Case(
        "process of the user's",
        {"worker.died": {"signal": "SIGKILL", "exit_code": -9}},
        JSON.with_(manage=True),
        kill_custom,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_event_has_its_fields(launch, case):
    server = launch(case.subject)
    if case.deed is not None or not case.code:
        server.wait_serving()
    if case.deed is not None:
        case.deed(server)
    if not case.code:
        server.send(SIGTERM)
    assert server.exit_code(START) == case.code
    server.wait_gone()
    for event, expected in case.events.items():
        assert any(has(line, expected) for line in told(server, event)), server.describe()
    check_like_hooks(server)


def has(line: Mapping[str, Any], expected: Mapping[str, object]) -> bool:
    """Whether a line has these fields, and at least so many seconds."""
    least: Any = expected.get("seconds", 0)
    rest = {key: value for key, value in expected.items() if key != "seconds"}
    has_seconds = "seconds" not in expected or line.get("seconds", -1) >= least
    return has_seconds and rest.items() <= line.items() and line["pid"] > 1


def test_each_event_has_a_case():
    assert {event for case in CASES for event in case.events} == {*NAMES}


def test_lines_of_no_event_and_no_signal_have_no_fields(launch):
    server = launch(JSON)
    server.wait_serving()
    assert server.stop() == 0
    others = [line for line in objects(server) if not {"reaper_event", "signal"} & line.keys()]
    assert any("stopped cleanly" in line["message"] for line in others)
    assert not any(FIELDS.keys() & line.keys() for line in others)


def test_names_that_the_users_records_have_already(launch):
    server = launch(JSON.with_(log="own keys"))
    [pid] = [worker.inner_pid for worker in server.wait_serving()]
    crash(server)
    [died] = told(server, "worker.died")
    assert (died["worker"], died["pid"]) == ("of the user", 0)
    assert died["reaper_worker"].startswith("Sanic-Server-")
    assert died["reaper_pid"] == pid
    assert server.stop() == 0
    assert "unexpected error" not in server.output()


def test_leftovers_of_an_earlier_run(launch):
    """Main ends them itself, before it has a watchdog."""
    server = launch(JSON.with_(children=["plain"]))
    server.wait_serving()
    wait_until(lambda: server.children, START, server.describe)
    [child] = [process.inner_pid for process in server.children]
    server.kill_with_watchdog()
    again = launch(JSON, box=server.box)
    again.wait_serving()
    [line] = [line for line in told(again, "orphan.killed") if line["pid"] == child]
    assert has(line, {"orphan": "sleep", "signal": "SIGTERM", "seconds": 0})
    assert "the sweep began" in line["message"]
    assert again.stop() == 0


# -- the watchdog's own lines ---------------------------------------------------------------------


@methods
def test_main_is_killed(launch, method):
    """What the watchdog writes to standard error then are objects, with the same fields."""
    server = launch(JSON.with_(method=method, workers=2, children=["deaf"]))
    pids = {process.inner_pid for process in server.wait_serving()}
    wait_for_deaf(server)
    children = {process.inner_pid for process in server.children}
    server.send(SIGKILL)
    server.wait_gone()
    lines = objects(server)
    [first] = [line for line in lines if "has died; stopping what it started" in line["message"]]
    assert first.keys() == {"timestamp", "level", "message"}
    assert first["level"] == "WARNING"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+0000", first["timestamp"])
    asked = [line for line in lines if line.get("signal") == "SIGTERM" and line.get("worker")]
    assert {line["pid"] for line in asked} <= pids
    assert all(has(line, {"evidence": "started by main", "seconds": 0}) for line in asked)
    killed = [line for line in told(server, "orphan.killed") if line["signal"] == "SIGKILL"]
    assert children & {line["pid"] for line in killed}
    assert all(line["level"] == "WARNING" and line["evidence"] for line in killed)


def test_main_is_killed_by_its_watchdog(launch):
    """The line was on its way to main, which did not read it any more."""
    server = launch(JSON.with_(listeners={"main_process_stop": "block"}))
    server.wait_serving()
    server.send(SIGTERM)
    server.wait_gone()
    [line] = [line for line in objects(server) if line.get("role") == "main"]
    assert has(line, {"cause": "stop", "signal": "SIGKILL", "seconds": SHUTDOWN_TIMEOUT - 1})
    assert (line["level"], "reaper_event" in line) == ("ERROR", False)


def test_a_watchdog_that_has_taken_anothers_place(launch):
    server = launch(JSON)
    server.wait_serving()
    first = server.watchdog
    first.send(SIGKILL)
    server.wait_watchdog_replaced(first, START)
    server.send(SIGKILL)
    server.wait_gone()
    assert any("has died; stopping" in line["message"] for line in objects(server))


# -- text -----------------------------------------------------------------------------------------


def test_a_text_on_the_console_and_objects_in_a_file(launch):
    """Each has its own, and the watchdog goes by the console."""
    subject = JSON.with_(log="two", children=["deaf"]).with_config(REAPER_SLOW_REQUEST=1.0)
    server = launch(subject)
    server.wait_serving()
    wait_for_deaf(server)
    exchange = server.request("/do/async:600")
    server.wait_for("request.slow")
    server.workers[0].send(CRASH)
    server.wait_for("worker.replaced")
    exchange.close()
    server.send(SIGKILL)
    server.wait_gone()
    file = server.box.folder / f"{Path(server.env['EVENTS']).name}.log"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    found = {line["reaper_event"] for line in lines if "reaper_event" in line}
    assert {"worker.started", "request.slow", "worker.died", "worker.replaced"} <= found
    [slow] = [line for line in lines if line.get("reaper_event") == "request.slow"]
    assert "\n    it awaits" in slow["message"]
    output = server.output()
    assert "has been in flight" in output
    assert re.search(r"^\[.+\] \[\d+\] \[WARNING\] \[reaper\] main \[\d+\] has died", output, re.M)
    assert not re.search(rf"^\s*({'|'.join(FIELDS)})=", output, re.M)
    assert not any(name in output for name in NAMES)


@pytest.mark.parametrize("shows_extra", [False, True], ids=["as ever", "LOG_EXTRA"])
def test_a_text_has_nothing_of_this(launch, shows_extra):
    """Not even where Sanic adds a line for each extra key, as it does in debug mode."""
    subject = SUPERVISED.with_(method="fork", workers=1, children=["deaf"], on_event="note")
    server = launch(subject.with_config(LOG_EXTRA=shows_extra))
    server.wait_serving()
    wait_for_deaf(server)
    server.workers[0].send(CRASH)
    server.wait_for("worker.replaced")
    server.wait_for("orphan.killed", 2)
    server.wait_for_output("SIGKILL to sleep")
    server.send(SIGKILL)
    server.wait_gone()
    output = server.output()
    assert "] has died: killed by SIGVTALRM" in output
    assert re.search(r"^\[.+\] \[\d+\] \[WARNING\] \[reaper\] main \[\d+\] has died", output, re.M)
    assert not re.search(rf"^\s*({'|'.join(FIELDS)})=", output, re.M)
    assert not any(name in output for name in NAMES), "no line of an event's own"
    assert "{" not in output
