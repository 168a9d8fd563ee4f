"""`@background`: the worker serves at once and says 503 until its work is done; failures count."""

from __future__ import annotations

import re
import time
from signal import SIGTERM

import pytest
from support.census import wait_until
from support.http import Exchange
from support.marks import methods
from support.server import SHUTDOWN_TIMEOUT, SLACK, START, SUPERVISED, Subject

WORK = {"thread": "block", "task": "async"}

every_loop = pytest.mark.parametrize("uvloop", [False, True], ids=["asyncio", "uvloop"])
kinds = pytest.mark.parametrize("kind", WORK)

START_LIMIT = {"fork": 5.0, "spawn": 15.0, "forkserver": 15.0}
"""Seconds for a start. An import takes a third of that on a busy machine."""


def working(kind: str, seconds: float = 600, *, method: str = "fork", **options) -> Subject:
    subject = SUPERVISED.with_(
        method=method,
        workers=1,
        listeners={"before_server_start": f"{WORK[kind]}:{seconds}"},
        decorate={"background": ([], options)},
    )
    limits = {"REAPER_STARTUP_TIMEOUT": START_LIMIT[method], "REAPER_HANDLER_TIMEOUT": 1.0}
    return subject.with_config(**limits)


@kinds
@methods
def test_the_worker_serves_and_turns_requests_away_until_it_is_done(launch, kind, method):
    """Other limits do not hold: this one is for the start no more."""
    seconds = START_LIMIT[method] + 1
    server = launch(working(kind, seconds, method=method))
    server.wait_serving()
    assert server.events("holding"), "after the ack, but already"
    status, body = server.get()
    assert status == 503
    assert "not ready yet" in body
    assert server.get("/health") == (200, "ready: False")
    wait_until(lambda: server.get()[0] == 200, seconds + 10, server.describe)
    assert server.get("/health") == (200, "ready: True")
    assert re.search(r"listen\w* \(.*subject.py:\d+\) is done after \d+\.\d\d s", server.output())
    assert server.stop() == 0


def test_the_answer_says_when_to_come_again(launch):
    server = launch(working("task"))
    server.wait_serving()
    exchange = Exchange(server.port, "/")
    content = b""
    while chunk := exchange._socket.recv(65536):
        content += chunk
    assert content.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 2\r\n" in content.lower()
    assert "Traceback" not in server.output()
    assert server.stop() == 0


def test_the_answer_can_be_replaced(launch):
    server = launch(working("task").with_(replace_not_ready=True))
    server.wait_serving()
    assert server.get() == (429, "patience")
    assert server.stop() == 0


@kinds
def test_requests_may_be_let_through(launch, kind):
    server = launch(working(kind, ready_when_done=False))
    server.wait_serving()
    server.wait_for("holding")
    assert server.get()[0] == 200
    assert server.get("/health") == (200, "ready: True")
    assert server.stop() == 0


@kinds
@methods
def test_work_that_takes_too_long_is_a_failed_start(launch, kind, method):
    server = launch(working(kind, method=method, timeout=2))
    [event] = server.wait_for("holding")
    server.wait_gone(START)
    assert time.monotonic() - event.time < 2 + 2 + SLACK
    assert server.exit_code() == 1
    [error] = server.errors()
    assert re.search(r"its background work listen\w* took longer than 2 s", error)
    output = server.output()
    assert "in the background" in output
    line = {"thread": "in block:  time.sleep", "task": "in sleep_in_loop:  await asyncio.sleep"}
    assert line[kind] in output
    assert "@background(timeout=2)" in output


SITS = {
    "hold_gil": "in hold_gil:  libc.pthread_mutex_lock(mutex)",
    "regex": 'in backtrack:  re.match("(a+)+$", "a" * 60 + "b")',
    "async-block": "in block:  time.sleep(float(seconds or 600))",
    "async-swallow": "in swallow_in_loop:  await asyncio.sleep(600)",
}
"""Work that nobody in the worker can end, and what the log must say of where it sits."""


@pytest.mark.parametrize("action", SITS)
@methods
def test_work_that_cannot_be_ended_from_inside(launch, action, method):
    """The timer of its limit is in the event loop, which it blocks, or wants the GIL."""
    subject = SUPERVISED.with_(
        method=method,
        workers=1,
        listeners={"before_server_start": action},
        decorate={"background": ([], {"timeout": 2})},
    )
    server = launch(subject)
    [event] = server.wait_for("holding")
    server.wait_gone(START)
    assert time.monotonic() - event.time < 2 + 2 + SLACK
    assert server.exit_code() == 1
    [error] = server.errors()
    assert re.search(r"its background work listen\w* took longer than 2 s", error)
    output = server.output()
    handler = r"^    handler  listen\w* \(.*subject.py:\d+\), for \d\.\d\d s, "
    assert re.search(handler, output, re.M)
    [sits] = [line for line in output.splitlines() if line.startswith("    sits in  ")]
    assert sits.endswith(SITS[action]), sits
    assert "@background(timeout=2)" in output
    assert "is slow to start" not in output, "background work is meant to take long"


