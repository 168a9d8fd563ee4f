"""Main's line to one worker, when the worker's end of it is closed."""

from __future__ import annotations

import subprocess
import time
from multiprocessing import Pipe

import pytest

from sanic_reaper.main import contact
from sanic_reaper.main.contact import Contact
from sanic_reaper.tree.process import start_of


@pytest.fixture
def deaf():
    """The line to a process that lives and has closed its end."""
    with subprocess.Popen(["sleep", "60"]) as process:
        reports, report = Pipe(duplex=False)
        line = Contact((process.pid, start_of(process.pid)), reports)
        report.close()
        yield line
        line.close()
        process.kill()


def test_a_worker_that_takes_seconds_to_exit_is_accused_of_nothing(deaf, caplog):
    until = time.monotonic() + 2.0
    while time.monotonic() < until:
        deaf.turn()
        time.sleep(0.05)
    assert deaf.is_deaf
    assert not caplog.messages


def test_one_that_lives_on_is_told_of_once(deaf, caplog, monkeypatch):
    monkeypatch.setattr(contact, "DEAF_FOR", 0.1)
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        deaf.turn()
        time.sleep(0.05)
    [warning] = caplog.messages
    assert "can't report any more: its pipe is closed" in warning
