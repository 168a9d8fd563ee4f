"""The worker's end of the pipe to main: what it sends, and who may send."""

from __future__ import annotations

import faulthandler
import os
import signal
import threading

import pytest
from support.census import wait_until
from support.reports import nowhere

from sanic_reaper.main.reader import Reader
from sanic_reaper.main.worker_link import WorkerLink
from sanic_reaper.model.questions import REQUEST, REQUESTS, VERSION
from sanic_reaper.model.stacks import frames_of, other_threads
from sanic_reaper.tree.process import start_of
from sanic_reaper.worker.in_flight import InFlight
from sanic_reaper.worker.reports import Reports


def test_messages_arrive_in_order(pipe):
    reader, reports = Reader(pipe[0]), Reports(pipe[1], nowhere, InFlight([]))
    assert reports.send("begin", "handler", "file\nwith a break", 3, 0.5)
    assert reports.send("end")
    messages, stack = reader.read()
    assert messages == [
        ["hello", VERSION, REQUEST],
        ["begin", "handler", "file\nwith a break", 3, 0.5],
        ["end"],
    ]
    assert stack == ""


def test_main_that_does_not_read_holds_nobody_up(pipe):
    reports = Reports(pipe[1], nowhere, InFlight([]))
    while reports.send("x" * 1000):
        pass
    assert not reports.send("x" * 1000)


def test_main_that_is_gone_holds_nobody_up(pipe):
    reports = Reports(pipe[1], nowhere, InFlight([]))
    pipe[0].close()
    assert not reports.send("begin")


def test_a_child_of_the_workers_tells_nothing(pipe):
    reports = Reports(pipe[1], nowhere, InFlight([]))
    child = os.fork()
    if child == 0:
        os._exit(int(reports.send("I am not the worker")))
    assert os.waitpid(child, 0)[1] == 0
    assert Reader(pipe[0]).read()[0] == [["hello", VERSION, REQUEST]]


def test_a_request_is_answered_with_the_stack_and_with_what_is_not_on_it(pipe):
    reader = Reader(pipe[0])
    Reports(pipe[1], lambda frame: [True, [("app.py", 7, "load")]], InFlight([]))

    def asked_here():
        os.kill(os.getpid(), REQUEST)

    asked_here()
    messages, stack = reader.read()
    assert messages == [["hello", VERSION, REQUEST], ["where", True, [["app.py", 7, "load"]], 0]]
    file, _, name = frames_of(stack)[0]
    assert (file, name) == (__file__, "asked_here")


def test_where_there_is_no_stack_what_is_not_on_it_is_told_all_the_same(pipe, monkeypatch):
    """`faulthandler` can't be asked by a signal on each system (CPython, `faulthandler.c`)."""
    monkeypatch.delattr("faulthandler.register")
    monkeypatch.delattr("faulthandler.unregister")
    Reports(pipe[1], lambda frame: [True, [("app.py", 7, "load")]], InFlight([]))
    os.kill(os.getpid(), REQUEST)
    messages, stack = Reader(pipe[0]).read()
    assert messages == [["hello", VERSION, REQUEST], ["where", True, [["app.py", 7, "load"]], 0]]
    assert stack == ""


@pytest.mark.parametrize("asks", [True, False], ids=["a signal", "no signal"])
def test_a_pipe_that_user_code_has_closed_gets_nothing_more(pipe, tmp_path, asks):
    """Whatever has its number by now, and whether or not main could ask by a signal."""
    taken = {one: signal.getsignal(one) for one in REQUESTS}
    if not asks:
        for one in REQUESTS:
            signal.signal(one, lambda signum, frame: None)
    try:
        reports = Reports(pipe[1], nowhere, InFlight([]))
        assert Reader(pipe[0]).read()[0] == [["hello", VERSION, REQUEST if asks else 0]]
        with (tmp_path / "users").open("w") as users:
            os.dup2(users.fileno(), pipe[1].fileno())
        assert [reports.send("begin"), reports.send("end")] == [False, False]
        if asks:
            os.kill(os.getpid(), REQUEST)  # no stack either
        assert (tmp_path / "users").read_text() == ""
    finally:
        for one, handler in taken.items():
            signal.signal(one, handler)


def test_other_threads_are_shown_apart(pipe):
    reader = Reader(pipe[0])
    Reports(pipe[1], nowhere, InFlight([]))
    release = threading.Event()

    def waiting_elsewhere():
        release.wait(5)

    thread = threading.Thread(target=waiting_elsewhere)
    thread.start()
    os.kill(os.getpid(), REQUEST)
    _, stack = reader.read()
    release.set()
    thread.join()
    assert any("waiting_elsewhere" in line for line in other_threads(stack))
    assert not any("test_other_threads" in line for line in other_threads(stack))


def test_nothing_is_written_to_a_descriptor_that_is_another_files_by_now(pipe):
    reports = Reports(pipe[1], nowhere, InFlight([]))
    mine, other = os.pipe()
    os.dup2(other, pipe[1].fileno())
    assert not reports.send("open")
    os.close(other)
    pipe[1].close()
    assert os.read(mine, 100) == b""
    os.close(mine)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_signal_that_the_users_code_handles_is_left_to_it(pipe, when):
    """Another one is taken, and main hears of that."""
    link = WorkerLink(me(), pipe[0], "Sanic-Server-0-0")
    asked = []
    if when == "after":
        reports = Reports(pipe[1], nowhere, InFlight([]))
    signal.signal(REQUEST, lambda *_: asked.append("by somebody else"))
    if when == "before":
        reports = Reports(pipe[1], nowhere, InFlight([]))
    assert reports.send("beat", 1)
    link.hear()
    assert link._request == REQUESTS[1]
    answers = []
    link.ask(lambda frames, how: answers.append(how))
    wait_until(lambda: link.turn() or answers, 5, "an answer")
    assert asked == []
    os.kill(os.getpid(), REQUEST)
    wait_until(lambda: asked == ["by somebody else"], 5, "their handler to be called")
    faulthandler.unregister(REQUESTS[1])
    signal.signal(REQUESTS[1], signal.SIG_DFL)


def me() -> tuple[int, int]:
    return os.getpid(), start_of(os.getpid())
