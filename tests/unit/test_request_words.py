"""Requests in flight, as the main process knows them: the words for them, and the answers. Pure."""

from __future__ import annotations

import asyncio
import json

import pytest

from sanic_reaper.main.request_words import waits
from sanic_reaper.main.slow_requests import report
from sanic_reaper.model import requests
from sanic_reaper.model.questions import RECEIVING
from sanic_reaper.model.requests import (
    MOST_LOST,
    InFlight,
    Request,
    Task,
    lost,
    of_requests,
    of_tasks,
    waiting_for,
)

FRAMES = [
    (asyncio.locks.__file__, 213, "wait"),
    ("/srv/shop/db.py", 40, "fetch"),
    ("/srv/shop/shop.py", 7, "export"),
]


def request(path="/export", seconds=31.4, **changes):
    found = Request(
        method="GET",
        path=path,
        route="Shop.export",
        id="17",
        stage="handler",
        seconds=seconds,
        connection="HTTP",
        runs=False,
        frames=FRAMES,
    )
    return found._replace(**changes)


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({}, "GET /export"),
        ({"method": "POST", "path": "/"}, "POST /"),
        ({"path": ""}, "GET Shop.export"),
        ({"path": "", "route": ""}, "GET (no route)"),
    ],
)
def test_how_it_is_called(changes, title):
    assert request(**changes).title == title


def test_it_is_made_of_the_fields_of_a_message():
    fields = ["GET", "/x", "", "1", "handler", 0.5, "HTTP", True, [["app.py", 3, "load"]]]
    found = Request.of(fields)
    assert found.frames == [("app.py", 3, "load")]
    assert found[:-1] == tuple(fields[:-1])


def test_what_a_client_chooses_has_no_line_breaks_and_no_escape_sequences():
    """Sanic accepts a line break in a header, and so in the id. A forged line would follow it."""
    chosen = "a\nERROR: [reaper] forged\x1b[2J\x9b\udcff"
    found = Request.of([*[chosen] * 4, "handler", 0.5, "HTTP", True, []])
    assert {*found[:4]} == {r"a\nERROR: [reaper] forged\x1b[2J\x9b\udcff"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "awaits db.py:40 in fetch"),
        ({"runs": True}, "runs in db.py:40 in fetch"),
        ({"frames": [("uvloop/loop.pyx", 0, "create"), *FRAMES]}, "awaits db.py:40 in fetch"),
        ({"frames": FRAMES[:1]}, "awaits locks.py:213 in wait"),
        ({"frames": []}, "awaits an unknown line"),
        ({"frames": [], "runs": True}, "runs in an unknown line"),
        ({"stage": RECEIVING}, "waits for the rest of its body"),
        ({"frames": [("\ud800", 3, "f")]}, "awaits \ud800:3 in f"),
    ],
)
def test_what_it_does(changes, words):
    assert waits(request(**changes)) == words


@pytest.mark.parametrize("file", ["\ud800", "a\0b", "/nowhere/x.py", "", __file__])
def test_a_line_of_any_file(file):
    assert waits(request(frames=[(file, 1, "f")]), with_source=True).startswith("awaits")


def many(number):
    return [request(f"/{at}", seconds=float(at)) for at in range(number)]


@pytest.mark.parametrize(
    ("total", "known", "lines", "last"),
    [
        (0, 0, 0, None),
        (1, 1, 1, "lost: GET /0 (0 s), it waits"),
        (1, 0, 1, "lost: 1 request, which the worker could not describe"),
        (7, 0, 1, "lost: 7 requests, which the worker could not describe"),
        (10, 10, 10, "lost: GET /9 (9 s), it waits"),
        (11, 10, 11, "lost: 1 more"),
        (22, 22, 11, "lost: 12 more"),
        (5, 2, 3, "lost: 3 more"),
        (1, 2, 2, "lost: GET /1 (1 s), it waits"),
    ],
)
def test_what_is_lost(total, known, lines, last):
    found = lost(InFlight(total, many(known)), lambda one: "it waits")
    assert len(found) == lines <= MOST_LOST + 1
    assert (found[-1] if found else None) == last


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([], ""),
        ([InFlight(), InFlight()], ""),
        ([InFlight(1, [request(seconds=41.0)])], "waits for 1 request, GET /export, 41 s"),
        (
            [InFlight(2, many(2)), InFlight(1, [request(seconds=41.0)])],
            "waits for 3 requests, the oldest GET /export, 41 s",
        ),
        ([InFlight(3)], "waits for 3 requests"),
        ([InFlight(1)], "waits for 1 request"),
    ],
)
def test_what_a_stop_waits_for(answers, words):
    assert waiting_for(answers) == words


