"""What a history may leave, and how main may end after it: the table behind `chaos`."""

from __future__ import annotations

import math
from signal import SIGABRT, SIGCONT, SIGKILL, SIGTERM

import pytest
from chaos.history import History, Step
from chaos.verdict import DOCUMENTED, TICKS, Facts, excuse, expected_codes
from support.census import Row
from support.server import SUPERVISED

KILLED_AT = 100.0
HURT = History(steps=(Step(0.0, "save"),))
RAISING = History(subject=SUPERVISED.with_(listeners={"before_server_start": "raise"}))


@pytest.mark.parametrize(
    ("history", "facts", "codes"),
    [
        (History(), Facts(sent_to_main={SIGTERM}), {0}),
        (History(), Facts(sent_to_main={SIGKILL}), DOCUMENTED | {137}),
        (History(), Facts(sent_to_main={SIGABRT, SIGTERM}), DOCUMENTED | {134}),
        (History(), Facts(sent_to_main={SIGTERM}, early={SIGTERM}), DOCUMENTED | {143}),
        (History(), Facts(sent_to_main={SIGTERM}, late={SIGTERM}), DOCUMENTED | {143}),
        (HURT, Facts(sent_to_main={SIGTERM}), DOCUMENTED),
        (HURT, Facts(sent_to_main={SIGCONT}, early={SIGCONT}), DOCUMENTED),
        (RAISING, Facts(sent_to_main={SIGTERM}), DOCUMENTED),
    ],
)
def test_how_main_may_end(history, facts, codes):
    assert expected_codes(history, facts) == codes


@pytest.mark.parametrize("state", ["S", "Z"])
@pytest.mark.parametrize("name", ["sleep", "python"])
@pytest.mark.parametrize("mark", [{}, {"sanic_reaper_run": "x"}], ids=["unmarked", "marked"])
@pytest.mark.parametrize("age", [0.5, 5.0])
@pytest.mark.parametrize(
    "facts", [Facts(), Facts(killed_at=KILLED_AT), Facts(killed_at=KILLED_AT, unguarded=True)]
)
def test_who_may_be_left(facts, age, mark, name, state):
    """A worker's child that nothing connects with the server: if nobody can have seen it."""
    row = Row(1, int((KILLED_AT - age) * TICKS), 1, 1, 1, state, name)
    unknown = state == "S" and name == "sleep" and not mark
    unseen = facts.unguarded or (age < 1 and facts.killed_at < math.inf)
    assert bool(excuse(row, mark, facts)) == (unknown and unseen)
