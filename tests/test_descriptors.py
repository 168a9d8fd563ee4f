"""User code writes to descriptors that it has not opened, or closes them."""

from __future__ import annotations

from signal import SIGABRT, SIGKILL, SIGTERM

import pytest
from support.census import holds, wait_until
from support.marks import methods
from support.server import START, SUPERVISED

LONG = 60.0
"""A limit of the stop that no test waits for."""

COMPLAINT = "main: dropped a message that is not understood"


@methods
def test_main_closes_all_descriptors(launch, method):
    """In `main_process_start`: the numbers go to other files, which are not ours to read. What
    becomes of the server, whose SyncManager and whose event loop have lost theirs, is not ours to
    say; but its start ends, and so does its stop."""
    end_without_descriptors(launch, method, "close-all")


def test_main_closes_all_descriptors_and_opens_others(launch):
    """The numbers are those of a pipe to which nobody writes, that of the resource tracker's
    among them. With asyncio, as libuv aborts."""
    server = end_without_descriptors(launch, "spawn", "close-all-and-open", USE_UVLOOP=False)
    assert "the stop continues" not in server.output()


def end_without_descriptors(launch, method, action, **config):
    subject = SUPERVISED.with_(method=method, listeners={"main_process_start": action})
    server = launch(subject.with_config(REAPER_SHUTDOWN_TIMEOUT=LONG, **config))
    main = server.main
    wait_until(lambda: server.events("all acked") or not main.alive, START, server.describe)
    main.send(SIGTERM)
    assert server.exit_code(LONG / 2) in (0, 1, -SIGABRT)  # libuv aborts without its own
    server.wait_gone()
    return server


@pytest.mark.parametrize("event", ["before_server_start", "after_server_start"])
@methods
def test_a_worker_reports_garbage(launch, method, event):
    server = launch(SUPERVISED.with_(method=method, workers=1, listeners={event: "garbage"}))
    [worker] = server.wait_serving()
    server.wait_for_output(COMPLAINT)
    assert holds(lambda: server.get()[0] == 200 and worker.alive, 1.5)
    assert server.stop() == 0
    assert server.output().count(COMPLAINT) == 1
    assert ", from Sanic-Server-0-0 [" in server.output()
    assert "Traceback" not in server.output()


@methods
def test_a_worker_floods_its_pipe(launch, method):
    """Main's loop turns all the same: it sees that the watchdog is gone, and that it is to stop."""
    subject = SUPERVISED.with_(method=method, workers=1, listeners={"after_server_start": "flood"})
    server = launch(subject.with_config(REAPER_SHUTDOWN_TIMEOUT=LONG))
    server.wait_for("flooding")
    server.wait_serving()
    dead = server.watchdog
    dead.send(SIGKILL)
    wait_until(lambda: server.watchdogs not in ([dead], []), 15, server.describe)
    server.send(SIGTERM)
    assert server.exit_code(LONG / 2) == 0
    server.wait_gone()
