"""The processes beside the workers: main's own helpers, Sanic's, sanic-ext's and the user's."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from signal import SIGCONT, SIGINT, SIGKILL, SIGSTOP, SIGTERM
from typing import Any

import pytest
from support.census import Process, holds, wait_until
from support.http import can_bind
from support.marks import methods
from support.server import (
    ORPHAN_GRACE,
    PLAIN,
    SHUTDOWN_TIMEOUT,
    SLACK,
    STARTUP_TIMEOUT,
    SUPERVISED,
    Server,
    Subject,
    holding_its_sync_manager,
)

from sanic_reaper.main.signals import DEBOUNCE

EVENTS = {"SIGTERM": SIGTERM, "SIGKILL": SIGKILL, "Ctrl+C": SIGINT}


@dataclass(frozen=True)
class Helper:
    """A helper, how it is asked for, and the names of its processes."""

    name: str
    processes: frozenset[str]
    config: Mapping[str, Any] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)
    manage: bool = False


HELPERS = [
    Helper("Inspector", frozenset({"Sanic-Inspector-0"}), config={"INSPECTOR": True}),
    Helper("Reloader", frozenset({"Sanic-Reloader-0"}), run={"auto_reload": True}),
    Helper(
        "HealthMonitor",
        frozenset({"Sanic-HealthMonitor-0", "SyncManager-2"}),
        config={"HEALTH": True, "HEALTH_MONITOR": True},
    ),
    Helper("Logger", frozenset({"Sanic-Logger-0", "SyncManager-2"}), config={"LOGGING": True}),
    Helper("managed process", frozenset({"Sanic-Custom-0"}), manage=True),
]

ALL = Helper(
    "all",
    frozenset().union(*(helper.processes for helper in HELPERS)) | {"SyncManager-3"},
    config={key: value for helper in HELPERS for key, value in helper.config.items()},
    run={"auto_reload": True},
    manage=True,
)


def serve(launch, ports, helper: Helper, method: str, subject: Subject = SUPERVISED) -> Server:
    """Start a server with this helper, and make sure that it is there."""
    subject = subject.with_(method=method, workers=1, run=helper.run, manage=helper.manage)
    server = launch(subject.with_config(INSPECTOR_PORT=ports.take(), **helper.config))
    server.wait_serving()
    assert helper.processes <= server.family.keys()
    return server


@pytest.mark.parametrize(
    ("method", "event"),
    [("spawn", "SIGTERM"), ("spawn", "SIGKILL"), ("fork", "Ctrl+C"), ("fork", "SIGKILL")],
)
@pytest.mark.parametrize("helper", HELPERS, ids=lambda helper: helper.name)
def test_a_helper_ends_with_the_server(launch, ports, method, helper, event):
    server = serve(launch, ports, helper, method)
    hit = server.send_group if event == "Ctrl+C" else server.send
    hit(EVENTS[event])
    server.wait_gone()
    if event != "SIGKILL":
        assert server.exit_code() == 0
        assert "Traceback" not in server.output()
        assert "SIGKILL to" not in server.output(), "each of them ends when it is asked to"


@pytest.mark.smoke
@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_all_helpers_at_once(launch, ports, method, event):
    server = serve(launch, ports, ALL, method)
    hit = server.send_group if event == "Ctrl+C" else server.send
    hit(EVENTS[event])
    server.wait_gone()
    if event != "SIGKILL":
        assert server.exit_code() == 0
        assert "Traceback" not in server.output()


@pytest.mark.parametrize("event", ["SIGTERM", "SIGKILL"])
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_helpers_of_a_server_that_is_still_starting(launch, ports, method, event):
    subject = SUPERVISED.with_(
        method=method,
        run=ALL.run,
        manage=True,
        listeners={"before_server_start": "block"},
    )
    server = launch(subject.with_config(INSPECTOR_PORT=ports.take(), **ALL.config))
    server.wait_for("holding", 2)
    server.send(EVENTS[event])
    server.wait_gone()


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_managed_process_is_interrupted_once(launch, method):
    """As Sanic promises it: what `app.manager.manage` runs sees one KeyboardInterrupt."""
    server = launch(SUPERVISED.with_(method=method, workers=1, manage=True))
    server.wait_serving()
    server.wait_for("custom process")
    server.send_group(SIGINT)
    server.wait_gone()
    assert len(server.events("custom process interrupted")) == 1


@pytest.mark.parametrize("way", [SIGTERM, SIGINT])
@pytest.mark.parametrize("manage", ["careless", "handler"])
@methods
def test_what_a_managed_process_makes_of_its_interrupt(launch, method, manage, way):
    """One without a thought of it just ends; one that has a handler for SIGINT is asked by that,
    and may be asked twice: once by the terminal, of which only the handler knows."""
    server = launch(SUPERVISED.with_(method=method, workers=1, manage=manage))
    server.wait_serving()
    server.wait_for("custom process")
    server.send_group(way)
    server.wait_gone()
    assert server.exit_code() == 0
    assert "Traceback" not in server.output()
    asked = len(server.events("custom process interrupted"))
    assert asked in {"careless": (0,), "handler": (1, 2) if way == SIGINT else (1,)}[manage]


@methods
def test_a_managed_process_that_ignores_its_interrupt_ends_by_sigterm(launch, method):
    subject = SUPERVISED.with_(method=method, workers=1, manage="ignoring")
    server = launch(subject.with_config(REAPER_SHUTDOWN_TIMEOUT=60.0))
    server.wait_serving()
    server.wait_for("custom process")
    server.send(SIGTERM)
    assert server.exit_code(30) == 0
    server.wait_gone()
    assert "SIGKILL" not in server.output()


@methods
def test_a_managed_process_is_no_worker_whatever_its_name(launch, method):
    """It never acks: a server that took it for a worker would not come up."""
    limit = 3 * STARTUP_TIMEOUT  # on a busy machine, the real worker needs more than one
    subject = SUPERVISED.with_(method=method, workers=1, manage=True, manage_name="Server-mine")
    server = launch(subject.with_config(REAPER_STARTUP_TIMEOUT=limit))
    server.wait_serving()
    server.wait_for("custom process")
    roles = [one["role"] for one in server.ask("report", "--json").data["processes"]]
    assert (roles.count("worker"), roles.count("process")) == (1, 1)
    assert holds(lambda: not server.errors(), limit + 1)
    assert server.stop() == 0


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_a_dead_sync_manager_ends_the_server_with_1(launch, method):
    server = launch(SUPERVISED.with_(method=method))
    server.wait_serving()
    server.sync_manager.send(SIGKILL)
    assert server.exit_code() == 1
    server.wait_gone()
    assert "Traceback" not in server.output()


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_sync_manager_that_dies_during_the_start_ends_the_server_with_1(launch, method):
    server = launch(SUPERVISED.with_(method=method, listeners={"before_server_start": "block"}))
    server.wait_for("holding", 2)
    server.sync_manager.send(SIGKILL)
    assert server.exit_code() == 1
    server.wait_gone()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_the_server_survives_the_death_of_its_resource_tracker(launch, method):
    server = launch(SUPERVISED.with_(method=method, workers=1))
    server.wait_serving()
    [tracker] = [
        row.process for row in server.box.rows() if "resource_tracker" in str(row.process.command)
    ]
    tracker.send(SIGKILL)
    wait_until(lambda: not tracker.alive, 5, "the tracker to die")
    assert server.get()[0] == 200
    assert server.stop() == 0


def fork_server_of(server: Server) -> Process:
    """The parent of its workers, which must serve."""
    row = server.workers[0].look()
    assert row is not None
    return next(r.process for r in server.box.rows() if r.pid == row.ppid)


def test_the_server_survives_the_death_of_its_fork_server(launch):
    """Its workers have lost their parent, but not their main."""
    server = launch(SUPERVISED.with_(method="forkserver"))
    server.wait_serving()
    fork_server = fork_server_of(server)
    assert fork_server != server.main
    fork_server.send(SIGKILL)
    wait_until(lambda: not fork_server.alive, 5, "the fork server to die")
    server.send(SIGKILL)
    server.wait_gone()


@pytest.mark.smoke
def test_a_stop_without_its_fork_server(launch):
    """Main can't know then that its SyncManager lives, and does not shut it down."""
    server = launch(SUPERVISED.with_(method="forkserver"))
    server.wait_serving()
    fork_server = fork_server_of(server)
    # A worker whose parent is gone can't tell how it ends, and is replaced by the next fork server.
    server.send(SIGSTOP)
    fork_server.send(SIGKILL)
    wait_until(lambda: not fork_server.alive, 5, "the fork server to die")
    server.send(SIGTERM)
    server.send(SIGCONT)
    assert server.exit_code() >= 0, "main has been killed"
    server.wait_gone()


