"""The states of a worker: which event leads from which to which, and who counts in which state."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.written import NOW, a_server

from sanic_reaper.commands.ps import Picture
from sanic_reaper.main.worker import SupervisedProcess
from sanic_reaper.model import lifecycle
from sanic_reaper.platform import Row
from sanic_reaper.state import health
from sanic_reaper.worker import metrics, status

DOCS = Path(__file__).parents[2] / "docs"

ROWS = """
                          listens          up              open     ready    fail     late     stall             turn             stop      exit
starting                  finishing_start  background      .        serving  failed   failed   .                 .                stopping  ended
finishing_start           finishing_start  background      .        serving  failed   failed   blocked_finishing .                stopping  ended
blocked_finishing         blocked_finishing blocked_background .    blocked  failed   failed   .                 finishing_start  stopping  ended
background                background       .               serving  serving  failed   failed   .                 .                stopping  ended
blocked_background        blocked_background .             blocked  blocked  failed   failed   .                 background       stopping  ended
serving                   serving          .               serving  serving  failed   failed   blocked           .                stopping  ended
blocked                   blocked          .               blocked  blocked  failed   failed   .                 serving          stopping  ended
failed                    failed           failed          failed   failed   failed   failed   .                 .                stopping  ended
stopping                  stopping         stopping        stopping stopping stopping stopping .                 .                stopping  ended
running                   .                .               .        .        .        .        .                 .                stopping  ended
ended                     .                .               .        .        .        .        .                 .                .         .
"""  # noqa: E501
HEAD, *LINES = [line.split() for line in ROWS.strip().splitlines()]
TABLE = [
    (state, event, None if after == "." else after)
    for state, *afters in LINES
    for event, after in zip(HEAD, afters, strict=True)
]


def named(name: str) -> str:
    """A state, from its name in the module."""
    value: str = getattr(lifecycle, name.upper())
    return value


@pytest.mark.parametrize(("state", "event", "after"), TABLE)
def test_each_event_in_each_state(state, event, after):
    expected = named(after) if after else None
    assert lifecycle.TRANSITIONS.get((named(state), event)) == expected


def test_the_table_has_no_other_rows():
    rows = {(named(state), event) for state, event, after in TABLE if after}
    assert rows == set(lifecycle.TRANSITIONS)
    assert tuple(HEAD) == lifecycle.EVENTS
    assert [named(state) for state, *_ in LINES] == [*lifecycle.STATES]


def after(*events: str, state: str = lifecycle.STARTING) -> str:
    """The state after a history, in the words of the state file."""
    for event in events:
        state = lifecycle.TRANSITIONS.get((state, event), state)
    return lifecycle.SHOWN.get(state, state)


SERVED = ("listens", "up", "ready")


@pytest.mark.parametrize(
    ("history", "state"),
    [
        ((), "starting"),
        (("open",), "starting"),
        (("listens", "up"), "background"),
        (("listens", "up", "open"), "serving"),
        (("listens",), "finishing start"),
        (("listens", "open"), "finishing start"),
        (("listens", "stall"), "blocked"),
        (("listens", "stall", "up"), "blocked"),
        (("listens", "stall", "up", "turn"), "background"),
        (("listens", "stall", "up", "ready"), "blocked"),
        (("listens", "stall", "up", "ready", "turn"), "serving"),
        (SERVED, "serving"),
        (("ready",), "serving"),
        ((*SERVED, "stall"), "blocked"),
        ((*SERVED, "stall", "turn"), "serving"),
        ((*SERVED, "stall", "fail"), "failed"),
        (("stop",), "stopping"),
        ((*SERVED, "fail", "stop"), "stopping"),
        ((*SERVED, "stop", "exit"), "ended"),
    ],
)
def test_the_state_that_follows_from_what_is_known(history, state):
    assert after(*history) == state


histories = st.lists(st.sampled_from(lifecycle.EVENTS), max_size=60)


def process_that_is(is_server: bool) -> SupervisedProcess:
    role = "worker" if is_server else "process"
    handle: Any = SimpleNamespace(name="Sanic-Server-0-0", is_server=is_server, reaper_role=role)
    return SupervisedProcess(handle, (7, 1), 1.0)


@given(histories, st.booleans())
def test_no_history_leaves_the_table(history, is_server):
    child, told = process_that_is(is_server), set()
    for event in history:
        child.on(event)
        told.add(event)
        assert child.state in lifecycle.STATES
        assert child.shown in (*lifecycle.LIVING, "running", "ended")
        if "exit" in told:
            assert child.state == "ended"
        elif "stop" in told:
            assert child.state == "stopping"
        if not is_server:
            assert child.state in ("running", "stopping", "ended")


@given(histories)
def test_from_each_state_a_worker_can_be_stopped_and_exits(history):
    assert after(*history, "exit") == "ended"
    assert after(*history, "stop") in ("stopping", "ended")


def test_an_event_without_a_row_is_logged_once_and_ignored(caplog):
    child = process_that_is(True)
    for event in ("turn", "stall", "open"):
        child.on(event)
    assert child.state == "starting"
    [warning] = caplog.messages
    assert "Sanic-Server-0-0 [7] reports 'turn' in the state 'starting'" in warning


def table_for_the_docs() -> list[str]:
    """`TRANSITIONS` as the rows of a table; a state that stays the same is left out."""
    events = lifecycle.EVENTS
    rows = [f"| | {' | '.join(events)} |", f"|---|{'---|' * len(events)}"]
    for state in lifecycle.STATES:
        afters = (lifecycle.TRANSITIONS.get((state, event), "") for event in events)
        shown = ("" if after == state else after for after in afters)
        rows.append(f"| *{state}* | {' | '.join(shown)} |")
    return rows


def test_the_docs_show_the_table():
    shown = [line.strip() for line in (DOCS / "architecture.md").read_text().splitlines()]
    rows = table_for_the_docs()
    assert rows[0] in shown, "\n" + "\n".join(rows)
    start = shown.index(rows[0])
    assert shown[start : start + len(rows)] == rows, "\n" + "\n".join(rows)


def test_the_picture_in_the_docs_shows_each_state_and_event():
    """Drawn by hand: a state in capitals, an event in small letters, and nothing else."""
    document = (DOCS / "architecture.md").read_text()
    picture = document.split("## The states of a worker")[1].split("```")[1]
    drawn = set(re.findall(r"[A-Z]+(?: [A-Z]+)*", picture))
    shown = {lifecycle.SHOWN.get(state, state) for state in lifecycle.STATES} - {"running"}
    assert {state.lower() for state in drawn} == shown
    words = set(re.findall(r"\b[a-z]+\b", picture))
    explained = {"a", "slot", "spawns", "from", "each", "state", "before", "it", "v"}
    assert words - explained == set(lifecycle.EVENTS)


@pytest.mark.parametrize(
    ("alive", "halted", "state"),
    [(True, False, "serving"), (True, True, "stopped"), (False, False, "zombie")],
)
def test_the_kernel_knows_better(alive, halted, state):
    assert lifecycle.observed("serving", alive, halted) == state


EVERY = (*lifecycle.LIVING, *sorted(lifecycle.GONE))
SERVES, ANSWERS = {"serving"}, {"serving", "background", "finishing start"}


@pytest.mark.parametrize("state", EVERY)
def test_all_who_tell_of_a_worker_mean_the_same(state):
    """One worker in each state: who says that it serves, and who that the server is live?"""
    server = a_server(f"0 {state.replace(' ', '-')}", wanted=1, method="fork")
    serves, answers = state in SERVES, state in ANSWERS
    assert (health.live(server, NOW) == "") == answers
    assert (health.ready(server, NOW) == "") == serves
    picture = Picture.of(server, {}, NOW)
    assert picture.as_data()["workers_serving"] == serves
    assert f"{int(serves)} of 1 workers serve" in picture.headline()
    document = status.document(server, NOW)
    assert (document["live"]["ok"], document["ready"]["ok"]) == (answers, serves)
    assert [one["state"] for one in document["processes"]] == [state] * (
        state not in lifecycle.GONE
    )
    text = metrics.exposition(server, NOW)
    assert f'sanic_reaper_workers{{state="serving"}} {int(serves)}\n' in text
    for other in lifecycle.LIVING:
        assert f'sanic_reaper_workers{{state="{other}"}} {int(other == state)}\n' in text


def row(pid: int, state: str = "S", start: int = 1) -> Row:
    return Row(pid, 1, start, state, "python")


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (row(100), "serving"),
        (row(100, "T"), "stopped"),
        (row(100, "t"), "stopped"),
        (row(100, "Z"), "zombie"),
        (row(100, start=2), "zombie"),
        (None, "zombie"),
    ],
    ids=["lives", "stopped", "traced", "zombie", "somebody else", "not there"],
)
def test_what_is_recorded_is_corrected_by_the_process_table(found, state):
    server = a_server("0 serving", "1 ended")
    table = {server.main[0]: row(server.main[0], start=server.main[1]), 100: found}
    server.observe(table.get)
    assert [one.state for one in server.members.values()] == [state, "ended"]


@pytest.mark.parametrize("boot", [None, "another"])
def test_a_table_that_does_not_show_main_says_nothing_of_its_workers(boot):
    server = a_server("0 serving", **({"boot": boot} if boot else {}))
    main = server.main[0]
    server.observe({main: row(main, start=server.main[1])}.get if boot else {}.get)
    assert [one.state for one in server.members.values()] == ["serving"]
