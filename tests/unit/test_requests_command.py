"""`sanic-reaper requests` and the Inspector's: text, JSON, and each exit code."""

from __future__ import annotations

import asyncio
import json
import os

import pytest
from support.written import a_server

from sanic_reaper import cli
from sanic_reaper.commands import dump
from sanic_reaper.model.questions import EVERY_REQUEST
from sanic_reaper.model.requests import InFlight, Request, of_no_answer, of_requests
from sanic_reaper.state import requests as state_requests
from sanic_reaper.worker import inspector
from sanic_reaper.worker.inspector import Commands

TURNS = "its event loop turns"


def request(number: int, **changes) -> Request:
    frames = [("/srv/shop/db.py", 40 + at, f"step_{at}") for at in range(3)]
    fields = ("GET", f"/orders/{number}", "Shop.order", "17", "handler", 4.25, "HTTP", False)
    return Request(*fields, frames)._replace(**changes)


EXPORT = """\
Sanic-Server-0-0 [100] of Shop: 1 request in flight; its event loop turns

GET /orders/3  4.2 s, HTTP, handler
  route Shop.order, id 17
  File "/srv/shop/db.py", line 40 in step_0
  File "/srv/shop/db.py", line 41 in step_1
  File "/srv/shop/db.py", line 42 in step_2
"""


