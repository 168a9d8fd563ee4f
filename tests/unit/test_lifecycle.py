"""The states of a worker: which facts make which, and who counts in which state."""

from __future__ import annotations

import pytest
from support.written import NOW, a_server

from sanic_reaper.commands.ps import Picture
from sanic_reaper.model import lifecycle
from sanic_reaper.platform import Row
from sanic_reaper.state import health
from sanic_reaper.worker import metrics, status

UP = {"acked": True, "ready": True}


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        ({}, "starting"),
        ({"opened": True}, "starting"),
        ({"acked": True}, "background"),
        ({"acked": True, "opened": True}, "serving"),
        ({"acked": True, "finishing": True}, "finishing start"),
        ({"acked": True, "finishing": True, "opened": True}, "finishing start"),
        ({"acked": True, "finishing": True, "blocked": True}, "blocked"),
        ({"acked": True, "blocked": True}, "blocked"),
        (UP, "serving"),
        ({"ready": True}, "serving"),
        ({**UP, "blocked": True}, "blocked"),
        ({"failed": True}, "failed"),
        ({**UP, "failed": True, "blocked": True}, "failed"),
        ({"told_to_stop": True}, "stopping"),
        ({**UP, "failed": True, "told_to_stop": True}, "stopping"),
    ],
)
def test_the_state_that_follows_from_what_is_known(facts, state):
    assert lifecycle.of_worker(**facts) == state


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
