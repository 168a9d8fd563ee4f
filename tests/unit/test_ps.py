"""`sanic-reaper ps` of what no file tells of: nothing is known but the marks that it bears."""

from __future__ import annotations

import json
import os
import sys

import pytest
from support.census import identify
from support.programs import program

from sanic_reaper import cli
from sanic_reaper.commands import ps
from sanic_reaper.state.view import Stray

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def stray(monkeypatch):
    """One process of a run whose main is gone, and all that runs here."""
    with program("import time; print(flush=True); time.sleep(60)") as process:
        stray = Stray("run", (4711, 1), "Shop", "/srv", os.geteuid())
        stray.processes[identify(process.pid)] = "bears this run's mark"
        monkeypatch.setattr(ps, "unseen", lambda table, known: [])  # those of this machine
        monkeypatch.setattr(ps.view, "servers", lambda *_: [])
        monkeypatch.setattr(ps.view, "strays", lambda table, uids, known: [stray])
        yield process.pid


def test_it_is_shown_with_the_directory_that_it_was_started_in(stray, capsys):
    assert cli.main(["ps"]) == 0
    head, _, row = capsys.readouterr().out.splitlines()
    assert head == (
        "Shop  main 4711 is gone and left 1 behind (in /srv): "
        "`sanic-reaper sweep --app Shop` ends them"
    )
    assert row.split()[:2] == [str(stray), "child"]
    assert ", orphan" in row


def test_what_is_not_known_of_it_is_null(stray, capsys):
    assert cli.main(["ps", "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)["servers"]
    [process] = found.pop("processes")
    assert (process["pid"], process["orphan"]) == (stray, True)
    assert process["evidence"] == "bears this run's mark"
    for key in ("workers_wanted", "workers_serving", "address", "start_method"):
        assert found[key] is None
    assert (found["app"], found["main"], found["state"]) == ("Shop", 4711, "orphaned")
    assert found["run"] == "run"
