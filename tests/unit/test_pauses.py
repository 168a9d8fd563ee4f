"""When a worker whose start has failed, or that has died, is started again, and how often."""

from __future__ import annotations

from sanic_reaper.main.respawns import Respawns
from sanic_reaper.main.retries import LONGEST_PAUSE, Retries


def test_pauses_grow_up_to_a_limit():
    retries = Retries(8)
    assert [retries.pause("a") for _ in range(9)] == [1, 2, 4, 8, 16, *[LONGEST_PAUSE] * 3, None]


def test_workers_are_counted_apart_and_forgotten_when_they_are_ready():
    retries = Retries(1)
    assert (retries.pause("a"), retries.pause("b"), retries.pause("a")) == (1, 1, None)
    retries.forget("a")
    assert retries.pause("a") == 1


def test_one_that_nobody_has_heard_of_may_be_forgotten():
    Retries(1).forget("a")
    Respawns(1, 10.0).forget("a")


def test_no_retries():
    assert Retries(0).pause("a") is None


# -- workers that have died -----------------------------------------------------------------------


def test_a_first_death_is_mended_at_once_and_the_next_ones_later_and_later():
    respawns = Respawns(9, 1000.0)
    pauses = [respawns.died("a", float(now)) for now in range(10)]
    assert pauses == [0, 0.5, 1, 2, 4, 8, 16, 30, 30, None]


def test_deaths_are_forgotten_after_the_window():
    respawns = Respawns(1, 10.0)
    assert respawns.died("a", 0.0) == 0
    assert respawns.died("a", 10.0) == 0, "the first one is ten seconds old"
    assert respawns.died("a", 19.9) is None


def test_a_death_in_the_crash_loop_counts_too():
    """Or a worker that somebody keeps alive by restarting it would never be in one."""
    respawns = Respawns(1, 10.0)
    assert [respawns.died("a", now) for now in (0.0, 6.0, 12.0)] == [0, None, None]


def test_workers_die_apart():
    respawns = Respawns(1, 10.0)
    assert (respawns.died("a", 0.0), respawns.died("b", 0.0)) == (0, 0)
    respawns.forget("a")
    assert (respawns.died("a", 1.0), respawns.died("b", 1.0)) == (0, None)


def test_no_replacement():
    assert Respawns(0, 10.0).died("a", 0.0) is None
