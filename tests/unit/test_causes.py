"""The causes of deaths and kills, in one word each."""

from __future__ import annotations

import signal

import pytest

from sanic_reaper.model.kills import KILLS
from sanic_reaper.tree import causes


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ((0,), "exit"),
        ((3, 1), "exit"),
        ((-signal.SIGSEGV,), "signal"),
        ((-signal.SIGKILL,), "signal"),
        ((-signal.SIGKILL, 0), "signal"),
        ((-signal.SIGKILL, 1), "oom"),
        ((-signal.SIGTERM, 1), "signal"),
        ((-signal.SIGKILL, 1, "hung"), "hung"),
        ((-signal.SIGKILL, 0, "startup"), "startup"),
        ((-signal.SIGKILL, 0, "replaced"), "killed"),
        ((None,), "unknown"),
        ((None, 1), "unknown"),
        ((None, 0, "hung"), "hung"),
        ((-signal.SIGKILL, 0, "for no reason that we know"), "killed"),
    ],
)
def test_the_cause_of_a_death(arguments, cause):
    assert causes.of_death(*arguments) == cause
    assert cause in causes.DEATHS


@pytest.mark.parametrize("cause", KILLS)
def test_a_kill_for_each_cause_is_a_death_of_ours(cause):
    assert causes.of_death(-signal.SIGKILL, 1, cause) in (cause, "killed")
