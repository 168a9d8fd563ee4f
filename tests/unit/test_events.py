"""Hooks at the server's end: who is waited for, and for how long."""

from __future__ import annotations

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
        hooks.tell("worker.died", "Sanic-Server-0-0", pid)
    assert arrived.wait(5)
    return hooks


def test_what_is_untold_at_the_end_is_told(hooks, gate, heard, monkeypatch, caplog):
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
    assert caplog.messages == ["[reaper] a hook does not return; 2 events are not told"]
