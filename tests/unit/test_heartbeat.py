"""What main makes of the beats of a worker, and of their absence."""

from __future__ import annotations

import http.client
import time

import pytest

from sanic_reaper.main.heartbeat import MAX_DELAY, MAX_KEPT_STALLS, REMEDY, Heartbeat
from sanic_reaper.main.start_reports import stack_of
from sanic_reaper.model.requests import InFlight
from sanic_reaper.worker.explanations import AWAITING, BLOCKING, innermost

EVERY = 1.0
NEVER_STOPPED = bool
"""`bool()` is False."""


class Line:
    """Stands in for main's line to a worker: what is asked is answered when the test says so."""

    is_deaf = False
    in_flight = InFlight()

    def __init__(self) -> None:
        self.handlers = {}
        self.asked = []
        self.stack = ""

    def ask(self, answer) -> None:
        self.asked.append(answer)

    def listen(self, handlers) -> None:
        self.handlers.update(handlers)

    def hears(self, word, *fields) -> None:
        self.handlers.get(word, lambda *_: None)(*fields)


class Watched:
    """A heartbeat, and what has come of it."""

    def __init__(self, warning: float = 0.0, timeout: float = 0.0) -> None:
        self.line = Line()
        self.blocked: list[str] = []
        self.hung = 0
        self.now = 100.0
        self.heartbeat = Heartbeat(
            "Sanic-Server-0-0 [7]", self.line, EVERY, warning, timeout, self._on_blocked
        )

    def _on_blocked(self, text: str, seconds: float) -> None:
        self.blocked.append(text)
        self.seconds = seconds

    def look(self, now: float, is_stopped=NEVER_STOPPED) -> None:
        self.hung += self.heartbeat.check(now, is_stopped)

    def stand_still(self, seconds: float, is_stopped=NEVER_STOPPED) -> None:
        """Look ten times a second: the first second is no standstill."""
        self.look(self.now, is_stopped)
        for _ in range(round(10 * seconds)):
            self.now += 0.1
            self.look(self.now, is_stopped)


def test_it_says_what_it_has_heard_and_lately():
    watched = Watched()
    heartbeat = watched.heartbeat
    assert (heartbeat.has_beaten, heartbeat.requests, heartbeat.blocked_for) == (False, 0, 0.0)
    assert not heartbeat.turns(time.monotonic())
    watched.line.hears("handler", "connect")
    assert not heartbeat.turns(time.monotonic())
    watched.line.hears("ready", 1.0)
    assert heartbeat.turns(time.monotonic()), "the word comes from the loop"
    assert not heartbeat.has_beaten
    watched.line.hears("beat", 12, 0, 0.0)
    heard = time.monotonic()
    assert (heartbeat.has_beaten, heartbeat.requests) == (True, 12)
    assert heartbeat.turns(heard + EVERY + MAX_DELAY - 0.1)
    assert not heartbeat.turns(heard + EVERY + MAX_DELAY + 0.1)


def test_a_beat_says_that_it_turns():
    watched = Watched()
    watched.line.hears("beat", 1, 0, 0.0)
    assert watched.heartbeat.turns(time.monotonic())


@pytest.mark.parametrize("limit", ["warning", "timeout"])
def test_a_limit_is_reached_at_the_second_and_not_after_it(limit):
    watched = Watched(**{limit: 3.0})
    for now in (100.0, 101.0, 102.0, 103.0):
        watched.look(now)
        assert not watched.hung
        assert not watched.line.asked
    watched.look(104.0)
    assert watched.hung + len(watched.line.asked) == 1


def test_without_limits_nothing_is_said():
    watched = Watched()
    watched.stand_still(600)
    assert (watched.blocked, watched.hung, watched.line.asked) == ([], 0, [])
    assert watched.heartbeat.blocked_for == pytest.approx(599)


def test_a_standstill_is_reported_once_and_its_end_as_well(caplog):
    watched = Watched(warning=5.0)
    watched.stand_still(5.9)
    assert watched.line.asked == []
    watched.stand_still(10)
    [answer] = watched.line.asked
    answer([], BLOCKING)
    [words] = watched.blocked
    assert words.startswith("the event loop of Sanic-Server-0-0 [7] has been blocked for 14.9 s")
    assert REMEDY in words
    assert caplog.messages == [f"[reaper] {words}"]
    caplog.clear()
    caplog.set_level("INFO", "sanic.root")
    watched.line.hears("beat", 1, 0, 0.0)
    assert watched.heartbeat.blocked_for == 0.0
    assert watched.heartbeat.blocked_before == pytest.approx(14.9)
    watched.line.hears("beat", 1, 0, 0.0)
    goes_on = "Sanic-Server-0-0 [7] has recovered: its event loop turns again"
    assert caplog.messages == [f"[reaper] {goes_on}"]
    watched.stand_still(6.1)
    assert len(watched.line.asked) == 2, "another one is another matter"


