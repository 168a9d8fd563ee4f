"""The exit of the interpreter after the server: which threads it waits for, and who is told."""

from __future__ import annotations

import atexit
import io
import os
import signal
import sys
import threading
from types import SimpleNamespace

import pytest

from sanic_reaper.main import aftermath


class Waiting(threading.Thread):
    """One that the exit of the interpreter would wait for."""

    def __init__(self) -> None:
        super().__init__(name="metrics")
        self.is_over = threading.Event()

    def run(self) -> None:
        self.is_over.wait(60)

    def end(self) -> None:
        self.is_over.set()
        self.join()


@pytest.fixture
def thread():
    thread = Waiting()
    thread.start()
    yield thread
    thread.end()


@pytest.fixture(autouse=True)
def each_line_is_kept(caplog):
    caplog.set_level("INFO", "sanic.root")


NAMED = "[reaper] the server has stopped; the exit of the interpreter waits for the thread metrics"


@pytest.mark.parametrize(("has_ended", "said"), [(False, [NAMED]), (True, [])])
def test_a_thread_is_named_if_it_is_waited_for_long(thread, caplog, monkeypatch, has_ended, said):
    long = threading.Event()
    monkeypatch.setattr(aftermath, "time", SimpleNamespace(sleep=lambda seconds: long.wait(60)))
    aftermath.name_threads_that_are_waited_for(set())
    [watch] = [one for one in threading.enumerate() if one.name == "reaper-exit"]
    if has_ended:
        thread.end()
    long.set()
    watch.join()
    assert caplog.messages == said


def test_where_no_thread_can_be_started_none_is_named(thread, caplog, monkeypatch):
    tried = []

    def refuse(self: threading.Thread) -> None:
        tried.append(self.name)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    aftermath.name_threads_that_are_waited_for(set())
    assert (tried, caplog.messages) == (["reaper-exit"], [])


@pytest.fixture
def alarms(monkeypatch):
    """The alarms that are set. None of them comes by itself."""
    alarms: list[float] = []
    monkeypatch.setattr(aftermath, "alarm_in", alarms.append)
    before = signal.getsignal(signal.SIGALRM)
    yield alarms
    signal.signal(signal.SIGALRM, before)


def test_an_exit_is_not_cut_short_where_the_thread_of_the_listener_has_ended(
    thread, caplog, alarms, monkeypatch
):
    """The interpreter has run its exit handlers by then, or still does."""
    exits: list[str] = []
    monkeypatch.setattr(aftermath, "_exit_now", lambda: exits.append("now"))
    aftermath.leave_threads({thread})
    thread.end()
    signal.raise_signal(signal.SIGALRM)
    assert (exits, caplog.messages) == ([], [])
    assert alarms == [aftermath.THREADS_LEFT_AFTER], "and no other alarm follows"


class Stream(io.StringIO):
    def __init__(self, done: list[str], name: str) -> None:
        super().__init__()
        self._done, self._name = done, name

    def flush(self) -> None:
        self._done.append(f"{self._name} is flushed")
        raise BrokenPipeError


def test_an_exit_that_leaves_threads_does_all_else_whatever_fails(monkeypatch):
    """As the interpreter does: exit handlers, then the streams."""
    done: list[object] = []

    def run_exit_handlers() -> None:
        done.append("exit handlers")
        raise SystemError

    monkeypatch.setattr(atexit, "_run_exitfuncs", run_exit_handlers)
    monkeypatch.setattr(os, "_exit", done.append)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Stream(done, name))
    aftermath._exit_now()
    monkeypatch.undo()
    assert done == ["exit handlers", "stdout is flushed", "stderr is flushed", 0]