class Main:
    """Stands in for the main process: what it answers, by pid, and what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, str | OSError | LookupError] = {}
        self.asked: list[tuple[str, str, str, str]] = []

    def ask(self, directory: str, run: str, wanted: str, what: str) -> str:
        self.asked.append((directory, run, wanted, what))
        answer = self.answers.get(wanted, of_requests(TURNS, InFlight()))
        if isinstance(answer, str):
            return answer
        raise answer


@pytest.fixture
def main(monkeypatch) -> Main:
    found = Main()
    monkeypatch.setattr(state_requests, "ask_for_stack", found.ask)
    return found


@pytest.fixture
def run(monkeypatch, capsys):
    def run(servers, *arguments):
        monkeypatch.setattr(dump.elsewhere.discovery, "servers", lambda *_: servers)
        code = cli.main(["requests", *arguments])
        return code, *capsys.readouterr()

    return run


def test_the_text(main, run):
    main.answers["100"] = of_requests(TURNS, InFlight(1, [request(3)]))
    assert run([a_server("0 serving")]) == (0, EXPORT, "")
    assert main.asked == [("/nowhere", "run", "100", EVERY_REQUEST)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"path": ""}, "GET Shop.order  4.2 s, HTTP, handler"),
        ({"path": "", "route": ""}, "GET (no route)  4.2 s, HTTP, handler"),
        ({"route": ""}, "  route (none), id 17"),
        ({"id": ""}, "  route Shop.order, id (none)"),
        ({"runs": True}, "GET /orders/3  4.2 s, HTTP, runs now"),
        ({"seconds": 4210.7}, "GET /orders/3  4211 s, HTTP, handler"),
        ({"connection": "WebSocket"}, "4.2 s, WebSocket, handler"),
        ({"path": "/\x1b[31m\n/x"}, "GET /\\x1b[31m\\n/x  4.2 s"),
        ({"frames": [("a.py", 1, "f")] * 90}, '  File "a.py", line 1 in f'),
    ],
)
def test_a_request_as_text(main, run, changes, words):
    main.answers["100"] = of_requests(TURNS, InFlight(1, [request(3, **changes)]))
    code, out, _ = run([a_server("0 serving")])
    assert code == 0
    assert words in out
    assert out.count("  File ") <= state_requests.MOST_FRAMES


@pytest.mark.parametrize(
    ("total", "known", "words"),
    [
        (0, 0, "no requests in flight; its event loop turns\n"),
        (1, 1, "1 request in flight"),
        (2, 2, "2 requests in flight"),
        (9, 2, "\n\n(7 more, for which there was no time or no room)\n"),
    ],
)
def test_how_many(main, run, total, known, words):
    main.answers["100"] = of_requests(TURNS, InFlight(total, [request(at) for at in range(known)]))
    code, out, _ = run([a_server("0 serving")])
    assert code == 0
    assert words in out


@pytest.mark.parametrize(
    ("how", "last", "words"),
    [
        ("and does not answer", 0, "its requests are not known: it does not answer"),
        (
            "blocking the event loop, in C code that holds the GIL",
            3,
            "its requests are not known: it is blocking the event loop, in C code that holds the "
            "GIL; `sanic-reaper dump` shows its stacks "
            "(3 requests in flight at its last heartbeat)",
        ),
    ],
)
def test_a_worker_that_can_not_tell_has_not_none(main, run, how, last, words):
    main.answers["100"] = of_no_answer(how, last)
    assert run([a_server("0 serving")]) == (1, f"Sanic-Server-0-0 [100] of Shop: {words}\n", "")
    told = json.loads(run([a_server("0 serving")], "--json")[1])["workers"][0]
    assert (told["how"], told["error"], told["count"]) == (how, words, last)
    assert told["requests"] == []


def test_the_json(main, run):
    main.answers["100"] = of_requests(TURNS, InFlight(1, [request(3)]))
    main.answers["101"] = OSError("it still imports the app, and can't be asked yet")
    code, out, error = run([a_server("0 serving", "1 starting")], "--json")
    told = json.loads(out)
    assert (code, error) == (1, "")
    assert (told["schema"], told["kind"]) == (1, "requests")
    first, second = told["workers"]
    assert (first["app"], first["main"], first["worker"]) == (
        "Shop",
        os.getpid(),
        "Sanic-Server-0-0",
    )
    assert (first["pid"], first["count"], first["error"], first["how"]) == (100, 1, "", TURNS)
    assert first["requests"][0]["frames"][0] == ["/srv/shop/db.py", 40, "step_0"]
    assert second["error"].startswith("it still imports")
    assert (second["count"], second["requests"]) == (0, [])


NOBODY = "no server is running that can be asked (under ASGI, and in a single process, none can)"


@pytest.mark.parametrize(
    ("servers", "arguments", "code", "out", "error"),
    [
        ([], [], 1, "", NOBODY),
        ([a_server("0 serving")], ["--app", "Bakery"], 1, "", NOBODY),
        ([a_server("0 serving", phase="stopped")], [], 1, "", NOBODY),
        ([a_server("0 serving")], [], 0, "no requests", ""),
        ([a_server("0 stopping")], [], 0, "no requests", ""),
        ([a_server("0 ended")], [], 1, "", "has no worker now"),
        ([a_server()], [], 1, "", "has no worker now"),
        ([a_server(guards_only=1)], [], 1, "", "Sanic's own manager runs its workers"),
        ([a_server("0 serving")], ["Sanic-Server-0-0"], 0, "Server-0-0 [100] of Shop: no", ""),
        ([a_server("0 serving", "1 serving")], ["101"], 0, "Sanic-Server-1-0 [101]", ""),
        ([a_server("0 serving")], ["main"], 1, "", "serves no requests in its main process"),
        ([a_server("0 serving")], ["nobody"], 1, "", "no running server has a worker nobody;"),
        ([], ["nobody"], 1, "", "no running server has a worker nobody; no server is running"),
        ([a_server("0 serving"), a_server("0 serving", app="B")], ["100"], 2, "", "choose one"),
        (
            [a_server("0 serving"), a_server("0 serving", app="B")],
            ["100", "--app", "B"],
            0,
            "of B: no requests",
            "",
        ),
        ([a_server("0 serving"), a_server(app="B")], [], 1, "of Shop: no", "B ["),
    ],
)
def test_the_exit_code(main, run, servers, arguments, code, out, error):
    found = run(servers, *arguments)
    assert found[0] == code
    assert out in found[1] if out else not found[1]
    assert error in found[2] if error else not found[2]


def forged(at=0, **changes) -> str:
    """An answer that is no main process's. Root asks the servers of other users too."""
    answer = {"how": TURNS, "count": 1, "requests": [request(3)._asdict()]}
    (answer, answer["requests"][0])[at].update(changes)
    return json.dumps(answer)


