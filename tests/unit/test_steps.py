"""What must be done to the end is, and how a server ends that an exception ends."""

from __future__ import annotations

import pytest

from sanic_reaper.log import log
from sanic_reaper.main.outcome import outcome_of
from sanic_reaper.main.steps import Steps


def fail() -> None:
    raise OSError("no")


def test_a_step_that_fails_costs_that_step_alone_and_is_told_of_once(monkeypatch):
    told: list[str] = []
    monkeypatch.setattr(log, "exception", lambda text, *words: told.append(text % words))
    steps, done = Steps(), []
    assert not steps.attempt("open the door", fail)
    assert steps.attempt("go on", lambda: done.append(1))
    assert not steps.attempt("open the door", fail)
    assert done == [1]
    assert told == ["the stop continues, but main could not open the door: OSError('no')"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SystemExit(), 0),
        (SystemExit(3), 3),
        (SystemExit("bad luck"), 1),
        (OSError("no"), 1),
        (KeyboardInterrupt(), 1),
    ],
)
def test_how_a_server_ends_that_an_exception_ends(error, code):
    assert outcome_of(error)[0] == code
