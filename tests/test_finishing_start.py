"""A worker listens, and its `after_server_start` handlers do not end: limited, named, stopped.

Requests are answered meanwhile, unless such a handler blocks the event loop.
"""

from __future__ import annotations

import json
import re
import time
from signal import SIGCONT, SIGINT, SIGKILL, SIGTERM

import pytest
from support.census import holds, wait_until
from support.http import Exchange, can_bind
from support.load import Load
from support.marks import methods
from support.server import (
    PLAIN,
    SHUTDOWN_TIMEOUT,
    SLACK,
    START,
    STARTUP_TIMEOUT,
    SUPERVISED,
    Server,
    Subject,
)

LIMIT = 2.0
"""Seconds for a handler."""

WHOLE = 20.0
"""Seconds for a start: within them it has to come as far as its `after_server_start` handlers."""

KINDS = {"awaits": "async", "blocks": "block"}
HANDLERS = {"awaits": "listen", "blocks": "listen_blocking"}
HOW = {"awaits": "awaiting", "blocks": "blocking the event loop"}

every_loop = pytest.mark.parametrize("uvloop", [False, True], ids=["asyncio", "uvloop"])
kinds = pytest.mark.parametrize("kind", KINDS)


def hanging(kind: str, method: str = "fork", workers: int = 1, **config: object) -> Subject:
    subject = SUPERVISED.with_(
        method=method, workers=workers, listeners={"after_server_start": KINDS[kind]}
    )
    return subject.with_config(**config)


def wait_failed(server: Server) -> str:
    server.wait_gone(WHOLE + START)
    assert server.exit_code() == 1
    assert can_bind(server.port)
    return server.output()


def state_of(server: Server) -> str:
    found = server.ask("ps", "--json")
    [picture] = json.loads(found.text)["servers"]
    return next(one["state"] for one in picture["processes"] if one["role"] == "worker")


# -- limits ---------------------------------------------------------------------------------------


@every_loop
@kinds
@methods
def test_the_limit_of_a_handler(launch, kind, method, uvloop):
    server = launch(
        hanging(kind, method, 2, REAPER_HANDLER_TIMEOUT=LIMIT, USE_UVLOOP=uvloop),
    )
    output = wait_failed(server)
    [error] = server.errors()
    what = f"its after_server_start handler {HANDLERS[kind]} took longer than {LIMIT:g} s"
    assert what in error
    assert re.search(
        rf"^    handler  {HANDLERS[kind]} \(.*subject.py:\d+\), for \d\.\d\d s, {HOW[kind]}$",
        output,
        re.M,
    ), output
    assert "@background on a before_server_start handler" in output
    assert "is up after" not in output
    assert "Traceback" not in output


@kinds
def test_the_limit_of_its_own(launch, kind):
    subject = hanging(kind, REAPER_HANDLER_TIMEOUT=60.0).with_(
        decorate={"startup_timeout": ([LIMIT], {})}, decorate_event="after_server_start"
    )
    output = wait_failed(launch(subject))
    assert f"@startup_timeout({LIMIT:g})" in output


@kinds
@methods
def test_the_limit_of_the_whole_start_holds_until_it_is_through(launch, kind, method):
    server = launch(hanging(kind, method, REAPER_STARTUP_TIMEOUT=WHOLE))
    output = wait_failed(server)
    [error] = server.errors()
    limit = f"REAPER_STARTUP_TIMEOUT = {WHOLE:g} s"
    assert f"it listens, but has not finished its start within {limit}" in error
    assert re.search(
        rf"^    handler  {HANDLERS[kind]} \(.*subject.py:\d+\), .*, {HOW[kind]}$", output, re.M
    )


