"""What main leaves in its user's directory: each process once, from its start to its end."""

from __future__ import annotations

import os
import sys
from typing import Any, NamedTuple

import pytest

from sanic_reaper import state
from sanic_reaper.events import Event
from sanic_reaper.main.journal import KEPT, KEPT_SLOW, LONGEST, Journal, facts
from sanic_reaper.main.process_record import ProcessRecord
from sanic_reaper.main.statefile import BIGGEST, fitting
from sanic_reaper.state import discovery
from sanic_reaper.tree.process import start_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

RUN = "run"


class Worker:
    """As much of one as a journal asks for."""

    role = "worker"
    name = "Sanic-Server-0-0"
    identity = (2**22 - 1, 1)
    began = 1.0
    killed_for = None
    heartbeat = startup = None
    shown, since = "serving", 1.0
    status = 3


class Written(NamedTuple):
    path: Any
    journal: Journal

    def processes(self) -> list[state.Fields]:
        """Those of the workers, as whoever reads the file finds them."""
        self.journal.write(100.0)
        content = (self.path / f"{RUN}{state.STATE}").read_bytes()
        rows = [fields for kind, fields in state.parse(content) if kind == "process"]
        return [fields for fields in rows if fields["role"] == "worker"]


@pytest.fixture
def written(tmp_path):
    tmp_path.chmod(0o700)
    journal = Journal(RUN, {}, (0, 0), 0.0)
    journal.path = str(tmp_path)
    return Written(tmp_path, journal)


def test_an_end_that_is_told_of_twice_is_one_end(written):
    worker = Worker()
    written.journal.started(worker)
    written.journal.ended(worker)
    [row] = written.processes()
    assert (row["state"], row["exit_code"]) == ("ended", "3")
    worker.status = 4
    written.journal.ended(worker)
    assert written.processes() == [row]


def test_one_that_has_ended_is_told_to_end_no_more(written):
    """A restart that comes too late: what ended by itself was not asked to."""
    worker = Worker()
    written.journal.started(worker)
    written.journal.ended(worker)
    written.journal.on_terminate(worker)
    [row] = written.processes()
    assert "asked" not in row


def test_one_that_is_told_to_end_is(written):
    worker = Worker()
    written.journal.started(worker)
    written.journal.on_terminate(worker)
    written.journal.ended(worker)
    [row] = written.processes()
    assert float(row["asked"]) > 0


def test_the_file_of_a_server_with_a_long_history_is_one_that_readers_take(tmp_path):
    """200 failed starts, each with words that no encoding knows, and as many events with others."""
    tmp_path.chmod(0o700)
    main = (os.getpid(), start_of(os.getpid()))
    journal = Journal(RUN, facts("Shop", RUN, main, 1.0, "fork", ""), main, 1.0)
    journal.path = str(tmp_path)
    words = "\udc80" * LONGEST  # six bytes each, escaped
    for number in range(KEPT):
        worker = Worker()
        worker.identity, worker.killed_for = (1000 + number, 1), words
        worker.began = float(number)
        journal.started(worker)
        journal.ended(worker)
        journal.record(Event("worker.died", worker.name, 1000 + number, 0.0, words))
    journal.write(100.0)
    size = (tmp_path / f"{RUN}{state.STATE}").stat().st_size
    assert BIGGEST / 2 < size <= BIGGEST
    server = discovery.load(str(tmp_path), os.geteuid(), RUN)
    assert server.main == main
    assert server.counters["worker.died"] == KEPT
    assert server.events[-1]["pid"] == str(1000 + KEPT - 1), "the latest is kept"
    assert (1000 + KEPT - 1, 1) in server.members
    assert (1000, 1) not in server.members, "and the first was left out"


def test_slow_requests_push_out_no_death(written):
    for number in range(KEPT):
        written.journal.record(Event("worker.died", "W", 2 + number, 1.0))
        for _ in range(2):
            written.journal.record(Event("request.slow", "W", 2 + number, 1.0))
    written.journal.write(100.0)
    content = (written.path / f"{RUN}{state.STATE}").read_bytes()
    events = [(one["name"], one["pid"]) for kind, one in state.parse(content) if kind == "event"]
    assert [name for name, _ in events].count("worker.died") == KEPT
    assert [name for name, _ in events].count("request.slow") == KEPT_SLOW
    last = str(1 + KEPT)
    assert events[-3:] == [("worker.died", last), ("request.slow", last), ("request.slow", last)]


FITS = [
    # what is there now, what was, room, what is kept
    ([b"a", b"b"], [(1.0, b"c"), (2.0, b"d")], 4, b"abcd"),
    ([b"a", b"b"], [(1.0, b"c"), (2.0, b"d")], 3, b"abd"),
    ([b"a", b"b"], [(2.0, b"c"), (1.0, b"d")], 3, b"abc"),
    ([b"a", b"b"], [(1.0, b"c"), (2.0, b"d"), (3.0, b"e")], 4, b"abde"),
    ([b"a", b"bbb", b"c"], [(1.0, b"d")], 3, b"acd"),
    ([b"aaaa"], [(1.0, b"d")], 3, b"d"),
    ([], [], 0, b""),
]


@pytest.mark.parametrize(("present", "past", "room", "kept"), FITS)
def test_what_fits(present, past, room, kept):
    assert b"".join(fitting(present, past, room)) == kept


@pytest.mark.parametrize(
    ("event", "role"),
    [("worker.died", "worker"), ("request.slow", "worker"), ("orphan.killed", "orphan")],
)
def test_the_role_under_which_an_event_is_counted(written, event, role):
    worker = Worker()
    written.journal.started(worker)
    written.journal.record(Event(event, worker.name, worker.identity[0], 1.0))
    written.journal.write(100.0)
    content = (written.path / f"{RUN}{state.STATE}").read_bytes()
    counters = [fields for kind, fields in state.parse(content) if kind == "counter"]
    assert (event, role) in [(one["name"], one.get("role")) for one in counters]


def test_a_helper_has_no_process_in_the_fleet_whose_end_could_be_told():
    """Its end is seen when the file is written: by pid and creation time."""
    record = ProcessRecord(Worker.identity, "helper", "SyncManager-1", 1.0)
    record.end(5.0)
    assert (record.ended, record.state) == (None, "")
    record.update(6.0)
    assert (record.ended, record.state) == (6.0, "ended")


def test_a_state_that_cant_be_written_for_an_error_of_ours_is_written_no_more(
    written, monkeypatch, lines
):
    """The server goes on, and `sanic-reaper ps` does not show it."""
    tries = []

    def fail(now: float, content: bytes) -> None:
        tries.append(now)
        raise AssertionError("a fault of ours")

    monkeypatch.setattr(written.journal.place, "write", fail)
    for now in (100.0, 200.0):
        written.journal.turn(now)
    assert (tries, written.journal.path) == ([100.0], "")
    [line] = lines
    assert line.startswith("[reaper] the state of the server can't be written any more: Assertion")