# -- a SyncManager that is not there yet ----------------------------------------------------------


EARLY: dict[str, Callable[[Server], None]] = {
    "SIGTERM": lambda server: server.command.process.send(SIGTERM),
    "SIGINT": lambda server: server.command.process.send(SIGINT),
    "Ctrl+C": lambda server: os.killpg(server.command.process.pid, SIGINT),
}


@pytest.mark.parametrize("event", EARLY)
@pytest.mark.parametrize("action", ["block", "hold_gil"])
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_stop_does_not_wait_for_the_start_of_the_sync_manager(launch, method, action, event):
    """Main does nothing then but wait for it. Without main_process_start nobody is called main yet,
    so the signal goes to what was launched."""
    server = launch(SUPERVISED.with_(method=method), env=holding_its_sync_manager(action))
    server.wait_for("holding")
    # A fork server tells main the pid when the process may run already. It has done so, and main
    # has read it, when nobody has anything to do.
    asleep = lambda: all(row.state == "S" for row in server.box.rows())  # noqa: E731
    wait_until(lambda: asleep() and asleep(), 10, server.describe)
    EARLY[event](server)
    server.wait_gone(SLACK)
    assert server.exit_code() == 0
    assert "Traceback" not in server.output()
    assert not server.events("main_process_start")
    assert can_bind(server.port)
    assert re.search(r"SIGKILL to helper SyncManager-1 \[\d+\]: started by main", server.output())


