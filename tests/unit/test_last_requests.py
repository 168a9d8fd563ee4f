"""What main asks workers that stop, what it says of their requests, and when."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from sanic_reaper.main.last_requests import ASK_BEFORE, RECENT, TELL_AFTER, LastRequests
from sanic_reaper.main.worker import SupervisedProcess, Worker
from sanic_reaper.model.requests import InFlight, Request
from sanic_reaper.worker.explanations import BLOCKING, EXITED


def request(path="/export", seconds=41.0) -> Request:
    frames = [("/srv/shop/db.py", 40, "fetch")]
    return Request("GET", path, "", "1", "handler", seconds, "HTTP", False, frames)


class Link:
    """Answers when the test says so."""

    can_be_asked = True

    def __init__(self) -> None:
        self.in_flight = InFlight()
        self.answered_at: float | None = None
        self.replies = []

    def ask(self, reply) -> None:
        self.in_flight, self.answered_at = InFlight(), None
        self.replies.append(reply)

    def answer(self, *requests: Request, how=BLOCKING, age=0.0) -> None:
        if how != EXITED:
            self.in_flight = InFlight(len(requests), requests)
            self.answered_at = time.monotonic() - age
        replies, self.replies = self.replies, []
        for reply in replies:
            reply([], how)


class Stopping(Worker):
    """A worker, by what is asked of it here."""

    def __init__(self, number: int, beats: int | None = None) -> None:
        self.handle = SimpleNamespace(name=f"W-{number}")
        self.identity = (number, 1)
        self.link = Link()
        self.stop_by = float("inf")
        self.halted = False
        self.heartbeat = None if beats is None else SimpleNamespace(in_flight=beats)

    def is_halted(self) -> bool:
        return self.halted


class Helper(SupervisedProcess):
    def __init__(self) -> None:
        pass


class Stop:
    """The stop of the server, which begins and goes on when the test says so."""

    has_begun = False
    seconds = 0.0
    drain_by = 100.0

    def begin(self, seconds=0.0) -> None:
        self.has_begun, self.seconds = True, seconds


class Case:
    def __init__(self, *workers: Stopping) -> None:
        self.workers = workers
        self.stop = Stop()
        self.kept = {}
        journal = SimpleNamespace(lost=self.kept.__setitem__)
        self.last = LastRequests([Helper(), *workers], self.stop, journal)

    def asked(self) -> list[int]:
        return [len(worker.link.replies) for worker in self.workers]


def test_nobody_is_asked_while_nothing_stops():
    case = Case(Stopping(1), Stopping(2))
    case.last.turn(1e9)
    assert case.asked() == [0, 0]


def test_a_worker_that_is_replaced_is_asked_once_before_its_deadline():
    case = Case(Stopping(1), Stopping(2))
    case.workers[0].stop_by = 50.0
    case.last.turn(50.0 - ASK_BEFORE - 0.1)
    assert case.asked() == [0, 0]
    for now in (50.0 - ASK_BEFORE, 49.5, 60.0):
        case.last.turn(now)
        assert case.asked() == [1, 0]


def test_with_the_server_each_is_asked_before_the_deadline_of_the_stop():
    case = Case(Stopping(1), Stopping(2))
    case.workers[0].stop_by = 50.0
    case.stop.begin()
    case.last.turn(49.5)
    assert case.asked() == [1, 0], "one that was replaced has a deadline of its own"
    case.last.turn(100.0 - ASK_BEFORE)
    assert case.asked() == [1, 1]


def test_one_that_can_not_be_asked_is_not():
    case = Case(Stopping(1))
    case.workers[0].link.can_be_asked = False
    case.stop.begin(seconds=10.0)
    case.last.turn(1e9)
    assert case.asked() == [0]


def test_one_that_is_stopped_by_a_debugger_is_not_made_to_continue():
    case = Case(Stopping(1), Stopping(2))
    case.workers[0].halted = True
    case.stop.begin(seconds=TELL_AFTER)
    case.last.turn(100.0)
    assert case.asked() == [0, 2], "before its deadline, and for what the stop waits for"


def test_a_stop_says_once_what_it_waits_for(caplog):
    caplog.set_level("INFO", "sanic.root")
    case = Case(Stopping(1), Stopping(2))
    case.stop.begin(seconds=TELL_AFTER - 0.1)
    case.last.turn(0.0)
    assert case.asked() == [0, 0]
    case.stop.seconds = TELL_AFTER
    for _ in range(3):
        case.last.turn(0.0)
        assert case.asked() == [1, 1]
    case.workers[0].link.answer(request(), request("/x", 1.0))
    assert not caplog.messages, "the other one has not answered yet"
    case.workers[1].link.answer(request("/y", 2.0))
    words = "[reaper] waits for 3 requests, the oldest GET /export, 41 s"
    assert caplog.messages == [words]
    case.last.turn(0.0)
    assert case.asked() == [0, 0]


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ([], []),
        ([request()], ["[reaper] waits for 1 request, GET /export, 41 s"]),
    ],
)
def test_a_worker_that_has_exited_meanwhile_is_waited_for_no_more(caplog, first, words):
    caplog.set_level("INFO", "sanic.root")
    case = Case(Stopping(1), Stopping(2, beats=7))
    case.stop.begin(seconds=TELL_AFTER)
    case.last.turn(0.0)
    case.workers[0].link.answer(*first)
    case.workers[1].link.answer(how=EXITED)
    assert caplog.messages == words


def test_one_that_is_asked_and_could_not_tell_counts_by_its_heartbeat(caplog):
    caplog.set_level("INFO", "sanic.root")
    case = Case(Stopping(1, beats=7))
    case.stop.begin(seconds=TELL_AFTER)
    case.last.turn(0.0)
    [reply] = case.workers[0].link.replies
    reply([], f"{BLOCKING}, in C code that holds the GIL")
    assert caplog.messages == ["[reaper] waits for 7 requests"]


@pytest.mark.parametrize(
    ("others", "words"),
    [([], "waits for 7 requests"), ([request()], "waits for 8 requests, the oldest GET /export")],
    ids=["alone", "beside one that can"],
)
@pytest.mark.parametrize("halted", [True, False])
def test_one_that_can_not_be_asked_counts_by_its_heartbeat(caplog, halted, others, words):
    caplog.set_level("INFO", "sanic.root")
    mute, other = Stopping(1, beats=7), Stopping(2)
    mute.halted, mute.link.can_be_asked = halted, halted
    case = Case(mute, other) if others else Case(mute)
    case.stop.begin(seconds=TELL_AFTER)
    case.last.turn(0.0)
    other.link.answer(*others)
    [line] = caplog.messages
    assert line.startswith(f"[reaper] {words}")
    assert not mute.link.replies


LOST = "[reaper] W-1 [1]: lost: GET /export (41 s), awaits db.py:40 in fetch"
UNKNOWN = "[reaper] W-1 [1]: lost: 7 requests, which the worker could not describe"


@pytest.mark.parametrize(
    ("beats", "age", "requests", "lines"),
    [
        (None, 0.0, [request()], [LOST]),
        (7, 0.0, [request()], [LOST]),
        (7, 0.0, [], []),
        (7, RECENT + 1.0, [request()], [UNKNOWN]),
        (0, RECENT + 1.0, [request()], []),
        (None, RECENT + 1.0, [request()], []),
    ],
    ids=["told", "told too", "none", "old", "old, none", "old, no heartbeats"],
)
def test_what_is_lost_with_a_worker_that_is_killed(caplog, beats, age, requests, lines):
    case = Case(Stopping(1, beats))
    [worker] = case.workers
    worker.link.answer(*requests, age=age)
    case.last.on_killed(worker)
    assert caplog.messages == lines
    kept = case.kept.get(worker.identity, [])
    assert [f"[reaper] W-1 [1]: {line}" for line in kept] == lines


def test_one_that_was_never_asked_is_known_by_its_heartbeat(caplog):
    case = Case(Stopping(1, 7))
    case.last.on_killed(case.workers[0])
    assert caplog.messages == [UNKNOWN]