FORGED = [
    forged(how=None),
    forged(count="1"),
    forged(count=True),
    forged(requests={}),
    forged(requests=[1]),
    forged(at=1, path=["x"]),
    forged(at=1, seconds="4"),
    forged(at=1, seconds=10**400),
    forged(at=1, runs=1),
    forged(at=1, frames=None),
    forged(at=1, frames=["ab"]),
    forged(at=1, frames=[["a", "1", "b"]]),
    forged(at=1, frames=[["a", 1]]),
]


def test_an_answer_has_nothing_but_its_fields(main, run):
    main.answers["100"] = forged(worker={}, error=[], app=3)
    code, out, _ = run([a_server("0 serving")])
    assert (code, out) == (0, EXPORT)
    main.answers["100"] = forged(count=-1)
    assert "more" not in run([a_server("0 serving")])[1]


def test_a_main_process_that_does_not_answer_in_time_is_asked_once(main, run):
    main.answers["100"] = TimeoutError("main has not answered within 10 s")
    other = a_server("2 serving", run="other")
    code, out, _ = run([a_server("0 serving", "1 serving"), other])
    assert code == 1
    assert [run for _, run, _, _ in main.asked] == ["run", "other"]
    for worker in ("Sanic-Server-0-0 [100]", "Sanic-Server-1-0 [101]", "Sanic-Server-2-0 [100]"):
        assert f"{worker} of Shop: main has not answered within 10 s" in out


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (OSError("it is stopped"), "Sanic-Server-0-0 [100] of Shop: it is stopped"),
        (LookupError("it has just exited"), "Sanic-Server-0-0 [100] of Shop: it has just exited"),
        ("no JSON", "Sanic-Server-0-0 [100] of Shop: its answer is incomplete"),
        ('{"how": "it', "Sanic-Server-0-0 [100] of Shop: its answer is incomplete"),
        ("[1, 2]", "Sanic-Server-0-0 [100] of Shop: its answer is incomplete"),
        ("[" * 100_000, "Sanic-Server-0-0 [100] of Shop: its answer is incomplete"),
        *((text, "Sanic-Server-0-0 [100] of Shop: its answer is incomplete") for text in FORGED),
    ],
)
def test_a_worker_that_does_not_answer(main, run, answer, words):
    main.answers["100"] = answer
    code, out, _ = run([a_server("0 serving", "1 serving")])
    assert code == 1
    assert words in out
    assert "Sanic-Server-1-0 [101] of Shop: no requests" in out, "the others are asked"


def test_the_worker_that_is_named_is_asked_and_no_other(main, run):
    run([a_server("0 serving", "1 serving")], "Sanic-Server-1-0")
    assert [wanted for _, _, wanted, _ in main.asked] == ["101"]


# -- the Inspector --------------------------------------------------------------------------------


@pytest.fixture
def inspected(monkeypatch):
    server = a_server("0 serving", "1 serving")
    monkeypatch.setattr(inspector.discovery, "load", lambda *_: server)
    commands = Commands()
    commands._reaper_server = "/nowhere", "run", os.geteuid()
    return commands


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ((), ["[100] of Shop: 1 request", "GET /orders/3", "[101] of Shop: no requests"]),
        (("Sanic-Server-0-0",), ["[100] of Shop: 1 request"]),
        (("101",), ["[101] of Shop: no requests"]),
        (("nobody",), ["this server has no worker nobody"]),
    ],
)
def test_the_inspector_shows_the_same(main, inspected, arguments, shown):
    main.answers["100"] = of_requests(TURNS, InFlight(1, [request(3)]))
    text = asyncio.run(inspected.requests(*arguments))
    assert [words for words in shown if words not in text] == []
    assert ("[101]" in text) == any("[101]" in words for words in shown)


def test_the_inspector_of_a_server_whose_files_are_gone(monkeypatch):
    commands = Commands()
    commands._reaper_server = "/nowhere", "run", os.geteuid()
    assert "the state files of main can't be read" in asyncio.run(commands.requests())
