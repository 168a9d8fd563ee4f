"""Main's view of a worker's start: what the worker reports decides which deadline it has."""

from __future__ import annotations

import os
from multiprocessing import Pipe
from types import SimpleNamespace
from typing import Any

import pytest
from support.reports import nowhere

from sanic_reaper.compat import contracts
from sanic_reaper.config import Settings
from sanic_reaper.main.slow import SlowHandlers
from sanic_reaper.main.start_step import BACKGROUND_GRACE, HANDLER_GRACE
from sanic_reaper.main.startup import StartupTracker
from sanic_reaper.main.worker import Worker
from sanic_reaper.main.worker_link import WorkerLink
from sanic_reaper.model import lifecycle
from sanic_reaper.model.questions import VERSION
from sanic_reaper.tree.process import start_of
from sanic_reaper.worker.in_flight import InFlight
from sanic_reaper.worker.reports import Reports


def startup_of(pipe, **config):
    settings = Settings.read({f"REAPER_{key.upper()}": value for key, value in config.items()})
    link = WorkerLink((os.getpid(), start_of(os.getpid())), pipe[0], "Sanic-Server-0-0")
    slow = SlowHandlers(lambda _: None)
    startup = StartupTracker("Sanic-Server-0-0", link, settings, 1000.0, lambda *_: None, slow)
    return startup, link


def begin(number, name, limit, at):
    source = f"@startup_timeout({limit:g})"
    return ("begin", number, name, "app.py", 3, limit, source, 0, "before_server_start", at)


def test_a_start_is_due_at_the_end_of_its_time(pipe):
    assert startup_of(pipe, startup_timeout=20)[0].deadline == 1020.0
    assert startup_of(Pipe(duplex=False), startup_timeout=0)[0].deadline == 0.0


def test_a_handler_is_due_a_second_after_its_own_limit(pipe):
    startup, link = startup_of(pipe, startup_timeout=20)
    reports = Reports(pipe[1], nowhere, InFlight([]))
    reports.send(*begin(1, "load", 2.0, at=1003.0))
    link.hear()
    assert startup.deadline == 1003.0 + 2 + HANDLER_GRACE
    reports.send("end", 1, 0, 1004.0)
    link.hear()
    assert startup.deadline == 1020.0


def test_of_several_that_run_the_first_one_counts(pipe):
    """A worker with several apps runs handlers of several at once."""
    startup, link = startup_of(pipe, startup_timeout=20)
    reports = Reports(pipe[1], nowhere, InFlight([]))
    reports.send(*begin(1, "load", 4.0, at=1003.0))
    reports.send(*begin(2, "connect", 2.0, at=1003.0))
    link.hear()
    assert startup.deadline == 1003.0 + 2 + HANDLER_GRACE
    reports.send("end", 2, 0, 1004.0)
    link.hear()
    assert startup.deadline == 1003.0 + 4 + HANDLER_GRACE


def test_background_work_is_due_when_the_worker_serves(pipe):
    startup, link = startup_of(pipe, startup_timeout=20)
    reports = Reports(pipe[1], nowhere, InFlight([]))
    reports.send("up", 1002.0)
    for number, limit in ((1, 50.0), (2, 0.0)):
        source = f"@background(timeout={limit:g})"
        reports.send("work", number, "load", "app.py", 3, limit, source, 0, "", 1003.0)
    link.hear()
    assert startup.deadline == 1003.0 + 50 + BACKGROUND_GRACE
    reports.send("failed", "no such model")
    link.hear()
    assert startup.deadline == 0.0, "it has told why it fails, and may end in peace"


def test_a_start_is_over_when_its_last_listener_is(pipe):
    """Not with Sanic's ack, and not when it listens."""
    startup, link = startup_of(pipe, startup_timeout=20)
    handle: Any = SimpleNamespace(name="Sanic-Server-0-0", is_server=True, reaper_role="worker")
    worker = Worker(handle, link, startup, None, None)
    reports = Reports(pipe[1], nowhere, InFlight([]))

    def seen():
        link.hear()
        state = worker.state
        return startup.deadline, state in lifecycle.FINISHES, state in lifecycle.MUST_TURN

    worker.on_ack()
    assert startup.deadline == 1020.0
    reports.send("listens", 1003.0)
    assert seen() == (1020.0, True, True)
    reports.send("up", 1004.0)
    assert seen() == (0.0, False, False)
    reports.send("ready", 1005.0)
    assert seen() == (0.0, False, True)
    moments = startup.listens, startup.up, startup.ready
    assert moments == (1003.0, 1004.0, 1005.0), "by its own clock"


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ("", "it has not started within {}, and has not even imported the app; its stack is above"),
        (f'\x1e["hello", {VERSION}, 0]\n', "it has not started within {}; its stack is above"),
    ],
    ids=["nothing", "that no signal is left"],
)
def test_a_worker_that_can_not_be_asked_does_not_always_import_the_app(pipe, said, what):
    """The app may handle each signal by which it would be asked."""
    startup, link = startup_of(pipe, startup_timeout=10.0)
    os.write(pipe[1].fileno(), said.encode())
    link.hear()
    assert not link.can_be_asked
    assert startup.late == what.format("REAPER_STARTUP_TIMEOUT = 10 s")


def test_a_contract_that_a_worker_misses_is_told_of_once(pipe, lines, monkeypatch):
    """Each worker finds it out by itself."""
    monkeypatch.setattr(contracts, "_decision", contracts.decide([]))
    monkeypatch.setattr(contracts, "_reported", set())
    startup, link = startup_of(pipe)
    reports = Reports(pipe[1], nowhere, InFlight([]))
    for _ in range(2):
        reports.send("lacks", "start handlers")
    link.hear()
    [line] = lines
    assert "start handlers: " in line
    assert startup.failure is None
