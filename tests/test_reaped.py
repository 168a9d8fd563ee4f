"""Code of the user's reaps main's children: a process that is gone has ended, whoever knows how.

And its pid may be anybody's by then.
"""

from __future__ import annotations

import os
from signal import SIGKILL, SIGTERM

import pytest
from support.box import isolation
from support.census import Process, holds, wait_until
from support.marks import methods
from support.server import SHUTDOWN_TIMEOUT, SUPERVISED, Server, Subject
from support.strangers import take_pid, that_took_pids

LONG = 60.0
"""A limit of the stop that no test waits for."""

UNKNOWN = "exit status unknown: something in main has reaped it"

ways = pytest.mark.parametrize("way", ["reap", "ignore-children"])


def reaping(way: str, **changes: object) -> Subject:
    return SUPERVISED.with_(listeners={"main_process_ready": way}, **changes)


@ways
@methods
def test_a_worker_that_is_gone_is_replaced_and_the_stop_is_prompt(launch, way, method):
    subject = reaping(way, method=method).with_config(REAPER_SHUTDOWN_TIMEOUT=LONG)
    server = launch(subject)
    worker = server.wait_serving()[0]
    worker.send(SIGKILL)
    server.wait_for("after_server_start", 3)
    line = server.wait_for_output("has died")
    # Under forkserver the fork server reaps the workers, and tells main of it.
    assert (UNKNOWN in line) == (method != "forkserver")
    wait_until(lambda: server.get()[0] == 200, 10, "an answer")
    server.send(SIGTERM)
    assert server.exit_code(LONG / 2) == 0
    server.wait_gone()
    assert "SIGKILL to" not in server.output()


@pytest.mark.skipif(
    os.getuid() != 0 or isolation()[0] != "PID namespace",
    reason="needs root in a PID namespace, to choose the next pid",
)
@pytest.mark.root
@ways
def test_a_stranger_with_the_pid_of_a_worker_that_is_gone(launch, tmp_path, way):
    server = launch(reaping(way, method="fork").with_config(REAPER_RESPAWN=False))
    worker = server.wait_serving()[0]
    pid = worker.inner_pid
    worker.send(SIGKILL)
    wait_until(lambda: worker.look() is None, 5, "somebody to reap the worker")
    stranger = take_pid(server.box, tmp_path / "stranger", pid)
    server.send(SIGTERM)
    wait_only(server, stranger, *that_took_pids(server.box))
    assert server.exit_code() == 0


def wait_only(server: Server, *left: Process) -> None:
    """Wait until nothing but these is in the box, and see that they stay."""
    wait_until(
        lambda: all(row.process in left for row in server.box.rows()),
        3 * SHUTDOWN_TIMEOUT,
        server.describe,
    )
    assert holds(lambda: all(process.alive for process in left), 0.5)
