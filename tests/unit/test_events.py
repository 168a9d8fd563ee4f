"""Hooks at the server's end: who is waited for, and for how long."""

from __future__ import annotations

import re
import threading

import pytest

from sanic_reaper import events
from sanic_reaper.events import Hooks


@pytest.fixture
def gate():
    """Holds up the hooks of a test until it is set."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def heard():
    return []


@pytest.fixture
def hooks(gate, heard):
    """Three events, of which the first is in a hook that waits for the gate."""
    arrived = threading.Event()

    def hook(event):
        arrived.set()
        assert gate.wait(20)
        heard.append(event.pid)

    hooks = Hooks([("worker.died", hook)])
    for pid in range(3):
        hooks.emit("worker.died", "Sanic-Server-0-0", pid)
    hooks.turn()
    assert arrived.wait(5)
    return hooks


def test_what_waits_at_the_end_is_received(hooks, gate, heard, monkeypatch, caplog):
    monkeypatch.setattr(events, "PATIENCE", 20.0)
    opener = threading.Timer(0.05, gate.set)
    opener.start()
    hooks.finish()
    opener.join()
    assert heard == [0, 1, 2]
    assert not caplog.messages


def test_a_hook_that_does_not_return_holds_up_no_end(hooks, heard, monkeypatch, caplog):
    monkeypatch.setattr(events, "PATIENCE", 0.05)
    hooks.finish()
    assert heard == []
    [warning] = caplog.messages
    assert re.search(r"the hook <.*hook at .*> still runs 0.05 s after the stop; 2 events", warning)


# -- beside a fork --------------------------------------------------------------------------------


def test_no_hook_runs_within_the_block_and_all_are_told_afterwards(hooks, gate, heard):
    gate.set()
    with hooks.parked():
        told = len(heard)
        assert told >= 1, "it has waited for the one that was running"
        hooks.emit("worker.died", "Sanic-Server-0-0", 3)
        hooks.turn()
        assert hooks._thread is None
        assert len(heard) == told
    hooks.finish()
    assert heard == [0, 1, 2, 3]


def test_a_hook_that_does_not_return_is_waited_for_once(hooks, monkeypatch, caplog):
    monkeypatch.setattr(events, "FORK_PATIENCE", 0.05)
    for _ in range(2):
        with hooks.parked():
            pass
    [warning] = caplog.messages
    assert "runs for more than 0.05 s: workers are forked beside it" in warning


def test_an_exception_in_the_block_lets_the_hooks_go_on(hooks, gate, heard):
    gate.set()
    with pytest.raises(ZeroDivisionError), hooks.parked():
        raise ZeroDivisionError
    hooks.finish()
    assert heard == [0, 1, 2]


def test_where_no_thread_can_be_started_it_is_tried_again(monkeypatch):
    heard = []
    hooks = Hooks([(None, lambda event: heard.append(event.pid))])
    with monkeypatch.context() as scarce:
        scarce.setattr(threading.Thread, "start", lambda self: (_ for _ in ()).throw(RuntimeError))
        hooks.emit("worker.died", "Sanic-Server-0-0", 1)
        hooks.turn()
    hooks.finish()
    assert heard == [1]


def test_a_coroutine_that_a_hook_returns_is_an_error_and_the_next_hook_is_called(caplog):
    async def hear(event): ...

    heard = []
    hooks = Hooks([(None, lambda event: hear(event)), (None, heard.append)])
    hooks.emit("worker.died", "Sanic-Server-0-0", 1)
    hooks.finish()
    assert len(heard) == 1
    [error] = caplog.messages
    assert "has failed for worker.died" in error
    assert "returns a coroutine, which nobody awaits" in error


def test_when_the_thread_of_the_hooks_has_failed_another_one_goes_on(monkeypatch):
    """The exception of a hook is caught, and logged. Here that fails too."""
    heard, failures = [], []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    monkeypatch.setattr(events.log, "exception", interrupt)

    def hook(event):
        heard.append(event.pid)
        raise RuntimeError("the pager is broken")

    hooks = Hooks([(None, hook)])
    for pid in range(2):
        hooks.emit("worker.died", "Sanic-Server-0-0", pid)
        hooks.finish()
        assert hooks._thread is None
    assert heard == [0, 1]
    assert [one.exc_type for one in failures] == [KeyboardInterrupt] * 2


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt
