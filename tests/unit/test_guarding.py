"""The guard of a server whose workers Sanic's own manager runs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from support.census import wait_until

from sanic_reaper.main.guarding import Guard
from sanic_reaper.tree.process import children_of

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def child():
    """Starts children of this process, and ends them."""
    started = []

    def start() -> subprocess.Popen:
        started.append(subprocess.Popen(SLEEP))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.wait()


def test_a_late_worker_is_killed_and_nobody_who_was_there_before(child):
    is_late, killed, turns = threading.Event(), [], threading.Semaphore(0)
    child()
    guard = Guard(os.getpid(), turns.release, lambda: killed.append if is_late.is_set() else None)
    try:
        worker, watchdog = child(), child()
        [identity] = [one for one in children_of(os.getpid()) if one[0] == watchdog.pid]
        guard.spared.add(identity)
        for _ in range(3):
            assert turns.acquire(timeout=30)
        assert not killed
        is_late.set()
        wait_until(lambda: killed, 30, "the worker is killed")
        for _ in range(3):
            assert turns.acquire(timeout=30)
        assert [pid for pid, _ in killed] == [worker.pid]
    finally:
        guard.stop()


def test_a_turn_that_fails_is_logged_once_and_followed_by_others(caplog):
    calls = []

    def turn() -> None:
        calls.append(None)
        raise ValueError("turned the wrong way")

    guard = Guard(os.getpid(), turn, lambda: None)
    try:
        wait_until(lambda: len(calls) > 2, 30, "three turns")
    finally:
        guard.stop()
    lines = [one for one in caplog.records if "turned the wrong way" in one.getMessage()]
    assert len(lines) == 1
    assert not any(one.name == "reaper guard" for one in threading.enumerate())
