"""A start is a start or an error: within its limit, with the reason, and with exit code 1."""

from __future__ import annotations

import re
import sys
import time
from signal import SIGKILL, SIGTERM

import pytest
from support.census import holds, wait_until
from support.daemon import SANIC, command_line
from support.http import can_bind
from support.marks import methods, smoke_of
from support.server import (
    PLAIN,
    SHELL_SCRIPT,
    SLACK,
    START,
    STARTUP_TIMEOUT,
    SUPERVISED,
    Server,
    Subject,
)

LIMITED = SUPERVISED.with_config(REAPER_STARTUP_TIMEOUT=STARTUP_TIMEOUT)
BOUND = STARTUP_TIMEOUT + 2 * 2 + 2 * SLACK
"""A stack takes a second to write, one worker after the other; and then main has to end."""


def wait_failed(server: Server, within: float = BOUND) -> str:
    """Wait for the end of a server that could not start; return what it has printed."""
    server.wait_gone(START + within)
    assert server.exit_code() == 1
    assert can_bind(server.port)
    return server.output()


# -- the limit ------------------------------------------------------------------------------------


FRAMES = {
    "block": "in block",
    "hold_gil": "in hold_gil",
    "spin": "in spin",
    "swallow": "in swallow",
    "deaf": "in swallow",
    "async": "in sleep_in_loop",
}
"""Where a worker must be seen to sit."""


@pytest.mark.parametrize("action", smoke_of(FRAMES, "hold_gil"))
@methods
def test_a_worker_that_is_not_up_in_time(launch, method, action):
    """Its stack comes from C: that needs neither the GIL nor a signal handler of Python's."""
    if action == "spin" and method != "spawn":
        pytest.skip("costs both cores; holding the GIL is the same to everybody else")
    server = launch(LIMITED.with_(method=method, listeners={"before_server_start": action}))
    output = wait_failed(server)
    assert re.search(r"Sanic-Server-[01]-0 \[\d+\]", output)
    assert "REAPER_STARTUP_TIMEOUT" in output
    assert f"{STARTUP_TIMEOUT:g} s" in output
    stack = [line for line in output.splitlines() if line.startswith("  File ")]
    assert any(line.endswith(FRAMES[action]) for line in stack)


@pytest.mark.smoke
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_an_import_counts_too(launch, method):
    server = launch(LIMITED.with_(method=method, importing="block"))
    output = wait_failed(server)
    assert any(
        line.startswith("  File ") and line.endswith("in note_import")
        for line in output.splitlines()
    )


@methods
def test_a_stopped_worker_is_made_to_tell(launch, method):
    server = launch(LIMITED.with_(method=method, listeners={"before_server_start": "block"}))
    for event in server.wait_for("holding", 2):
        process = server.process_of(event)
        assert process is not None
        process.freeze()
    assert "in block" in wait_failed(server)


def test_the_limit_is_kept(launch):
    server = launch(LIMITED.with_(method="fork", listeners={"before_server_start": "block"}))
    held = max(event.time for event in server.wait_for("holding", 2))
    server.wait_for_output("REAPER_STARTUP_TIMEOUT")
    assert STARTUP_TIMEOUT - 3 < time.monotonic() - held < STARTUP_TIMEOUT + 1


def test_the_shell_that_launched_it_goes_on(launch):
    server = launch(LIMITED.with_(listeners={"before_server_start": "hold_gil"}), argv=SHELL_SCRIPT)
    server.wait_gone(START + BOUND)
    assert "next line, after 1" in server.output()


@pytest.mark.parametrize("limit", [0, None], ids=["0", "None"])
def test_no_limit(launch, limit):
    subject = SUPERVISED.with_(method="fork", listeners={"before_server_start": "block"})
    server = launch(subject.with_config(REAPER_STARTUP_TIMEOUT=limit))
    server.wait_for("holding", 2)
    assert holds(lambda: not server.command.ended, 3)
    assert server.stop() == 0


def test_a_start_within_the_limit_is_left_alone(launch):
    subject = SUPERVISED.with_config(REAPER_STARTUP_TIMEOUT=STARTUP_TIMEOUT)
    server = launch(subject.with_(method="fork", listeners={"before_server_start": "block:1.5"}))
    workers = server.wait_serving()
    assert holds(lambda: server.workers == workers, STARTUP_TIMEOUT)
    assert server.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("action", "limit", "within"), [("block:33", 60, 45), ("async:40", 90, 60)]
)
def test_a_limit_above_sanics_own(launch, action, limit, within):
    """Sanic kills what has not acked within 30 seconds; its control runs beside it."""
    slow = {"before_server_start": action}
    server = launch(SUPERVISED.with_(listeners=slow).with_config(REAPER_STARTUP_TIMEOUT=limit))
    control = launch(PLAIN.with_(listeners=slow))
    server.wait_for("all acked", within=within)
    assert server.get()[0] == 200
    assert control.exit_code() == -SIGKILL
    assert not control.events("all acked")
    assert server.stop() == 0