@kinds
def test_a_slow_one_is_reported_once(launch, kind):
    subject = hanging(kind, REAPER_SLOW_HANDLER=1.0)
    subject = subject.with_(listeners={"after_server_start": f"{KINDS[kind]}:3"})
    server = launch(subject)
    server.wait_for_output("is up after")
    output = server.output()
    assert output.count(f"is slow to start: {HANDLERS[kind]} still runs") == 1
    assert output.index("is slow to start") < output.index("is up after")
    assert server.stop() == 0


def test_one_of_several_is_tried_again_and_the_others_serve(launch):
    subject = SUPERVISED.with_(
        method="fork", listeners={"after_server_start": "async-in:Sanic-Server-1"}
    ).with_config(REAPER_HANDLER_TIMEOUT=1.0, REAPER_STARTUP_RETRIES=1)
    server = launch(subject)
    server.wait_for_output("is started again in 1 s")
    assert server.get()[0] == 200
    server.wait_gone(START)
    assert server.exit_code() == 1
    assert server.output().count("its after_server_start handler listen took longer") == 2


# -- the event loop -------------------------------------------------------------------------------


def test_a_request_that_blocks_meanwhile_is_reported(launch):
    """And not the handler that awaits."""
    server = launch(hanging("awaits", REAPER_BLOCKED_WARNING=1.0))
    server.wait_for("holding")
    request = server.request("/do/block:4")
    line = server.wait_for_output("has been blocked for")
    assert "blocking" not in line or "awaiting" not in line
    [sits] = [line for line in server.output().splitlines() if line.startswith("    sits in  ")]
    assert sits.endswith(":  time.sleep(float(seconds or 600))")
    assert request.answer() == (200, "done")
    assert server.stop() == 0


def test_a_handler_that_blocks_counts_as_a_loop_that_stands_still(launch):
    server = launch(hanging("blocks", REAPER_BLOCKED_WARNING=1.0, REAPER_HEARTBEAT_TIMEOUT=2.0))
    output = wait_failed(server)
    assert "has been blocked for" in output
    assert "REAPER_HEARTBEAT_TIMEOUT = 2" in output


# -- what is shown of it --------------------------------------------------------------------------


def test_the_state_has_a_name(launch):
    server = launch(hanging("awaits", REAPER_ENDPOINT="/__reaper__"))
    server.wait_for("holding")
    wait_until(lambda: state_of(server) == "finishing start", START, server.describe)
    assert server.get()[0] == 200, "it answers"
    assert server.ask("health", "--live").code == 0
    ready = server.ask("health", "--ready")
    assert ready.code != 0
    assert "has not finished its start: listen" in ready.text
    status, body = server.get("/__reaper__/ready")
    assert (status, "has not finished its start: listen" in body) == (503, True)
    assert server.get("/__reaper__/live")[0] == 200
    assert 'workers{state="finishing start"} 1' in server.get("/__reaper__/metrics")[1]
    [worker] = [
        one
        for one in json.loads(server.get("/__reaper__/status")[1])["processes"]
        if one["role"] == "worker"
    ]
    assert (worker["state"], worker["doing"]) == ("finishing start", "listen")
    stack = server.ask("dump", "Sanic-Server-0-0").text
    assert "its event loop turns" in stack
    assert "blocking the event loop" not in stack
    assert "in sleep_in_loop" in stack
    assert "is up after" not in server.output()
    assert server.stop() == 0


@methods
def test_the_parts_of_a_start_add_up(launch, method):
    subject = SUPERVISED.with_(
        method=method,
        workers=1,
        listeners={"before_server_start": "block:0.3", "after_server_start": "async:0.4"},
    )
    server = launch(subject)
    line = server.wait_for_output("is up after")
    total, _, spent = line.partition(" is up after ")[2].partition(" s: ")
    parts = dict(re.findall(r"(\w+) (\d+\.\d\d) s", spent))
    assert set(parts) >= {"import", "listen_blocking", "listen", "succeed", "Sanic"}
    assert float(parts["listen"]) >= 0.4
    assert sum(map(float, parts.values())) == pytest.approx(float(total), abs=0.01 * len(parts))
    assert server.stop() == 0


