"""`metrics` and `status`, from a file of main's, read by somebody else's parser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.written import NOW, a_server

from sanic_reaper import state
from sanic_reaper.model.kills import KILLS
from sanic_reaper.model.lifecycle import LIVING
from sanic_reaper.state.server import Server
from sanic_reaper.tree import causes
from sanic_reaper.worker import metrics, status

NASTY = 'a "quoted" \\ name\nof two lines'


def busy_server(app: str = "Shop") -> Server:
    """One to which everything has happened."""
    server = a_server(
        "0 serving",
        "1 blocked",
        "2 background warm_up",
        "0 starting",
        wanted=3,
        app=app,
        method="fork",
    )
    lines = [
        state.line("process", pid=7, start=1, role="watchdog", name="watchdog", state="running"),
        state.line(
            "process",
            pid=8,
            start=1,
            role="worker",
            name="old",
            state="ended",
            began=1.0,
            in_flight=90,
            oldest=NOW - 900,
        ),
        state.line("start", pid=100, start=1, imported=NOW - 49.0, ready=NOW - 47.5),
        state.line("handler", pid=100, start=1, name="warm", began=NOW - 49, ended=NOW - 48),
        state.line("counter", name="worker.started", role="worker", value=9),
        state.line("counter", name="worker.died", role="worker", cause="oom", value=2),
        state.line("counter", name="worker.died", role="process", cause="exit", value=40),
        state.line("counter", name="worker.replaced", role="worker", cause="oom", value=2),
        state.line("counter", name="worker.recycled", role="worker", cause="memory", value=3),
        state.line("counter", name="worker.killed", role="worker", cause="hung", value=1),
        state.line("counter", name="worker.killed", role="process", cause="replaced", value=5),
        state.line("counter", name="worker.crashloop", role="worker", value=1),
        state.line("counter", name="orphan.killed", role="orphan", value=6),
        state.line("counter", name="blocked_seconds", value=12.5),
        state.line(
            "event",
            time=NOW - 9,
            name="worker.died",
            pid=5,
            process="Sanic-Server-0-0",
            reason="password=hunter2",
            exit_code=-9,
            cause="oom",
        ),
    ]
    for record in state.parse(state.encode("".join(lines))):
        server._take(*record)
    server.members[100, 1].fields.update(in_flight="3", oldest=str(NOW - 41.5))
    server.members[102, 1].fields.update(in_flight="0")
    return server


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Each sample once: what occurs twice is refused by whoever scrapes it."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name.removeprefix("sanic_reaper_"), frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def value(text: str, name: str, **labels: str) -> float:
    return samples(text)[name, frozenset(labels.items())]


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("workers", {"state": "serving"}, 1),
        ("workers", {"state": "starting"}, 1),
        ("workers", {"state": "blocked"}, 1),
        ("workers", {"state": "background"}, 1),
        ("workers", {"state": "failed"}, 0),
        ("workers", {"state": "stopping"}, 0),
        ("workers_wanted", {}, 3),
        ("worker_starts_total", {}, 9),
        ("worker_deaths_total", {"cause": "oom"}, 2),
        ("worker_deaths_total", {"cause": "exit"}, 0),
        ("worker_restarts_total", {"cause": "oom"}, 2),
        ("worker_restarts_total", {"cause": "memory"}, 3),
        ("worker_restarts_total", {"cause": "ordered"}, 0),
        ("worker_crash_loops_total", {}, 1),
        ("kills_total", {"role": "worker", "cause": "hung"}, 1),
        ("kills_total", {"role": "worker", "cause": "startup"}, 0),
        ("kills_total", {"role": "process", "cause": "replaced"}, 5),
        ("orphans_swept_total", {}, 6),
        ("blocked_seconds_total", {}, 12.5),
        ("worker_startup_seconds", {"worker": "Sanic-Server-0-0"}, 2.5),
        ("requests_in_flight", {"worker": "Sanic-Server-0-0"}, 3),
        ("requests_in_flight", {"worker": "Sanic-Server-2-0"}, 0),
        ("oldest_request_seconds", {"worker": "Sanic-Server-0-0"}, 41.5),
        ("oldest_request_seconds", {"worker": "Sanic-Server-2-0"}, 0),
        ("watchdog_up", {}, 0),
        ("main_beat_age_seconds", {}, 0.5),
        ("start_time_seconds", {}, 1_700_000_940),
    ],
)
def test_a_metric(name, labels, expected):
    assert value(metrics.exposition(busy_server(), NOW), name, **labels) == expected


def test_the_requests_of_a_worker_that_is_being_replaced_count():
    """Its successor has the same name, and nothing to do yet."""
    server = busy_server()
    lines = state.line(
        "process",
        pid=90,
        start=1,
        role="worker",
        name="Sanic-Server-2-0",
        state="stopping",
        began=1.0,
        in_flight=2,
        oldest=NOW - 7.5,
    )
    for record in state.parse(state.encode(lines)):
        server._take(*record)
    text = metrics.exposition(server, NOW)
    assert value(text, "requests_in_flight", worker="Sanic-Server-2-0") == 2
    assert value(text, "oldest_request_seconds", worker="Sanic-Server-2-0") == 7.5


def test_of_a_server_that_has_just_begun():
    """Every series that can be known before, with 0; and nothing that is not a number."""
    text = metrics.exposition(a_server(phase="starting", method="spawn"), NOW)
    found = samples(text)
    assert {dict(labels)["state"] for name, labels in found if name == "workers"} == {*LIVING}
    for name, known in (("worker_deaths_total", causes.DEATHS), ("kills_total", KILLS)):
        assert {dict(labels)["cause"] for key, labels in found if key == name} == {*known}
    assert not any(number for (name, _), number in found.items() if name.endswith("_total"))


def test_before_the_first_beat_its_age_is_not_a_number():
    age = value(metrics.exposition(a_server(age=None, method=""), NOW), "main_beat_age_seconds")
    assert age != age


def test_labels_are_escaped():
    found = samples(metrics.exposition(busy_server(NASTY), NOW))
    [labels] = [dict(labels) for name, labels in found if name == "info"]
    assert labels["app"] == NASTY


def test_each_family_has_its_help_and_a_name_by_the_conventions():
    for family in text_string_to_metric_families(metrics.exposition(busy_server(), NOW)):
        assert family.documentation.endswith("."), family.name
        assert family.type in ("gauge", "counter")
        assert re.fullmatch(r"sanic_reaper_[a-z_]+", family.name)
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter")


@pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool: apt-get install prometheus")
def test_promtool_has_nothing_to_say():
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=metrics.exposition(busy_server(NASTY), NOW),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


# -- status ---------------------------------------------------------------------------------------


def test_the_status():
    found = json.loads(json.dumps(status.document(busy_server(), NOW)))
    assert found["schema"] == status.SCHEMA
    assert (found["app"], found["run"], found["method"]) == ("Shop", "run", "fork")
    assert found["live"] == {"ok": True, "reason": ""}
    assert found["ready"]["reason"] == "the event loop of Sanic-Server-1-0 [101] is stalled"
    assert found["main"]["alive"] is True
    assert found["began"] == 1_700_000_940
    workers = [one for one in found["processes"] if one["role"] == "worker"]
    assert [one["state"] for one in workers] == ["serving", "blocked", "background", "starting"]
    assert workers[0]["startup_seconds"] == 2.5
    assert found["requests_in_flight"] == 3, "those of a worker that has ended are no more"
    assert [one["requests_in_flight"] for one in workers] == [3, None, 0, None]
    assert [one["oldest_request_seconds"] for one in workers] == [41.5, None, None, None]
    assert workers[0]["handlers"] == [{"name": "warm", "seconds": 1.0, "background": False}]
    assert workers[2]["doing"] == "warm_up"
    [event] = found["events"]
    assert (event["cause"], event["exit_code"], event["time"]) == ("oom", -9, 1_700_000_991)
    assert {"name": "worker.died", "role": "worker", "cause": "oom", "value": 2} in found[
        "counters"
    ]


def test_the_status_keeps_what_is_not_everybodys_business():
    """Words of an error may have a password in them."""
    assert "hunter2" not in json.dumps(status.document(busy_server(), NOW))


def test_its_fields_are_documented():
    document = (Path(__file__).parents[2] / "docs" / "endpoint.md").read_text()
    found = status.document(busy_server(), NOW)
    for field in [*found, *found["processes"][0], *found["events"][0]]:
        assert f"`{field}`" in document, field


def test_each_metric_is_documented():
    document = (Path(__file__).parents[2] / "docs" / "endpoint.md").read_text()
    named = set(re.findall(r"^\| `sanic_reaper_(\w+)", document, re.MULTILINE))
    assert named == {name for name, _ in samples(metrics.exposition(busy_server(), NOW))}
