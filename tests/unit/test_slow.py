"""`SlowHandlers`: what is shown in full, and what is counted."""

from __future__ import annotations

from sanic_reaper.main.slow import AGAIN, GATHER, SlowHandlers
from sanic_reaper.worker.handlers import Place

LOAD, CONNECT = Place("load", "app.py", 3), Place("connect", "app.py", 9)


def test_the_first_worker_is_shown_and_the_others_are_counted_in_one_line():
    lines = []
    slow = SlowHandlers(lines.append)
    assert slow.is_new(LOAD, "A [1]", 10.0)
    assert not slow.is_new(LOAD, "B [2]", 10.1)
    assert not slow.is_new(LOAD, "C [3]", 10.2)
    slow.turn(10.1 + GATHER - 0.01)
    assert lines == []
    slow.turn(10.1 + GATHER)
    slow.turn(20.0)
    assert lines == [
        "2 more workers are slow to start: load (app.py:3) still runs in B [2], C [3] too"
    ]


def test_one_that_comes_later_has_a_line_of_its_own():
    lines = []
    slow = SlowHandlers(lines.append)
    slow.is_new(LOAD, "A [1]", 10.0)
    slow.turn(15.0)
    assert not slow.is_new(LOAD, "B [2]", 20.0)
    slow.turn(20.0 + GATHER)
    assert lines == ["1 more worker is slow to start: load (app.py:3) still runs in B [2] too"]


def test_each_handler_is_shown_once():
    slow = SlowHandlers([].append)
    assert slow.is_new(LOAD, "A [1]", 10.0)
    assert slow.is_new(CONNECT, "A [1]", 12.0)
    assert not slow.is_new(CONNECT, "B [2]", 12.0)


def test_a_later_start_is_shown_again():
    slow = SlowHandlers([].append)
    assert slow.is_new(LOAD, "A [1]", 10.0)
    assert not slow.is_new(LOAD, "B [2]", 10.0 + AGAIN - 0.1)
    assert slow.is_new(LOAD, "C [3]", 10.0 + AGAIN)