# -- a stop ---------------------------------------------------------------------------------------


@every_loop
@kinds
@methods
@pytest.mark.parametrize("signum", [SIGTERM, SIGINT], ids=["SIGTERM", "Ctrl+C"])
def test_a_stop_does_not_wait_for_it(launch, kind, method, uvloop, signum):
    """Nor for its limit: it is cancelled, and the stop listeners run."""
    subject = hanging(kind, method, 2, REAPER_SHUTDOWN_TIMEOUT=START, USE_UVLOOP=uvloop)
    server = launch(subject)
    server.wait_for("holding", 2)
    began = server.send(SIGTERM) if signum == SIGTERM else server.send_group(SIGINT)
    server.wait_gone(START)
    assert time.monotonic() - began < 3 + SLACK
    assert server.exit_code() == 0
    output = server.output()
    assert output.count("stops before its start is complete; cancelled: ") == 2
    assert len(re.findall(rf"cancelled: {HANDLERS[kind]} \(.*subject.py:\d+\), after", output)) == 2
    assert "SIGKILL" not in output
    assert "Traceback" not in output
    for event in ("before_server_stop", "after_server_stop"):
        assert len(server.events(event)) == 2
    assert not server.events("after_server_start done")


@every_loop
@pytest.mark.parametrize("kind", ["async-cleanup", "block-cleanup"])
def test_it_may_clean_up(launch, kind, uvloop):
    subject = SUPERVISED.with_(
        method="fork", workers=1, listeners={"after_server_start": kind}
    ).with_config(USE_UVLOOP=uvloop)
    server = launch(subject)
    server.wait_for("holding")
    assert server.stop() == 0
    assert len(server.events("cleaned up")) == 1


def test_one_that_swallows_its_cancellation_is_left_behind(launch):
    subject = SUPERVISED.with_(
        method="fork", workers=1, listeners={"after_server_start": "async-swallow"}
    ).with_config(REAPER_SHUTDOWN_TIMEOUT=START)
    server = launch(subject)
    server.wait_for("holding")
    began = time.monotonic()
    server.send(SIGTERM)
    server.wait_gone(START)
    assert time.monotonic() - began < 3 + SLACK
    output = server.output()
    assert re.search(r"handlers that still run 1 s after they were cancelled: listen", output)
    assert "SIGKILL" not in output
    assert "Task was destroyed" not in output
    assert len(server.events("after_server_stop")) == 1


@methods
def test_the_thread_that_it_awaits_is_not_waited_for(launch, method):
    """It can't be cancelled, and the interpreter would join it."""
    subject = SUPERVISED.with_(
        method=method, workers=1, listeners={"after_server_start": "async-thread"}
    ).with_config(REAPER_SHUTDOWN_TIMEOUT=START)
    server = launch(subject)
    server.wait_for("holding")
    began = time.monotonic()
    server.send(SIGTERM)
    server.wait_gone(START)
    assert time.monotonic() - began < 3 + SLACK
    assert server.exit_code() == 0
    output = server.output()
    assert "exits before its start is complete, and does not wait for the thread " in output
    assert "SIGKILL" not in output
    assert len(server.events("after_server_stop")) == 1


def test_one_that_cannot_be_reached_is_killed_within_the_limit(launch):
    subject = SUPERVISED.with_(
        method="fork", workers=1, listeners={"after_server_start": "hold_gil"}
    )
    server = launch(subject)
    server.wait_for("holding")
    server.send(SIGTERM)
    server.wait_gone(SHUTDOWN_TIMEOUT + SLACK)
    assert server.exit_code() == 0


def test_a_request_in_flight_is_answered(launch):
    server = launch(hanging("awaits"))
    server.wait_for("holding")
    request = server.request("/do/async:1")
    server.send(SIGTERM)
    assert request.answer() == (200, "done")
    server.wait_gone()
    assert server.exit_code() == 0


