"""The fields of events: each of them in a JSON log, and nothing of them in a text."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from pathlib import Path
from signal import SIGKILL

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sanic.helpers import json_dumps
from sanic.logging.formatter import DebugFormatter, JSONFormatter, ProdFormatter

from sanic_reaper import stderr
from sanic_reaper.events import NAMES, Event
from sanic_reaper.log import log
from sanic_reaper.main import fields, log_format
from sanic_reaper.model import kills
from sanic_reaper.protocol import watchdog as wire

W = "Sanic-Server-0-0"


class Json(JSONFormatter):
    """Sanic's own, as it works under Python 3.13 and later too, where a `partial` is a method."""

    dumps = staticmethod(json_dumps)


class OtherJson(logging.Formatter):
    """As of another package: it knows nothing of Sanic's."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps({"text": record.getMessage(), "of": vars(record).get("worker")})


class Failing(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        raise ZeroDivisionError


class Extra(DebugFormatter):
    """As in debug mode: each extra key is a further line."""

    LOG_EXTRA = True


class Plain(ProdFormatter):
    LOG_EXTRA = False


# -- what they are --------------------------------------------------------------------------------

EVENTS = [
    (Event("worker.started", W, 7, 1.0), {"worker": W, "pid": 7}),
    (Event("worker.ready", W, 7, 1.0, seconds=1.23456), {"worker": W, "pid": 7, "seconds": 1.235}),
    (Event("worker.slow", W, 7, 1.0, "a text", seconds=2.0), {"worker": W, "pid": 7, "seconds": 2}),
    (Event("worker.blocked", W, 7, 1.0, "a text"), {"worker": W, "pid": 7}),
    (
        Event("worker.died", W, 7, 1.0, "x", -9, cause="oom"),
        {"worker": W, "pid": 7, "cause": "oom", "signal": "SIGKILL", "exit_code": -9},
    ),
    (
        Event("worker.died", W, 7, 1.0, "x", -35, cause="signal"),
        {"worker": W, "pid": 7, "cause": "signal", "signal": "signal 35", "exit_code": -35},
    ),
    (
        Event("worker.died", W, 7, 1.0, "x", 0, cause="exit"),
        {"worker": W, "pid": 7, "cause": "exit", "exit_code": 0},
    ),
    (
        Event("worker.died", W, 7, 1.0, "x", None, cause="unknown"),
        {"worker": W, "pid": 7, "cause": "unknown"},
    ),
    (
        Event("worker.killed", W, 7, 1.0, "x", cause="hung"),
        {"worker": W, "pid": 7, "cause": "hung"},
    ),
    (
        Event("worker.replaced", W, 7, 1.0, "x", cause="ordered"),
        {"worker": W, "pid": 7, "cause": "ordered"},
    ),
    (
        Event("worker.recycled", W, 7, 1.0, "x", cause="memory"),
        {"worker": W, "pid": 7, "cause": "memory"},
    ),
    (
        Event("worker.crashloop", W, 7, 1.0, "x", 3),
        {"worker": W, "pid": 7, "exit_code": 3},
    ),
    (
        Event("orphan.killed", "sleep", 9, 1.0, "descends from W"),
        {"orphan": "sleep", "pid": 9, "evidence": "descends from W"},
    ),
    (
        Event("request.slow", W, 7, 1.0, "a text", seconds=2.0),
        {"worker": W, "pid": 7, "seconds": 2},
    ),
]


@pytest.mark.parametrize(("event", "found"), EVENTS)
def test_each_event_has_the_fields_that_are_known(event, found):
    assert fields.fields_of(event) == {"reaper_event": event.name, **found}


def test_no_event_was_forgotten():
    assert {event.name for event, _ in EVENTS} == {*NAMES}


def test_each_field_is_in_the_table_and_is_no_attribute_of_a_record():
    known = set().union(*(fields.fields_of(event) for event, _ in EVENTS))
    for role in ("worker", "", "main"):
        known |= kills.fields(SIGKILL, role, W, 7, "e", "w", 1.0, "s", "stop").keys()
    assert known == fields.FIELDS.keys()
    record = logging.makeLogRecord({})
    record.getMessage()
    assert not fields.FIELDS.keys() & {*vars(record), "message", "asctime", "taskName"}


def test_the_documents_have_the_table():
    page = (Path(__file__).parents[2] / "docs" / "supervision.md").read_text()
    assert "".join(f"| `{name}` | {text} |\n" for name, text in fields.FIELDS.items()) in page


# -- where they are shown -------------------------------------------------------------------------


class Log:
    """Sanic's log with these formatters, each of which writes somewhere else."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *formatters: logging.Formatter) -> None:
        self.streams = [io.StringIO() for _ in formatters]
        handlers = []
        for stream, formatter in zip(self.streams, formatters, strict=True):
            handlers.append(logging.StreamHandler(stream))
            handlers[-1].setFormatter(formatter)
        monkeypatch.setattr(log_format.logger, "handlers", handlers)
        monkeypatch.setattr(log_format.logger, "propagate", False)
        self.handlers = handlers

    def texts(self) -> list[str]:
        return [stream.getvalue() for stream in self.streams]