@pytest.mark.parametrize("action", ["raise", "sys.exit"])
@methods
def test_work_that_fails_is_a_failed_start(launch, action, method):
    subject = SUPERVISED.with_(
        method=method,
        listeners={"before_server_start": action},
        decorate={"background": ([], {})},
    )
    server = launch(subject)
    server.wait_gone(START)
    assert server.exit_code() == 1
    [error] = server.errors()
    assert "its background work listen_blocking" in error
    if action == "raise":
        assert server.output().count("RuntimeError: the database is not there") == 1


@kinds
@methods
def test_a_stop_does_not_wait_for_it(launch, kind, method):
    server = launch(working(kind, method=method))
    server.wait_serving()
    server.wait_for("holding")
    server.send(SIGTERM)
    assert server.wait_gone() < SHUTDOWN_TIMEOUT
    assert server.exit_code() == 0
    assert "Traceback" not in server.output()


@every_loop
@methods
def test_on_a_stop_a_coroutine_is_cancelled_and_may_clean_up(launch, method, uvloop):
    subject = working("task", method=method).with_config(USE_UVLOOP=uvloop)
    server = launch(subject.with_(listeners={"before_server_start": "async-cleanup"}))
    server.wait_serving()
    server.wait_for("holding")
    assert server.stop() == 0
    assert [event.event for event in server.events()].count("cleaned up") == 1
    assert "Task was destroyed" not in server.output()
    assert "Traceback" not in server.output()


def test_a_coroutine_that_does_not_let_itself_be_cancelled_holds_up_no_stop(launch):
    server = launch(working("task").with_(listeners={"before_server_start": "async-swallow"}))
    server.wait_serving()
    server.wait_for("holding")
    assert server.stop() == 0
    assert "SIGKILL" not in server.output()


def test_work_that_fails_is_tried_again(launch):
    subject = working("thread", timeout=1).with_config(REAPER_STARTUP_RETRIES=1)
    server = launch(subject)
    server.wait_for("holding", 2)
    first, second = (event.pid for event in server.events("holding"))
    assert first != second
    server.wait_gone(START)
    assert server.exit_code() == 1
    assert len(server.errors()) == 2


@pytest.mark.parametrize("action", ["block", "async", "async-cleanup"])
def test_single_process(launch, action):
    """Nobody retries there, and nobody is told; the server ends, and its script with it."""
    subject = SUPERVISED.with_(
        workers=1,
        listeners={"before_server_start": action},
        decorate={"background": ([], {"timeout": 1})},
        run={"single_process": True},
    )
    server = launch(subject)
    server.wait_for("holding")
    server.wait_gone(START)
    output = server.output()
    assert re.search(r"its background work listen\w* took longer than 1 s", output)
    assert "Traceback" not in output
    assert server.exit_code() == 1
    assert len(server.events("after_server_stop done")) == 1, "an orderly stop"


def test_several_side_by_side(launch):
    """503 until the last one is done; together they take as long as the longest."""
    subject = working("thread", 4).with_(extra_work=["async:2", "block:1"])
    server = launch(subject)
    server.wait_serving()
    began = max(event.time for event in server.wait_for("holding", 3))
    server.wait_for_output("extra_1 (")
    assert server.get()[0] == 503
    wait_until(lambda: server.get()[0] == 200, 15, server.describe)
    assert 3 < time.monotonic() - began < 4 + SLACK
    assert server.output().count("is done after") == 3
    assert server.stop() == 0


def test_one_of_several_that_fails_is_one_error(launch):
    server = launch(working("thread").with_(extra_work=["raise", "async"]))
    server.wait_gone(START)
    assert server.exit_code() == 1
    [error] = server.errors()
    assert "its background work extra_0" in error


def test_a_request_costs_nothing_once_all_is_done(launch):
    server = launch(working("task", 3))
    server.wait_serving()
    assert int(server.get("/middleware")[1]) > 0
    wait_until(lambda: server.get()[0] == 200, 15, server.describe)
    assert server.get("/middleware") == (200, "0")
    assert server.stop() == 0