@kinds
def test_main_is_killed_meanwhile(launch, kind):
    server = launch(hanging(kind, workers=2))
    server.wait_for("holding", 2)
    server.main.send(SIGKILL)
    server.wait_gone()


# -- later workers --------------------------------------------------------------------------------


def test_a_replacement_that_hangs_is_limited_too(launch):
    """Its predecessor is dead; the other one serves. Main is slow: it reads at once that the
    predecessor was ready, and that it is dead."""
    subject = SUPERVISED.with_(
        method="fork", listeners={"after_server_start": "async-longer-later:1"}
    ).with_config(REAPER_HANDLER_TIMEOUT=3.0, REAPER_RESPAWN_LIMIT=1)
    server = launch(subject)
    server.wait_for("all acked")
    server.main.freeze()
    wait_until(lambda: server.output().count("is up after") == 2, START, server.describe)
    # They tell main after that line, and then have nothing to do.
    wait_until(lambda: all(one.sleeping for one in server.workers), START, server.describe)
    server.workers[0].send(SIGKILL)
    server.main.send(SIGCONT)
    server.wait_for_output("did not start: its after_server_start handler listen took longer")
    # The one that is being killed listens too, and takes what it has accepted with it.
    wait_until(lambda: server.get()[0] == 200, START, server.describe)
    assert server.stop() == 0


def test_a_restart_without_downtime_waits_for_the_whole_start(launch):
    """The old worker goes when the new one is up, not when it has acked; and stays if it fails."""
    subject = SUPERVISED.with_(
        method="fork", workers=1, listeners={"after_server_start": "async-later"}
    ).with_config(REAPER_HANDLER_TIMEOUT=2.0)
    server = launch(subject)
    server.wait_for_output("is up after")
    [old] = server.wait_serving()
    with Load(server.port, 2) as load:
        assert server.get("/restart-without-downtime")[0] == 200
        server.wait_for_output("which keeps serving")
    assert load.failures == []
    assert old.alive
    assert server.stop() == 0


# -- without the Reaper ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["awaits", "blocks"])
def test_control_plain_sanic_hangs_for_good(launch, kind):
    server = launch(
        PLAIN.with_(method="fork", listeners={"after_server_start": KINDS[kind]}),
    )
    server.wait_for("holding", 2)
    server.wait_for("all acked")
    assert holds(lambda: not server.command.ended, STARTUP_TIMEOUT)
    if kind == "awaits":
        server.send(SIGTERM)
        server.exit_code(START)
        assert not server.events("before_server_stop"), "no stop listener runs"


def test_under_single_process_it_is_limited_from_inside(launch):
    subject = hanging("awaits", REAPER_HANDLER_TIMEOUT=1.0).with_(run={"single_process": True})
    server = launch(subject)
    server.wait_for("holding")
    assert Exchange(server.port, "/").answer()[0] == 200
    assert server.exit_code(START) == 1
    assert "StartupTimeout: listen" in server.output()


@every_loop
@methods
def test_an_app_that_its_own_start_handler_stops(launch, method, uvloop):
    """Its stop listeners run, as they do without the Reaper: see the control."""
    subject = SUPERVISED.with_(method=method, workers=1, listeners={"after_server_start": "stop:1"})
    server = launch(subject.with_config(USE_UVLOOP=uvloop))
    assert_stopped_by_itself(server)
    assert "cancelled" not in server.output()


def test_plain_sanic_stops_an_app_that_its_own_start_handler_stops(launch):
    assert_stopped_by_itself(
        launch(PLAIN.with_(workers=1, listeners={"after_server_start": "stop:1"}))
    )


def assert_stopped_by_itself(server: Server) -> None:
    server.wait_gone(2 * START)
    assert server.exit_code() == 0
    for event in ("after_server_start", "before_server_stop", "after_server_stop"):
        assert len(server.events(f"{event} done")) == 1, server.describe()
    assert "before Future completed" not in server.output()