@pytest.fixture(autouse=True)
def level():
    before = log_format.logger.level
    log_format.logger.setLevel(logging.INFO)
    yield
    log_format.logger.setLevel(before)


DIED = EVENTS[4][0]
THEIRS = fields.fields_of(DIED)


def say(**more) -> None:
    log.error("%s has died", W, **more)


@pytest.mark.parametrize("formatter", [Plain, Extra, logging.Formatter])
def test_a_text_is_the_same_with_fields_and_without(monkeypatch, formatter):
    """In debug mode too, in which Sanic's formatters show what a record has besides."""
    found = Log(monkeypatch, formatter("%(levelname)s %(message)s"))
    say()
    say(extra=fields.extra_of(DIED))
    fields.note(DIED)
    first, second = found.texts()[0].splitlines()
    assert first == second
    assert "[reaper] Sanic-Server-0-0 has died" in first


def test_in_debug_mode_a_text_would_show_them(monkeypatch):
    """The control."""
    found = Log(monkeypatch, Extra())
    say(extra=fields.fields_of(DIED))
    assert "\nexit_code=-9" in found.texts()[0]


def test_a_json_log_has_each_field_as_a_key(monkeypatch):
    found = Log(monkeypatch, Json())
    say(extra=fields.extra_of(DIED))
    line = json.loads(found.texts()[0])
    assert {key: line.get(key) for key in THEIRS} == THEIRS
    assert line["message"] == f"[reaper] {W} has died"
    assert line["level"] == "ERROR"


def test_a_line_of_no_event_has_none(monkeypatch):
    found = Log(monkeypatch, Json())
    say(extra=fields.extra_of(None))
    fields.note(None)
    [line] = found.texts()[0].splitlines()
    assert not fields.FIELDS.keys() & json.loads(line).keys()


def test_an_event_without_a_line_of_its_own_has_one_where_the_log_is_json(monkeypatch):
    found = Log(monkeypatch, Json(), Plain(), Extra(), OtherJson())
    fields.note(Event("worker.replaced", W, 7, 1.0, "it has\ndied", cause="exit"), logging.WARNING)
    first, *texts, other = found.texts()
    line = json.loads(first)
    assert texts == ["", ""]
    assert line["message"] == f"[reaper] {W} [7]: worker.replaced: it has\ndied"
    assert (line["level"], line["reaper_event"]) == ("WARNING", "worker.replaced")
    assert json.loads(other)["of"] == W, "of another package"


def test_levels_and_filters_hold_for_such_a_line(monkeypatch):
    found = Log(monkeypatch, Json(), Json())
    found.handlers[0].setLevel(logging.ERROR)
    fields.note(DIED)
    assert [bool(text) for text in found.texts()] == [False, True]
    log_format.logger.setLevel(logging.ERROR)
    fields.note(DIED)
    assert len(found.texts()[1].splitlines()) == 1


def test_a_handler_that_fails_for_such_a_line_fails_alone(monkeypatch):
    found = Log(monkeypatch, Json())

    def fail(record: logging.LogRecord) -> None:
        raise RuntimeError("the log server is not there")

    monkeypatch.setattr(found.handlers[0], "emit", fail)
    fields.note(DIED)


