"""When a worker whose start has failed, or that has died, is started again, and how often."""

from __future__ import annotations

from sanic_reaper.model.backoff import LONGEST_PAUSE, Respawns, Retries


def test_pauses_grow_up_to_a_limit():
    retries = Retries(8)
    pauses = [retries.on_failure() for _ in range(9)]
    assert pauses == [1, 2, 4, 8, 16, *[LONGEST_PAUSE] * 3, None]


def test_workers_are_counted_apart_and_forgotten_when_they_are_ready():
    a, b = Retries(1), Retries(1)
    assert (a.on_failure(), b.on_failure(), a.on_failure()) == (1, 1, None)
    a.reset()
    assert a.on_failure() == 1
    assert b.on_failure() is None


def test_one_that_nobody_has_heard_of_may_be_forgotten():
    retries, respawns = Retries(1), Respawns(1, 10.0)
    retries.reset()
    respawns.reset()
    assert (retries.on_failure(), respawns.on_death(0.0)) == (1, 0)


def test_no_retries():
    assert Retries(0).on_failure() is None


# -- workers that have died -----------------------------------------------------------------------


def test_a_first_death_is_mended_at_once_and_the_next_ones_later_and_later():
    respawns = Respawns(9, 1000.0)
    pauses = [respawns.on_death(float(now)) for now in range(10)]
    assert pauses == [0, 0.5, 1, 2, 4, 8, 16, 30, 30, None]


def test_deaths_are_forgotten_after_the_window():
    respawns = Respawns(1, 10.0)
    assert respawns.on_death(0.0) == 0
    assert respawns.on_death(10.0) == 0, "the first one is ten seconds old"
    assert respawns.on_death(19.9) is None


def test_a_death_in_the_crash_loop_counts_too():
    """Or a worker that somebody keeps alive by restarting it would never be in one."""
    respawns = Respawns(1, 10.0)
    assert [respawns.on_death(now) for now in (0.0, 6.0, 12.0)] == [0, None, None]


def test_workers_die_apart():
    a, b = Respawns(1, 10.0), Respawns(1, 10.0)
    assert (a.on_death(0.0), b.on_death(0.0)) == (0, 0)
    b.reset()
    assert (a.on_death(1.0), b.on_death(1.0)) == (None, 0)


def test_no_replacement():
    assert Respawns(0, 10.0).on_death(0.0) is None
