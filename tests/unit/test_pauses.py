"""When a start that has failed is tried again, and how often."""

from __future__ import annotations

from sanic_reaper.retries import LONGEST_PAUSE, Retries


def test_pauses_grow_up_to_a_limit():
    retries = Retries(8)
    assert [retries.pause("a") for _ in range(9)] == [1, 2, 4, 8, 16, *[LONGEST_PAUSE] * 3, None]


def test_workers_are_counted_apart_and_forgotten_when_they_are_ready():
    retries = Retries(1)
    assert (retries.pause("a"), retries.pause("b"), retries.pause("a")) == (1, 1, None)
    retries.forget("a")
    assert retries.pause("a") == 1


def test_no_retries():
    assert Retries(0).pause("a") is None


def test_a_pause_is_over_once(monkeypatch):
    now = 100.0
    monkeypatch.setattr("sanic_reaper.retries.time.monotonic", lambda: now)
    retries = Retries(1)
    retries.pause("a")
    assert not retries.is_due("a")
    now = 101.0
    assert retries.is_due("a")
    assert "a" not in retries.due
