"""What main leaves in its user's directory: each process once, from its start to its end."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import pytest

from sanic_reaper import state
from sanic_reaper.main.journal import Journal

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

RUN = "run"


class Worker:
    """As much of one as a journal asks for."""

    reaper_role = "worker"
    name = "Sanic-Server-0-0"
    identity = (2**22 - 1, 1)
    killed_for = None
    pulse = launch = None
    is_dismissed = False
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
    written.journal.started(worker, 1.0)
    written.journal.ended(worker)
    [row] = written.processes()
    assert (row["state"], row["exitcode"]) == ("ended", "3")
    worker.status = 4
    written.journal.ended(worker)
    assert written.processes() == [row]


def test_one_that_has_ended_is_told_to_end_no_more(written):
    """A restart that comes too late: what ended by itself was not asked to."""
    worker = Worker()
    written.journal.started(worker, 1.0)
    written.journal.ended(worker)
    written.journal.dismissed(worker)
    [row] = written.processes()
    assert "asked" not in row


def test_one_that_is_told_to_end_is(written):
    worker = Worker()
    written.journal.started(worker, 1.0)
    written.journal.dismissed(worker)
    written.journal.ended(worker)
    [row] = written.processes()
    assert float(row["asked"]) > 0
