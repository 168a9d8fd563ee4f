"""`REAPER_STARTUP_RETRIES`: a worker that failed to start is tried again, by itself."""

from __future__ import annotations

import os
import re
from signal import SIGKILL, SIGTERM

import pytest
from support.census import holds, wait_until
from support.marks import methods
from support.server import START, SUPERVISED, Event, Server

RAISES = SUPERVISED.with_(workers=2, listeners={"before_server_start": "raise-in:Sanic-Server-1"})


def tries(server: Server) -> list[Event]:
    return server.events("failing")


def began(event: Event) -> float:
    """When its process did, whose start takes its time on a busy machine; on the same clock."""
    return event.start / os.sysconf("SC_CLK_TCK")


def lines(server: Server, word: str) -> list[str]:
    return [line for line in server.output().splitlines() if word in line and "[reaper]" in line]


@methods
def test_only_the_failed_worker_is_tried_again_with_growing_pauses(launch, method):
    server = launch(RAISES.with_(method=method).with_config(REAPER_STARTUP_RETRIES=2))
    server.wait_for("failing", 2)
    assert wait_until(lambda: server.get()[0] == 200, 10, "the other worker to serve")
    answers = {server.get()}
    while len(tries(server)) < 3:
        answers.add(server.get())
    assert [status for status, _ in answers] == [200], "one worker, without a pause"
    server.wait_gone(2 * START)
    assert server.exit_code() == 1
    first, second, third = tries(server)
    assert second.time - first.time >= 1
    assert third.time - second.time >= 2
    assert began(second) - first.time < 1 + 3
    assert began(third) - second.time < 2 + 3
    assert len(server.events("after_server_start")) == 1, "the other went on"
    assert len(lines(server, "did not start")) == 3
    assert [re.search(r"again in (\d) s", line)[1] for line in lines(server, "again in")] == [
        "1",
        "2",
    ]
    assert len(lines(server, "the server ends with exit code 1")) == 1


@methods
def test_a_worker_that_comes_up_at_last(launch, method):
    subject = SUPERVISED.with_(method=method, listeners={"before_server_start": "raise-once"})
    server = launch(subject.with_config(REAPER_STARTUP_RETRIES=3))
    server.wait_for("all acked")
    assert len(server.workers) == 2
    assert len(lines(server, "did not start")) == 1
    assert server.stop() == 0


@pytest.mark.parametrize(
    ("action", "children"),
    [
        ("os._exit", ["plain", "daemon"]),
        ("sys.exit", ["setsid", "daemon"]),
        ("raise", ["process", "setsid"]),
        ("hold_gil", ["cleaned", "forked"]),
    ],
)
@methods
def test_a_failed_try_leaves_nothing_behind(launch, method, action, children):
    """Its children included: they would be there once more after each try."""
    subject = SUPERVISED.with_(
        method=method,
        workers=1,
        listeners={"before_server_start": action},
        children=children,
        children_first=True,
    )
    server = launch(subject.with_config(REAPER_STARTUP_RETRIES=9, REAPER_HANDLER_TIMEOUT=1.0))
    server.wait_for_output("is started again in 4 s")
    wait_until(lambda: not server.children, 3, server.describe)
    assert len(server.events("child started")) == 6, "in each try there were two"
    assert "did not start in time" in server.output() or action != "hold_gil"
    server.send(SIGTERM)
    server.wait_gone()
    assert server.exit_code() == 0


def test_a_worker_that_is_killed_while_it_starts(launch):
    subject = SUPERVISED.with_(method="fork", listeners={"before_server_start": "block:2"})
    server = launch(subject.with_config(REAPER_STARTUP_RETRIES=1))
    victim = server.process_of(server.wait_for("holding", 2)[0])
    victim.send(SIGKILL)
    server.wait_for("all acked")
    assert len(server.workers) == 2
    assert "killed by SIGKILL" in server.output()
    assert server.stop() == 0


@methods
def test_a_stop_ends_the_waiting(launch, method):
    server = launch(RAISES.with_(method=method).with_config(REAPER_STARTUP_RETRIES=9))
    server.wait_for("failing", 3)
    server.send(SIGTERM)
    server.wait_gone()
    assert server.exit_code() == 0


def test_control_without_retries_the_server_ends(launch):
    server = launch(RAISES.with_(method="fork"))
    server.wait_gone(START)
    assert server.exit_code() == 1
    assert len(tries(server)) == 1
    assert not holds(lambda: server.get()[0] == 200, 0.1)