def test_a_stop_does_not_wait_for_a_client_that_has_gone():
    gone = request("/gone", 50.0, connection="closed")
    assert waiting_for([InFlight(1, [gone])]) == ""
    words = "waits for 1 request, GET /export, 31 s"
    assert waiting_for([InFlight(2, [gone, request()])]) == words


def test_the_request_that_runs():
    assert InFlight(1, [request()]).running is None
    assert InFlight().running is None
    runs = request("/block", runs=True)
    assert InFlight(2, [request(), runs]).running is runs


@pytest.mark.parametrize("number", [0, 1, 20])
def test_an_answer_as_json(number):
    told = json.loads(of_requests("it turns", InFlight(number + 1, many(number))))
    assert (told["how"], told["count"], len(told["requests"])) == ("it turns", number + 1, number)
    for at, found in enumerate(told["requests"]):
        assert found["path"] == f"/{at}"
        assert found["frames"] == [list(frame) for frame in FRAMES]
        assert found.keys() == set(Request._fields)


def test_an_answer_is_no_longer_than_its_reader_takes(monkeypatch):
    monkeypatch.setattr(requests, "MOST_TEXT", 2000)
    text = of_requests("it turns", InFlight(1000, many(1000)))
    told = json.loads(text)
    assert len(text) < 2100
    assert 0 < len(told["requests"]) < 1000
    assert told["count"] == 1000
    assert told["requests"][0]["path"] == "/0", "the first ones are the oldest"


def test_the_lines_on_tasks():
    tasks = [Task("prices", "refresh", False, FRAMES[1:2]), Task("Task-9", "serve", True, [])]
    assert of_tasks(tasks) == [
        "",
        "2 tasks in its event loop",
        "",
        "prices: refresh, awaits",
        '  File "/srv/shop/db.py", line 40 in fetch',
        "",
        "Task-9: serve, runs",
    ]
    assert of_tasks(tasks[:1])[1] == "1 task in its event loop"
    assert of_tasks([])[1] == "0 tasks in its event loop"


def test_the_name_of_a_task_is_one_line():
    [_, _, _, line] = of_tasks([Task("of\nGET /x", "serve", True, [])])
    assert line == r"of\nGET /x: serve, runs"


def test_a_slow_request_is_logged_and_is_an_event(caplog):
    events = []
    fields = [*request()[:-1], [list(frame) for frame in FRAMES]]
    report("W-0 [7]", 30.0, lambda *words, **named: events.append((words, named)), *fields)
    [line] = caplog.messages
    first, second, third, *stack = line.split("\n")
    assert first == (
        "[reaper] W-0 [7]: GET /export has been in flight for 31.4 s (REAPER_SLOW_REQUEST = 30 s)"
    )
    assert second == "    request  route Shop.export, id 17, handler, HTTP"
    assert third == "    it awaits /srv/shop/db.py:40 in fetch"
    assert len(stack) == len(FRAMES)
    [((name, reason), named)] = events
    assert (name, named) == ("request.slow", {"seconds": 31.4})
    assert line == f"[reaper] W-0 [7]: {reason}"


def test_a_slow_request_without_route_and_id(caplog):
    fields = [*request(path="", route="", id="")[:-1], []]
    report("W-0 [7]", 30.0, lambda *_, **__: None, *fields)
    first, second, *_ = caplog.messages[0].split("\n")
    assert first.startswith("[reaper] W-0 [7]: GET (no route) has been in flight")
    assert second == "    request  route (none), id (none), handler, HTTP"
