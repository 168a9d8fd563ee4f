"""Fault injection itself: can its check fail, and does it say what happened?

`python -m chaos`, in this directory, plays as many histories as you have time for.
"""

from __future__ import annotations

import dataclasses

import pytest
from chaos.history import History, Step, draw
from chaos.play import play
from chaos.shrink import shrink, source
from support.box import isolation
from support.http import Ports
from support.server import PLAIN, SUPERVISED

needs_namespace = pytest.mark.skipif(
    isolation()[0] != "PID namespace", reason="needs root, for an exact count"
)
pytestmark = needs_namespace

STUCK = {"before_server_start": "block"}
RAISING = {"before_server_start": "raise"}
FORKED = SUPERVISED.with_(method="fork")


def to_main(signum: str) -> Step:
    return Step(0.0, "signal", "main", signum)


@pytest.mark.parametrize(
    ("history", "violation"),
    {
        "processes are left": (History(subject=PLAIN, end=to_main("SIGKILL")), "left:"),
        "a stop hangs": (History(subject=PLAIN.with_(listeners=STUCK), until="holding"), "ended"),
        "a stranger dies": (
            History(subject=PLAIN.with_(listeners=RAISING), until="served"),
            "a stranger in the same group and session is dead",
        ),
        "an unknown exit code": (
            History(subject=PLAIN, end=to_main("SIGQUIT")),
            "main has ended with 131",
        ),
    }.values(),
    ids=["left", "hangs", "stranger", "code"],
)
def test_plain_sanic_breaks_each_invariant(history, violation):
    """Each check fails where there is something to find."""
    outcome = play(history, Ports())
    assert any(violation in found for found in outcome.violations), outcome


@pytest.mark.parametrize(
    "history",
    [
        History(subject=FORKED, second=True),
        History(
            # Or it may be the dead worker's successor that gets its pid.
            subject=FORKED.with_(
                children=["plain", "detached"], main_children=["daemon"]
            ).with_config(REAPER_RESPAWN=False),
            steps=(
                Step(0.0, "recycle pid", "worker"),
                Step(0.0, "signal", "watchdog", "SIGKILL"),
            ),
            end=Step(1.5, "signal", "main", "SIGKILL"),
        ),
        History(
            subject=FORKED,
            ordinary_user=True,
            small_disk=True,
            steps=(
                Step(0.0, "fill disk"),
                Step(0.0, "limit", "main", "NPROC 0"),
                Step(0.0, "limit", "main", "NOFILE 0"),
                Step(0.0, "signal", "worker 0", "SIGKILL"),
                Step(0.5, "free disk"),
            ),
        ),
        History(
            subject=FORKED.with_(children=["plain"], main_children=["cleaned-daemon"]),
            # By now the watchdog has seen everybody; then it can't look any more, and main dies.
            steps=(Step(1.8, "limit", "watchdog", "NOFILE 0"),),
            end=Step(1.2, "signal", "main", "SIGKILL"),
        ),
        History(
            subject=FORKED.with_(run={"auto_reload": True, "reload_dir": "watched"}),
            steps=(Step(0.0, "save"), Step(0.5, "request", "/scale/4")),
            burning=2,
        ),
    ],
    ids=["second", "strangers", "starved", "blind", "reloaded"],
)
def test_what_a_history_may_hold(history):
    """Each kind of step is done, and none that is meant for the server hits anybody else."""
    outcome = play(history, Ports())
    assert not outcome.violations, outcome.log
    assert outcome.done.total() >= len(history.steps) + 1, outcome


def test_a_seed_is_a_history():
    assert draw(4) == draw(4)
    assert len({repr(draw(seed)) for seed in range(50)}) == 50


def test_a_history_is_a_program():
    for seed in range(50):
        history = draw(seed)
        names: dict[str, object] = {}
        exec(source(history), names)
        assert names["history"] == history


def test_what_does_not_matter_is_left_out():
    """Of all that was drawn, a kill of the watchdog under one setting is what fails here."""
    subject = SUPERVISED.with_(
        workers=8, children=["plain"], config={**SUPERVISED.config, "LOGGING": True, "HEALTH": True}
    )
    kill = Step(0.5, "signal", "watchdog", "SIGKILL")
    steps = (Step(0.1, "save"), kill, Step(0.1, "request", "/restart"))
    history = History(seed=7, subject=subject, steps=steps, second=True, burning=4)

    def fails(candidate: History) -> bool:
        whom = [step.target for step in candidate.steps]
        return "watchdog" in whom and "LOGGING" in candidate.subject.config

    smallest = shrink(history, fails, 5)
    assert smallest == History(
        seed=7,
        subject=SUPERVISED.with_config(LOGGING=True),
        steps=(dataclasses.replace(kill, after=0.0),),
    )
