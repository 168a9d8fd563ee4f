"""`health`: what a probe is told, for each state that a server can be in.

What main leaves is written with the words of `state`; main is this process, which lives.
"""

from __future__ import annotations

import json
import os
import time

import pytest
from support.written import NOW, a_server

from sanic_reaper import cli
from sanic_reaper.commands import health as command
from sanic_reaper.state import health
from sanic_reaper.state.discovery import Unread
from sanic_reaper.state.server import STALE

TWO = ("0 serving", "1 serving")

CASES = [
    # what, not live because, not ready because
    (a_server(*TWO), "", ""),
    (
        a_server("0 serving", "1 background warm_up"),
        "",
        "[101] still does background work: warm_up",
    ),
    (
        a_server("0 serving", "1 finishing-start warm_up"),
        "",
        "Sanic-Server-1-0 [101] has not finished its start: warm_up",
    ),
    (a_server("0 finishing-start", "1 starting"), "", "has not finished its start"),
    (
        a_server("0 serving", "1 stopped"),
        "",
        "Sanic-Server-1-0 [101] is stopped, by SIGSTOP or by a debugger",
    ),
    (
        a_server("0 stopped", "1 blocked"),
        "no worker serves; Sanic-Server-0-0 [100] is stopped, Sanic-Server-1-0 [101] is blocked",
        ...,
    ),
    (a_server("0 zombie", "1 serving"), "", "1 of 2 workers serve"),
    (a_server("0 background", "1 background"), "", "Sanic-Server-0-0 [100] still does background"),
    (
        a_server("0 serving", "1 blocked"),
        "",
        "the event loop of Sanic-Server-1-0 [101] is stalled",
    ),
    (
        a_server("0 blocked", "1 blocked"),
        "no worker serves; Sanic-Server-0-0 [100] is blocked, Sanic-Server-1-0 [101] is blocked",
        ...,
    ),
    (
        a_server("0 serving", "1 starting"),
        "",
        "1 of 2 workers serve; Sanic-Server-1-0 [101] is star",
    ),
    (
        a_server("0 serving", "1 failed"),
        "",
        "1 of 2 workers serve; Sanic-Server-1-0 [101] is failed",
    ),
    (a_server("0 serving", "1 ended"), "", "1 of 2 workers serve"),
    (a_server("0 serving", "1 stopping"), "", "1 of 2 workers serve"),
    (a_server("0 ended", "1 ended"), "no worker serves", ...),
    (a_server(), "no worker serves", ...),
    (
        a_server("0 starting", phase="starting"),
        "no worker serves; Sanic-Server-0-0 [100] is sta",
        ...,
    ),
    # Recycled: the old one serves until the new one does, and then drains.
    (a_server(*TWO, "0 starting"), "", ""),
    (a_server("0 stopping", "1 serving", "0 serving"), "", ""),
    (a_server(*TWO, "0 background"), "", "still does background work"),
    (a_server(*TWO, "0 finishing-start"), "", ""),
    # Main.
    (a_server(*TWO, age=STALE - 0.1), "", ""),
    (a_server(*TWO, age=STALE), "the main process's loop has been stalled for 5.0 s", ...),
    (a_server(*TWO, age=None), "the main process's loop has not run yet", ...),
    (a_server(*TWO, phase="stopping"), "the server is stopping", ...),
    (a_server(*TWO, phase="stopped"), "the server has stopped", ...),
    (a_server(*TWO, start=1), f"the main process [{os.getpid()}] has died", ...),
    (a_server(*TWO, boot="another"), f"the main process [{os.getpid()}] has died", ...),
]
"""`...`: for the same reason."""


@pytest.mark.parametrize(
    ("server", "words"),
    [
        (a_server(phase="stopped"), "the server has stopped"),
        (a_server(*TWO, phase="stopping"), "the server is stopping"),
        (a_server(*TWO, age=None), "the main process's loop has not run yet"),
        (a_server(), "no worker serves"),
        (a_server(wanted=0, guards_only=True), ""),
        (
            a_server(wanted=0, guards_only=True, age=60.0),
            "the main process's loop has been stalled for 60.0 s",
        ),
        (a_server("0 background"), "Sanic-Server-0-0 [100] still does background work"),
    ],
)
def test_the_whole_answer(server, words):
    assert health.ready(server, NOW) == words


