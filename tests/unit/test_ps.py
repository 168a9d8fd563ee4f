"""`sanic-reaper ps` of what no file tells of: nothing is known but the marks that it bears."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from types import SimpleNamespace

import pytest
from support.census import identify
from support.programs import program

from sanic_reaper import cli, platform
from sanic_reaper.commands import picture, ps
from sanic_reaper.commands.elsewhere import user
from sanic_reaper.commands.picture import Line
from sanic_reaper.state.strays import Stray

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def stray(monkeypatch):
    """One process of a run whose main is gone, and all that runs here."""
    with program("import time; print(flush=True); time.sleep(60)") as process:
        stray = Stray("run", (4711, 1), "Shop", "/srv", os.geteuid())
        stray.processes[identify(process.pid)] = "bears this run's marker"
        monkeypatch.setattr(ps, "unseen", lambda table, known: [])  # those of this machine
        monkeypatch.setattr(ps.elsewhere.discovery, "servers", lambda *_: [])
        monkeypatch.setattr(ps.strays, "strays", lambda table, uids, known: [stray])
        yield process.pid


def test_it_is_shown_with_the_directory_that_it_was_started_in(stray, capsys):
    assert cli.main(["ps"]) == 0
    head, _, row = capsys.readouterr().out.splitlines()
    assert head == (
        "Shop  main process 4711 has died and left 1 orphan (in /srv): "
        "`sanic-reaper sweep --app Shop` kills it"
    )
    assert (row.split()[0], " child " in row) == (str(stray), True)
    assert ", orphan" in row


def test_what_is_not_known_of_it_is_null(stray, capsys):
    assert cli.main(["ps", "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)["servers"]
    [process] = found.pop("processes")
    assert (process["pid"], process["orphan"]) == (stray, True)
    assert process["evidence"] == "bears this run's marker"
    for key in ("workers_wanted", "workers_serving", "address", "start_method"):
        assert found[key] is None
    assert (found["app"], found["main"], found["state"]) == ("Shop", 4711, "orphaned")
    assert found["run"] == "run"


class Shown:
    """A picture of so many processes."""

    def __init__(self, *states: str) -> None:
        self.processes = [type("Line", (), {"state": state}) for state in states]

    def lines(self) -> list[str]:
        return ["head", "columns", *(line.state for line in self.processes)]


SERVING = ["serving"] * 4


@pytest.mark.parametrize(
    ("states", "height", "lengths", "last"),
    [
        ([SERVING], 7, [6], "serving"),
        ([SERVING], 6, [5], "... and 2 more processes: 2 serving"),
        ([[*SERVING[:3], "blocked"]], 5, [4], "... and 3 more processes: 2 serving, 1 blocked"),
        ([SERVING, SERVING[:1]], 10, [5, 3], "... and 2 more processes: 2 serving"),
        ([SERVING, SERVING[:1]], 1, [3, 3], "... and 4 more processes: 4 serving"),
        ([[]], 1, [2], "columns"),
    ],
)
def test_what_does_not_fit_is_counted(states, height, lengths, last):
    pictures = [Shown(*each) for each in states]
    found = ps.fitting([picture.lines() for picture in pictures], pictures, height)
    assert ([len(block) for block in found], found[0][-1]) == (lengths, last)


def test_a_share_of_the_time_between_two_looks():
    line = Line(linux_row(), None, "", 0.0)
    assert line.share is None
    line.compare(5.0, 100.0, 5.5, 101.0)
    assert line.share == 0.5
    line.compare(5.0, 100.0, 0.0, 101.0)  # it has ended
    assert line.share == 0.0


def test_between_two_looks_at_the_same_moment_nothing_is_measured():
    line = Line(linux_row(), None, "", 0.0)
    line.compare(5.0, 100.0, 5.5, 100.0)
    assert line.share is None
    line.compare(5.0, 100.0, 5.5, 101.0)
    line.compare(5.5, 101.0, 6.5, 101.0)
    assert line.share == 0.5, "what was measured before stays"


def test_a_process_that_is_new_is_not_measured_against_anybody():
    """Not even against an earlier one of the same pid."""
    then, now, other = (Line(linux_row(), None, "", 0.0) for _ in range(3))
    then.cpu, then.seen_at, now.cpu, now.seen_at = 5.0, 100.0, 6.0, 102.0
    other.row = platform.Row(other.row.pid, 1, other.row.start + 1, "S", "other")
    ps.compare([SimpleNamespace(processes=[then])], [SimpleNamespace(processes=[now, other])])
    assert (now.share, other.share) == (0.5, None)


@pytest.mark.parametrize("uid", [0, 1000])
def test_whose_a_process_is_is_shown_to_root_alone(stray, capsys, monkeypatch, uid):
    """Nobody else sees those of others."""
    monkeypatch.setattr(picture.os, "geteuid", lambda: uid)
    assert cli.main(["ps"]) == 0
    _, columns, row = capsys.readouterr().out.splitlines()
    shown = ("USER", user(os.getuid())) if uid == 0 else ("ROLE", "child")
    assert (columns.split()[1], row.split()[1]) == shown


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_for_how_long_it_is_stopped_is_not_its_age(stray, capsys, options):
    """Nobody has seen when it was stopped."""
    os.kill(stray, signal.SIGSTOP)
    deadline = time.monotonic() + 30
    while platform.row(stray).halted is False:
        assert time.monotonic() < deadline
    assert cli.main(["ps", *options]) == 0
    said = capsys.readouterr().out
    if options:
        [process] = json.loads(said)["servers"][0]["processes"]
        assert (process["state"], process["state_seconds"]) == ("stopped", None)
    else:
        assert said.splitlines()[2].split("stopped, orphan")[1].split()[0] == "-"


def linux_row():
    return platform.row(os.getpid())
