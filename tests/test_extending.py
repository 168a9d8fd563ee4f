"""README's line: wherever it stands, and what is said where it can't do what it promises."""

from __future__ import annotations

import sys
from signal import SIGKILL, SIGTERM

import pytest
from support.server import ORPHAN_GRACE, SLACK, START, SUPERVISED, Server


def warnings(server: Server) -> list[str]:
    lines = [line for line in server.output().splitlines() if "WARNING: [reaper]" in line]
    return [line for line in lines if "REAPER_SHUTDOWN_TIMEOUT = " not in line]


@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.parametrize(
    "how",
    [
        "after another",
        "after use",
        "without AUTO_EXTEND",
        "attached",
        "twice",
        "registered alone",
    ],
)
def test_it_guards_however_the_app_was_extended(launch, how, method):
    server = launch(SUPERVISED.with_(reaper=how, method=method))
    server.wait_serving()
    assert len(server.watchdogs) == 1
    assert server.get("/health") == (200, "ready: True")
    assert not warnings(server)
    server.send(SIGKILL)
    server.wait_gone(ORPHAN_GRACE + SLACK)


@pytest.mark.parametrize("how", ["after use", "attached", "twice"])
def test_it_stops_however_the_app_was_extended(launch, how):
    server = launch(SUPERVISED.with_(reaper=how))
    server.wait_serving()
    assert server.stop() == 0
    ends = [line for line in server.output().splitlines() if "[reaper] stopped" in line]
    assert len(ends) == 1


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_under_main_alone_it_works_and_one_line_says_what_is_missing(launch, method):
    """`if __name__ == "__main__": app.extend(...)`: the workers come up without the extension."""
    server = launch(SUPERVISED.with_(reaper="in main alone", method=method))
    server.wait_serving()
    server.wait_for_output("Sanic-Server-1-0 [")
    [warning] = warnings(server)
    assert "in the main process, and not in its workers" in warning
    assert "move the line out of that block" in warning
    server.wait_for_output("is up after")  # it is timed all the same
    assert server.stop() == 0


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_in_a_listener_it_comes_too_late_and_one_line_says_so(launch, method):
    server = launch(SUPERVISED.with_(reaper="in a listener", method=method))
    server.wait_serving()
    [warning] = warnings(server)
    assert "after its server had started: nothing supervises this run" in warning
    assert not server.watchdogs
    assert server.stop() == 0


def test_under_main_alone_a_fork_has_it_too(launch):
    server = launch(SUPERVISED.with_(reaper="in main alone", method="fork"))
    server.wait_serving()
    assert not warnings(server)
    assert server.stop() == 0


def test_a_handler_is_limited_there_too(launch):
    subject = SUPERVISED.with_(
        reaper="in main alone", workers=1, listeners={"before_server_start": "block:60"}
    )
    server = launch(subject.with_config(REAPER_HANDLER_TIMEOUT=1.0))
    server.wait_gone(START)
    assert server.exit_code() == 1
    assert any("listen_blocking took longer than 1 s" in line for line in server.errors())


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_without_a_guard_the_log_says_what_to_do(launch, method):
    server = launch(SUPERVISED.with_(method=method), argv=[sys.executable, "unguarded.py"])
    server.wait_gone(START)
    assert server.exit_code() == 1
    [hint] = [line for line in server.errors() if "__main__" in line]
    assert "[reaper] the main module calls app.run() without" in hint
    assert f"start method {method}" in hint


def test_a_worker_that_fails_in_its_import_is_no_matter_of_a_guard(launch):
    server = launch(SUPERVISED.with_(importing="raise"))
    server.wait_gone(START)
    assert server.exit_code() == 1
    assert not any("__main__" in line for line in server.errors())


def test_under_fork_no_guard_is_needed(launch):
    server = launch(SUPERVISED.with_(method="fork"), argv=[sys.executable, "unguarded.py"])
    server.wait_serving()
    server.send(SIGTERM)
    server.wait_gone()
    assert server.exit_code() == 0


@pytest.mark.parametrize("event", ["main_process_start", "main_process_ready"])
def test_what_a_listener_of_main_raises_is_all_that_is_shown(launch, event):
    server = launch(SUPERVISED.with_(listeners={event: "raise"}))
    server.wait_gone(START)
    assert server.exit_code() != 0
    server.wait_for_output("RuntimeError: the database is not there")
    assert "missing 1 required positional argument" not in server.output()


def test_a_grace_without_end(launch):
    """Sanic allows it. A stop ends as soon as the last request has been answered."""
    server = launch(SUPERVISED.with_(config={"GRACEFUL_SHUTDOWN_TIMEOUT": float("inf")}))
    server.wait_serving()
    assert any("GRACEFUL_SHUTDOWN_TIMEOUT = inf" in line for line in warnings(server))
    assert server.stop() == 0