def test_sanics_own_limit_counts_where_it_is_longer(launch):
    """Its documented way to a longer start. The Reaper's default is shorter."""
    server = launch(SUPERVISED.with_(method="fork", threshold=1200, workers=1))
    line = server.wait_for_output("a worker's start can take 120 s, as WorkerManager.THRESHOLD")
    assert "INFO" in line
    server.wait_serving()
    assert server.output().count("THRESHOLD") == 1
    assert server.stop() == 0


def test_a_limit_of_sanics_that_is_none(launch):
    """A service manager that is told of the limit gets none."""
    server = launch(
        SUPERVISED.with_(method="fork", threshold=10**400, workers=1),
        env={"NOTIFY_SOCKET": "@nobody-listens-here"},
    )
    server.wait_for_output("a worker's start has no limit, as WorkerManager.THRESHOLD says")
    server.wait_serving()
    assert server.stop() == 0


@pytest.mark.parametrize("value", [sys.maxsize, 1e300])
@methods
def test_limits_that_are_meant_as_none(launch, method, value):
    keys = ("STARTUP_TIMEOUT", "HANDLER_TIMEOUT", "SLOW_HANDLER", "SHUTDOWN_TIMEOUT")
    config = {f"REAPER_{key}": value for key in (*keys, "BLOCKED_WARNING", "HEARTBEAT_TIMEOUT")}
    subject = SUPERVISED.with_(
        method=method,
        listeners={"before_server_start": "async:0.2", "main_process_start": "async:0.2"},
    )
    server = launch(subject.with_config(**config), env={"NOTIFY_SOCKET": "@nobody-listens-here"})
    server.wait_serving()
    assert server.stop() == 0
    assert "Traceback" not in server.output()


def test_the_limit_of_the_reaper_counts_where_it_is_set(launch):
    subject = LIMITED.with_(
        method="fork", threshold=1200, workers=1, listeners={"before_server_start": "block"}
    )
    server = launch(subject)
    output = wait_failed(server)
    words = "WorkerManager.THRESHOLD (120 s) has no effect"
    [line] = [line for line in output.splitlines() if "THRESHOLD" in line]
    assert words in line
    assert f"REAPER_STARTUP_TIMEOUT ({STARTUP_TIMEOUT:g} s)" in line


@methods
def test_a_worker_that_is_ready_in_time_stays_though_main_is_busy(launch, method):
    """Main reads of it when its limit has long passed: what counts is when the worker was ready."""
    limit = 15.0
    subject = SUPERVISED.with_(method=method, busy_main=limit + 4)
    server = launch(subject.with_config(REAPER_STARTUP_TIMEOUT=limit))
    [first] = server.wait_for("after_server_start done")
    assert not server.events("busy no more")
    server.wait_for("busy no more", within=2 * START)
    server.wait_serving()
    assert server.process_of(first) in server.workers
    assert "SIGABRT" not in server.output()
    assert server.stop() == 0


def test_a_stop_ends_the_wait(launch):
    server = launch(LIMITED.with_(listeners={"before_server_start": "deaf"}))
    server.wait_for("holding", 2)
    server.send(SIGTERM)
    server.wait_gone()
    assert server.exit_code() == 0
    assert "REAPER_STARTUP_TIMEOUT" not in server.output()


# -- a start that fails ---------------------------------------------------------------------------

FAILURES = {
    "raises": Subject(listeners={"before_server_start": "raise"}),
    "raises late": Subject(listeners={"after_server_start": "raise"}),
    "a cancellation": Subject(listeners={"before_server_start": "raise-cancelled"}),
    "an interrupt": Subject(listeners={"before_server_start": "raise-interrupt"}),
    "sys.exit": Subject(listeners={"before_server_start": "sys.exit"}),
    "os._exit": Subject(listeners={"before_server_start": "os._exit"}),
    "import raises": Subject(importing="raise"),
    "import calls sys.exit": Subject(importing="sys.exit"),
}