def test_a_sync_manager_that_does_not_shut_down_is_killed_and_named(launch):
    server = launch(SUPERVISED.with_(listeners={"main_process_stop": "block:1"}))
    server.wait_serving()
    manager = server.sync_manager
    manager_pid = manager.inner_pid
    server.send(SIGTERM)
    server.wait_for("holding")
    manager.freeze()  # by now the watchdog has woken up whom it found stopped
    server.wait_gone()
    assert server.exit_code() == 0
    line = server.wait_for_output("SIGKILL to helper SyncManager-1")
    assert f"[{manager_pid}]: started by main" in line
    assert "s after the stop" in line


@pytest.fixture
def forked_by_a_server(launch):
    """A server that has reached its `main_process_stop`, and its fork server."""
    subject = SUPERVISED.with_(method="forkserver", listeners={"main_process_stop": "block:0.3"})
    server = launch(subject)
    server.wait_serving()
    fork_server = fork_server_of(server)
    server.send(SIGTERM)
    server.wait_for("holding")
    return server, fork_server


def test_a_fork_server_that_is_stopped_meanwhile_exits(forked_by_a_server):
    server, fork_server = forked_by_a_server
    fork_server.freeze()
    assert server.exit_code() == 0, server.output()
    assert "SIGKILL" not in server.output()
    server.wait_gone()


@pytest.mark.parametrize("is_forced", [False, True])
def test_a_fork_server_that_stays_stopped_does_not_hold_main(forked_by_a_server, is_forced):
    """It reports the exits of its children no more, that of the SyncManager too."""
    server, fork_server = forked_by_a_server
    if is_forced:
        time.sleep(2 * DEBOUNCE)
        server.send(SIGTERM)
    deadline = time.monotonic() + SHUTDOWN_TIMEOUT + SLACK
    while server.main.alive and time.monotonic() < deadline:
        fork_server.send(SIGSTOP)
        time.sleep(0.01)
    assert server.exit_code() == 0, server.output()
    assert "stopped cleanly" in server.output()
    fork_server.send(SIGCONT)
    server.wait_gone()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_main_is_killed_during_the_start_of_the_sync_manager(launch, method):
    server = launch(SUPERVISED.with_(method=method), env=holding_its_sync_manager("block"))
    server.wait_for("holding")
    server.command.process.send(SIGKILL)
    server.wait_gone(ORPHAN_GRACE + SLACK)


@methods
def test_the_sync_manager_does_not_import_the_app(launch, method):
    """But it knows what the app defines, if somebody shares an object of that kind."""
    subject = SUPERVISED.with_(method=method, workers=1)
    server = launch(subject)
    server.wait_serving()
    imported = {event.name.partition("-")[0] for event in server.events("imported")}
    assert imported == {"MainProcess", *(["Sanic"] if method != "fork" else [])}
    assert server.get("/share") == (200, "Shared")
    assert server.stop() == 0
    late = [event.name for event in server.events("imported") if "SyncManager" in event.name]
    assert late == ["SyncManager-1"] * (method != "fork")


def test_control_the_sync_manager_of_plain_sanic_imports_the_app(launch):
    server = launch(PLAIN.with_(workers=1))
    server.wait_serving()
    assert "SyncManager-1" in {event.name for event in server.events("imported")}
