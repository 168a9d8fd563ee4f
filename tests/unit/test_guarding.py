"""The guard of a server whose workers Sanic's own manager runs."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from time import sleep

import pytest
from support.census import wait_until

from sanic_reaper.main.guarding import Guard


@pytest.fixture
def child():
    """Starts children of this process, and ends them."""
    started = []

    def start(one: subprocess.Popen | multiprocessing.Process) -> int:
        started.append(one)
        return one.pid

    yield start
    for one in started:
        one.kill()
        one.wait() if isinstance(one, subprocess.Popen) else one.join()


def process(name: str) -> multiprocessing.Process:
    started = multiprocessing.get_context("fork").Process(target=sleep, args=(600,), name=name)
    started.start()
    return started


def test_a_late_worker_is_killed_and_nobody_else(child):
    """Neither a program that the script runs, nor a process of its own by `multiprocessing`."""
    is_late, killed, turns = threading.Event(), [], threading.Semaphore(0)
    guard = Guard(os.getpid(), turns.release, lambda: killed.append if is_late.is_set() else None)
    try:
        child(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]))
        child(process("Process-1"))
        worker = child(process("Sanic-Server-0-0"))
        for _ in range(3):
            assert turns.acquire(timeout=30)
        assert not killed
        is_late.set()
        wait_until(lambda: killed, 30, "the worker is killed")
        for _ in range(3):
            assert turns.acquire(timeout=30)
        assert [pid for pid, _ in killed] == [worker]
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
