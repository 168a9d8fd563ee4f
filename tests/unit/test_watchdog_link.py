"""Who watches where the watchdog can't be started, or does not answer. Each step is logged."""

from __future__ import annotations

import os
import sys
import time

import pytest

from sanic_reaper.main import watchdog_process
from sanic_reaper.main.inline_watch import InlineWatch
from sanic_reaper.main.watchdog_link import WatchdogLink
from sanic_reaper.main.watchdog_process import WatchdogProcess
from sanic_reaper.tree.process import start_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_a_watchdog_that_does_not_answer(lines, monkeypatch):
    monkeypatch.setattr(watchdog_process, "_COMMAND", ["sh", "-c", "exec sleep 60"])
    monkeypatch.setattr(watchdog_process, "HELLO", 0.1)
    watchdog = WatchdogProcess((os.getpid(), start_of(os.getpid())), "run", 1.0)
    with pytest.raises(TimeoutError):
        watchdog.confirm()
    assert watchdog._process.returncode is not None
    [line] = lines
    assert f"SIGKILL to watchdog [{watchdog.pid}]: started by main" in line


def test_a_watchdog_that_cannot_be_started_is_tried_ever_more_rarely(lines, monkeypatch):
    monkeypatch.setattr(watchdog_process, "_COMMAND", ["/nowhere/python"])
    me = (os.getpid(), start_of(os.getpid()))
    stranger = (os.getppid(), start_of(os.getppid()))
    link = WatchdogLink(me, "run", 1.0, {}, lambda identity: None, lambda: None)
    began = time.monotonic()
    link.start({stranger}, ())
    link.confirm()
    for pause in (0.5, 1.0, 2.0, 4.0):
        assert link._retry_at - time.monotonic() <= pause <= link._retry_at - began
        began = time.monotonic()
        link._replace()
    assert all("cannot be started" in line for line in lines), "and none has died"
    assert isinstance(link._endpoint, InlineWatch)
    assert ["exclude", *map(str, stranger)] in link._endpoint._inbox
