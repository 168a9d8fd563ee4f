"""Main's end of a worker's pipe, when the worker's end is closed."""

from __future__ import annotations

import os
import subprocess
import time
from multiprocessing import Pipe

import pytest

from sanic_reaper.main import worker_link
from sanic_reaper.main.worker_link import WorkerLink
from sanic_reaper.tree.process import start_of
from sanic_reaper.worker.explanations import BLOCKING
from sanic_reaper.worker.reports import PREFIX


@pytest.fixture
def deaf():
    """The line to a process that lives and has closed its end."""
    with subprocess.Popen(["sleep", "60"]) as process:
        reports, report = Pipe(duplex=False)
        line = WorkerLink((process.pid, start_of(process.pid)), reports, "W-0")
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
    monkeypatch.setattr(worker_link, "DEAF_FOR", 0.1)
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        deaf.turn()
        time.sleep(0.05)
    [warning] = caplog.messages
    assert "W-0 [" in warning
    assert "can't report any more: its pipe is closed" in warning


@pytest.fixture
def busy():
    """The line to a process that gets no core at once, and its end of it."""
    with subprocess.Popen(["sleep", "60"]) as process:
        reports, report = Pipe(duplex=False)
        line = WorkerLink((process.pid, start_of(process.pid)), reports, "W-0")
        line._request = 0  # it knows none
        yield line, report
        line.close()
        report.close()
        process.kill()


def test_a_stack_that_comes_late_is_not_taken_for_a_held_gil(busy, monkeypatch):
    """What is not on the stack has its own time, from then on."""
    monkeypatch.setattr(worker_link, "STACK", 60.0)
    monkeypatch.setattr(worker_link, "LATEST", 60.0)
    monkeypatch.setattr(worker_link, "ANSWER", 10.0)
    (line, report), answers = busy, []
    line.ask(lambda frames, how: answers.append(how))
    line._asked -= 30.0  # so long ago
    os.write(report.fileno(), b'  File "app.py", line 23 in handler\n')
    line.turn()
    assert not answers
    os.write(report.fileno(), PREFIX + b'["where", false, [], 0]\n')
    line.turn()
    assert answers == [BLOCKING]


def test_a_worker_that_never_says_where_it_is_holds_the_gil(busy, monkeypatch):
    monkeypatch.setattr(worker_link, "ANSWER", 0.1)
    (line, report), answers = busy, []
    line.ask(lambda frames, how: answers.append(how))
    os.write(report.fileno(), b'  File "app.py", line 23 in handler\n')
    until = time.monotonic() + 10.0
    while not answers and time.monotonic() < until:
        line.turn()
        time.sleep(0.02)
    assert answers == [f"{BLOCKING}, in C code that holds the GIL or does not return"]