@pytest.mark.parametrize("failure", smoke_of(FAILURES, "raises", "sys.exit"))
@methods
def test_a_start_that_fails_ends_the_server_at_once(launch, method, failure):
    if method == "fork" and failure.startswith("import"):
        pytest.skip("under fork a worker imports nothing")
    subject = FAILURES[failure].with_(method=method, config=SUPERVISED.config)
    began = time.monotonic()
    server = launch(subject, argv=SHELL_SCRIPT)
    server.wait_gone(START)
    assert "next line, after 1" in server.output()
    assert time.monotonic() - began < 15, "far from any limit"
    if failure.startswith("a"):
        assert "did not start: its before_server_start handler listen_blocking" in server.output()
        assert server.output().count("Traceback") == 1, "from the handler on, once"
    if "raises" in failure:
        assert "RuntimeError: the database is not there" in server.output()
    if failure == "raises late":
        what = "did not start: its after_server_start handler listen_blocking"
        assert what in server.output()
        assert server.output().count("RuntimeError: the database is not there") == 1


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_an_app_that_its_worker_cannot_import(launch, ports, method):
    """Where Sanic's command line is the one to import it, Sanic catches that: the worker ends as if
    all were well, and main is told in a way of Sanic's own."""
    port = ports.take()
    argv = command_line([*SANIC, "app:app"], port)
    server = launch(SUPERVISED.with_(method=method, importing="raise"), port=port, argv=argv)
    assert "RuntimeError: the database is not there" in wait_failed(server)


def test_a_successor_that_cannot_import_the_app(launch, ports):
    """The same, when the others serve: it is one more death, and no order to anybody."""
    port = ports.take()
    subject = SUPERVISED.with_(importing="raise-later").with_config(REAPER_RESPAWN_LIMIT=1)
    server = launch(subject, port=port, argv=command_line([*SANIC, "app:app"], port))
    victim, other = server.wait_serving()
    victim.send(SIGKILL)
    server.wait_for_output("it is not replaced again")
    assert server.workers == [other]
    assert server.get()[0] == 200
    assert server.stop() == 0


def test_an_order_that_comes_while_the_others_start(launch):
    """It waits until all are up, as in Sanic."""
    subject = SUPERVISED.with_(listeners={"before_server_start": "async-in:Sanic-Server-1"})
    server = launch(subject)
    [first] = server.wait_for("after_server_start")
    server.order(f"{first.name}:")
    server.wait_serving()
    starts = server.wait_for("after_server_start", 3)
    assert [event.name for event in starts].count(first.name) == 2
    wait_until(lambda: server.process_of(first) is None, START, server.describe)
    assert len(server.workers) == 2
    assert server.stop() == 0


def test_a_worker_that_serves_ends_the_server_while_the_others_start(launch):
    subject = SUPERVISED.with_(listeners={"before_server_start": "block-in:Sanic-Server-1"})
    server = launch(subject)
    server.wait_for("after_server_start")
    server.wait_for("holding")
    wait_until(lambda: server.get("/terminate") == (200, "done"), START, server.describe)
    server.wait_gone()
    assert server.exit_code() == 0
    assert "stopping on request" in server.output()


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_worker_that_is_killed_while_it_starts(launch, method):
    """As the kernel does when memory runs out. The message says which worker and how."""
    server = launch(SUPERVISED.with_(method=method, listeners={"before_server_start": "block"}))
    event = server.wait_for("holding", 2)[0]
    worker = server.process_of(event)
    assert worker is not None
    worker.send(SIGKILL)
    output = wait_failed(server)
    assert f"[{event.pid}]" in output
    assert "SIGKILL" in output


@pytest.mark.parametrize("event", ["main_process_start", "main_process_ready"])
def test_main_fails_to_start(launch, event):
    """Sanic's own way: a traceback and exit code 1, and here also nothing left."""
    server = launch(SUPERVISED.with_(listeners={event: "raise"}))
    output = wait_failed(server)
    assert "RuntimeError: the database is not there" in output


def test_the_port_is_taken(launch):
    first = launch(SUPERVISED.with_(method="fork"))
    first.wait_serving()
    second = launch(SUPERVISED.with_(method="fork"), port=first.port)
    second.wait_gone(START)
    assert second.exit_code() == 1
    assert first.get()[0] == 200
    assert first.stop() == 0


def test_a_script_without_a_main_guard(launch, tmp_path):
    """Under spawn its SyncManager runs into the script's own `app.run`: nothing may stay."""
    script = tmp_path / "unguarded.py"
    script.write_text(
        "from sanic import Sanic\n"
        "from sanic_reaper import Reaper\n"
        "Sanic.start_method = 'spawn'\n"
        "app = Sanic('Unguarded')\n"
        "app.extend(extensions=[Reaper])\n"
        "app.run(port=1)\n"
    )
    server = launch(SUPERVISED, argv=[sys.executable, str(script)])
    server.wait_gone(START)
    assert server.exit_code() == 1
