"""The last line of a server's log."""

from __future__ import annotations

import pytest

from sanic_reaper.main.goodbye import HELPER, PROCESS, WORKER, goodbye


@pytest.mark.parametrize(
    ("seconds", "code", "killed", "leftovers", "line"),
    [
        (0.2345, 0, [], 0, "stopped cleanly in 0.2 s"),
        (0.2, 1, [], 0, "stopped in 0.2 s"),
        (19.2, 0, [WORKER], 0, "stopped in 19.2 s: 1 worker had to be killed"),
        (19.2, 0, [WORKER] * 2, 0, "stopped in 19.2 s: 2 workers had to be killed"),
        (1.0, 0, [], 1, "stopped in 1.0 s: 1 leftover process cleaned up"),
        (
            20.04,
            0,
            [PROCESS, WORKER, HELPER, PROCESS],
            3,
            "stopped in 20.0 s: 1 worker had to be killed, 1 helper had to be killed, "
            "2 processes had to be killed, 3 leftover processes cleaned up",
        ),
    ],
)
def test_it_names_numbers_that_are_not_zero(seconds, code, killed, leftovers, line) -> None:
    assert goodbye(seconds, code, killed, leftovers) == line


def test_a_kill_of_somebody_elses_is_not_the_reapers() -> None:
    assert goodbye(1.0, 0, [WORKER], 1, [], [WORKER, PROCESS]) == (
        "stopped in 1.0 s: 1 worker had to be killed, 1 leftover process cleaned up, "
        "1 worker got SIGKILL from elsewhere, "
        "1 process got SIGKILL from elsewhere"
    )


def test_what_could_not_be_killed_is_not_clean() -> None:
    other = "runs as another user"
    assert (
        goodbye(1.0, 0, [], 0, [other])
        == f"stopped in 1.0 s: 1 process could not be killed: {other}"
    )
    survivors = [other, "survives SIGKILL", other]
    assert goodbye(1.0, 0, [], 1, survivors) == (
        "stopped in 1.0 s: 1 leftover process cleaned up, 2 processes could not be killed: "
        f"{other}, 1 process could not be killed: survives SIGKILL"
    )