def test_one_that_turns_again_before_it_has_answered(caplog):
    """Where it is then is not where it was."""
    watched = Watched(warning=5.0)
    watched.stand_still(7)
    [answer] = watched.line.asked
    watched.line.hears("beat", 1, 0, 0.0)
    words = "the event loop of Sanic-Server-0-0 [7] has been blocked for 6.0 s, and turned again"
    assert len(watched.blocked) == 1
    assert watched.blocked[0].startswith(words)
    answer([], BLOCKING)
    assert len(watched.blocked) == 1
    assert len(caplog.messages) == 1
    watched.line.hears("beat", 1, 0, 0.0)
    watched.stand_still(7)
    assert len(watched.line.asked) == 2


def test_a_stopped_one_is_not_asked_where_it_is():
    watched = Watched(warning=5.0)
    watched.stand_still(8, lambda: True)
    assert watched.line.asked == []
    assert watched.blocked == ["Sanic-Server-0-0 [7] is stopped, by SIGSTOP or by a debugger"]


FRAMES = [(http.client.__file__, 7, "read"), ("/srv/shop/app.py", 40, "fetch")]
"""Innermost first, as a worker shows them."""


def test_a_report_says_where_the_loop_is_blocked_and_shows_the_stack():
    watched = Watched(warning=5.0)
    watched.stand_still(7)
    [answer] = watched.line.asked
    answer(FRAMES, f"{BLOCKING}, in C")
    [text] = watched.blocked
    first, *_ = lines = text.split("\n")
    assert first.endswith("has been blocked for 6.0 s, in C")
    assert "app.py:40" in text
    assert lines[-2:] == stack_of(FRAMES)
    assert watched.heartbeat.blocked_in == innermost(FRAMES, None)
    watched.line.hears("beat", 1, 0, 0.0)
    assert watched.heartbeat.blocked_in is None


def test_the_words_of_the_end_name_the_line_too():
    watched = Watched(timeout=3.0)
    watched.stand_still(4.5)
    assert "app.py:40" in watched.heartbeat.hung(FRAMES, BLOCKING)


def test_a_start_handler_that_awaits_is_not_what_blocks():
    """The stack that was shown with the answer is."""
    watched = Watched(warning=5.0)
    head = "Current thread 0x1 (most recent call first):"
    watched.line.stack = f'{head}\n  File "/srv/shop/app.py", line 40 in fetch\n'
    watched.stand_still(7)
    watched.line.asked[0]([("/srv/shop/app.py", 12, "connect")], AWAITING)
    [text] = watched.blocked
    assert "app.py:40" in text
    assert "app.py:12" not in text


def test_a_worker_whose_heartbeats_cannot_arrive_is_not_blamed():
    watched = Watched(warning=2.0, timeout=5.0)
    watched.line.is_deaf = True
    watched.stand_still(60)
    assert (watched.blocked, watched.hung, watched.line.asked) == ([], 0, [])


def test_it_is_ended_once(caplog):
    watched = Watched(warning=2.0, timeout=5.0)
    watched.stand_still(5.9)
    assert watched.hung == 0
    watched.stand_still(0.2)
    assert watched.hung == 1
    watched.stand_still(60)
    assert watched.hung == 1
    assert len(watched.line.asked) == 1
    caplog.set_level("INFO", "sanic.root")
    watched.line.hears("beat", 1, 0, 0.0)
    assert not caplog.messages, "it is to end, whatever it does now"


def test_the_timeout_may_come_before_the_warning():
    watched = Watched(warning=10.0, timeout=3.0)
    watched.stand_still(20)
    assert (watched.hung, watched.line.asked) == (1, [])


def test_the_words_of_the_end():
    watched = Watched(timeout=3.0)
    watched.stand_still(4.5)
    words = watched.heartbeat.hung([], BLOCKING)
    assert words.startswith(
        "its event loop has been blocked for 3.5 s (REAPER_HEARTBEAT_TIMEOUT = 3)"
    )
    assert REMEDY in words


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (BLOCKING, "3.5 s ("),
        (f"{BLOCKING}, in C", "3.5 s, in C ("),
        ("somewhere in C", "3.5 s somewhere in C ("),
    ],
)
def test_how_it_stands_still(how, words):
    watched = Watched(timeout=3.0)
    watched.stand_still(4.5)
    assert words in watched.heartbeat.hung([], how)


def test_long_standstills_are_kept_and_short_ones_are_not():
    watched = Watched()
    watched.line.hears("beat", 1, 0, 0.0)
    watched.stand_still(1.9)
    watched.line.hears("beat", 1, 0, 0.0)
    assert not watched.heartbeat.stalls
    assert watched.heartbeat.blocked_before == pytest.approx(0.9)
    watched.stand_still(2.5)
    watched.line.hears("beat", 1, 0, 0.0)
    [(begin, end)] = watched.heartbeat.stalls
    assert end - begin == pytest.approx(1.5)
    assert watched.heartbeat.blocked_before == pytest.approx(0.9 + 1.5)
    assert end == pytest.approx(time.monotonic(), abs=5)
    for _ in range(2 * MAX_KEPT_STALLS):
        watched.stand_still(3)
        watched.line.hears("beat", 1, 0, 0.0)
    assert len(watched.heartbeat.stalls) == MAX_KEPT_STALLS
