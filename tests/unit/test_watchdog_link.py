"""Who watches where the watchdog can't be started, or does not answer. Each step is logged."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest
from support.census import wait_until

from sanic_reaper import platform
from sanic_reaper.main import watchdog_process
from sanic_reaper.main.inline_watch import InlineWatch
from sanic_reaper.main.watchdog_link import WatchdogLink
from sanic_reaper.main.watchdog_process import WatchdogProcess
from sanic_reaper.protocol import watchdog as wire
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


class Nobody:
    """Where a link begins that has started no watchdog yet."""

    def __init__(self, monkeypatch) -> None:
        self.me = (os.getpid(), start_of(os.getpid()))
        self.link = WatchdogLink(self.me, "run", 1.0, {}, lambda identity: None, lambda: None)
        with monkeypatch.context() as scarce:
            scarce.setattr(watchdog_process, "_COMMAND", ["/nowhere/python"])
            self.link.start(set(), ())
            self.link.confirm()


def test_one_that_can_be_started_after_all_takes_over(lines, caplog, monkeypatch):
    caplog.set_level("INFO", "sanic.root")
    link = Nobody(monkeypatch).link
    link.check(time.monotonic() + 60)
    assert isinstance(link._endpoint, WatchdogProcess)
    assert link._endpoint.alive()
    assert lines[-1] == "[reaper] the watchdog has been started"
    process = link._endpoint._process
    link.dismiss()
    assert process.wait(20) == 0


def test_a_new_one_is_told_how_far_the_stop_has_come(monkeypatch):
    link = Nobody(monkeypatch).link
    monkeypatch.setattr(watchdog_process, "_COMMAND", ["/nowhere/python"])
    link.stop(1.0, 2.0)
    link.kill()
    link.finish()
    link.hand_over()
    link.check(time.monotonic() + 60)
    told = [words[0] for words in link._endpoint._inbox]
    assert told[-4:] == ["stop", "kill", "finish", "handover"]


def test_a_watchdog_that_was_stopped_by_a_signal_is_continued(lines):
    watchdog = WatchdogProcess((os.getpid(), start_of(os.getpid())), "run", 1.0)
    watchdog.confirm()
    os.kill(watchdog.pid, signal.SIGSTOP)
    wait_until(lambda: platform.row(watchdog.pid).stopped, 20, "it is stopped")
    assert watchdog.alive()
    wait_until(lambda: not platform.row(watchdog.pid).stopped, 20, "it is continued")
    watchdog.end()
    assert lines == [f"[reaper] SIGCONT to watchdog [{watchdog.pid}]: it was stopped by a signal"]


def test_where_the_watchdog_does_not_answer_main_watches(lines, monkeypatch):
    monkeypatch.setattr(watchdog_process, "_COMMAND", ["sh", "-c", "exec sleep 60"])
    monkeypatch.setattr(watchdog_process, "HELLO", 0.1)
    me = (os.getpid(), start_of(os.getpid()))
    link = WatchdogLink(me, "run", 1.0, {}, lambda identity: None, lambda: None)
    link.start(set(), ())
    link.confirm()
    assert isinstance(link._endpoint, InlineWatch)
    assert "the watchdog cannot be started" in lines[-1]


def test_what_the_watchdog_says_is_logged_at_its_level(monkeypatch, caplog):
    link = Nobody(monkeypatch).link
    caplog.clear()
    link.handlers[wire.LOG]("ERROR", "100 % of it")
    [record] = caplog.records
    assert (record.levelname, record.getMessage()) == ("ERROR", "[reaper] 100 % of it")