def test_what_another_process_calls_itself_is_escaped(monkeypatch):
    found = Log(monkeypatch, Json(), Extra())
    event = Event("orphan.killed", "evil\n\x1b[31m", 9, 1.0, "\udcff")
    log.info("x", extra=fields.extra_of(event))
    line = json.loads(found.texts()[0])
    assert (line["orphan"], line["evidence"]) == (r"evil\n\x1b[31m", r"\udcff")
    assert "\x1b[31m" not in found.texts()[1]


@pytest.mark.parametrize(
    ("own", "shown"),
    [
        ({"pid": 1}, {"pid": 1, "reaper_pid": 7, "worker": W}),
        ({"worker": "web", "cause": ""}, {"worker": "web", "reaper_worker": W, "cause": ""}),
        ({"pid": 1, "reaper_pid": 2}, {"pid": 1, "reaper_pid": 2, "worker": W}),
    ],
)
def test_names_that_the_users_records_have_already(monkeypatch, own, shown):
    """`logging` would raise KeyError, and the main process would end with it."""

    def factory(*arguments, **keywords):
        record = logging.LogRecord(*arguments, **keywords)
        vars(record).update(own)
        return record

    monkeypatch.setattr(logging, "_logRecordFactory", factory)
    found = Log(monkeypatch, Json(), Plain())
    say(extra=fields.extra_of(DIED))
    fields.note(DIED)
    for line in map(json.loads, found.texts()[0].splitlines()):
        assert shown.items() <= line.items()
        assert line["reaper_event"] == DIED.name


def test_a_record_factory_that_wants_the_name_of_the_log(monkeypatch):
    def factory(name, *arguments, **keywords):
        assert name.startswith("sanic")
        return logging.LogRecord(name, *arguments, **keywords)

    monkeypatch.setattr(logging, "_logRecordFactory", factory)
    found = Log(monkeypatch, Json())
    say(extra=fields.extra_of(DIED))
    assert json.loads(found.texts()[0])["pid"] == 7
    assert log_format.of_log() == wire.JSON


@pytest.mark.parametrize(
    ("formatters", "on_console", "name"),
    [
        ([Plain], [0], wire.TEXT),
        ([Json], [0], wire.JSON),
        ([OtherJson], [0], wire.JSON),
        ([Failing], [0], wire.TEXT),
        ([logging.Formatter], [0], wire.TEXT),
        ([Json], [], wire.JSON),
        ([Plain, Json], [0], wire.TEXT),
        ([Plain, Json], [1], wire.JSON),
        ([Plain, Json], [0, 1], wire.JSON),
        ([], [], wire.TEXT),
    ],
)
def test_the_format_of_the_log_is_that_of_the_console(monkeypatch, formatters, on_console, name):
    found = Log(monkeypatch, *(formatter() for formatter in formatters))
    for number in on_console:
        found.handlers[number].stream = sys.stderr
    assert log_format.of_log() == name


def test_a_handler_without_a_formatter_writes_text(monkeypatch):
    found = Log(monkeypatch, Json())
    found.handlers[0].setFormatter(None)
    assert log_format.of_log() == wire.TEXT


# -- what the watchdog writes ---------------------------------------------------------------------


@given(st.text(), st.text(), st.floats(allow_nan=False, allow_infinity=False), st.integers())
def test_the_watchdogs_line_is_an_object_whatever_is_in_it(text, name, seconds, pid):
    reading, writing = os.pipe()
    kept = os.dup(2)
    os.dup2(writing, 2)
    try:
        stderr.log("WARNING", text, {"orphan": name, "seconds": seconds, "pid": pid})
    finally:
        os.dup2(kept, 2)
        for fd in (kept, writing):
            os.close(fd)
    with open(reading, "rb") as said:
        [line] = said.read().decode().splitlines()
    found = json.loads(line)
    assert found.pop("timestamp")
    assert found == {
        "level": "WARNING",
        "message": f"[reaper] {stderr.printable(text)}",
        "orphan": stderr.printable(name),
        "seconds": seconds,
        "pid": pid,
    }