@pytest.mark.parametrize(
    ("server", "not_live", "not_ready"), CASES, ids=map(str, range(len(CASES)))
)
def test_what_a_probe_is_told(server, not_live, not_ready):
    not_ready = not_live if not_ready is ... else not_ready
    live, ready = health.live(server, NOW), health.ready(server, NOW)
    assert not_live in live
    assert not_ready in ready
    assert (live == "", ready == "") == (not_live == "", not_ready == "")
    assert "\n" not in live + ready


BAKERY = f"Bakery [{os.getpid()}]"
SHOP = f"Shop [{os.getpid()}]"


@pytest.mark.parametrize(
    ("phases", "well", "said"),
    [
        ({}, False, {}),
        ({"Shop": "serving"}, True, {SHOP: ""}),
        (
            {"Shop": "serving", "Bakery": "stopping"},
            False,
            {SHOP: "", BAKERY: "the server is stopping"},
        ),
        ({"Shop": "serving", "Bakery": "stopped"}, True, {SHOP: ""}),
    ],
    ids=["none", "one", "one of two", "one that is over"],
)
def test_all_have_to_be_well_and_each_that_is_not_is_told(monkeypatch, capsys, phases, well, said):
    beat = NOW - time.monotonic()
    servers = [a_server(*TWO, app=app, phase=phase, age=beat) for app, phase in phases.items()]
    monkeypatch.setattr(command, "unseen", lambda table, known: [])  # those of this machine
    monkeypatch.setattr(command.discovery, "servers", lambda *_: servers)
    monkeypatch.setattr(command.statedir, "users", lambda: [os.geteuid()])
    assert cli.main(["health", "--ready", "--json"]) == (not well)
    out, error = capsys.readouterr()
    data = json.loads(out)
    assert (data["kind"], data["well"], data["servers"]) == ("health", well, said)
    assert error == ""
    assert cli.main(["health", "--ready"]) == (not well)
    out, error = capsys.readouterr()
    lines = [f"{title}: {why}" for title, why in said.items() if why]
    told = error.splitlines()
    if not said:
        assert told.pop(0) == "no server is running"
        assert told.pop(0).startswith("looked in /")
    assert (out, told) == ("", lines)


def test_a_file_that_is_not_understood_is_told_while_its_server_seems_to_run(monkeypatch, capsys):
    def servers(uids, unread=None):
        if unread is not None:
            unread += [Unread(0, f"/x/{age}.state", "why not", age) for age in (1.0, 600.0, None)]
        return [a_server(*TWO, age=NOW - time.monotonic())]

    monkeypatch.setattr(command.discovery, "servers", servers)
    assert cli.main(["health", "--ready"]) == 0, "another server is well"
    assert capsys.readouterr() == ("", "/x/1.0.state is not understood: why not\n")


@pytest.mark.parametrize(
    ("me", "user", "words"),
    [
        (1000, "root", "only root can see the servers of another user"),
        (1000, "0", "only root can see the servers of another user"),
        (0, "no such user", "there is no user 'no such user'"),
    ],
)
def test_whose_servers_cannot_be_asked_for(monkeypatch, capsys, me, user, words):
    monkeypatch.setattr(command.os, "geteuid", lambda: me)
    with pytest.raises(SystemExit) as end:
        cli.main(["health", "--live", "--user", user])
    assert end.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(("me", "user", "uid"), [(0, "root", 0), (0, "7", 7), (1000, "1000", 1000)])
def test_whose_servers_can_be_asked_for(monkeypatch, me, user, uid):
    monkeypatch.setattr(command.os, "geteuid", lambda: me)
    assert command.build_parser().parse_args(["--live", "--user", user]).user == uid
