"""What a worker answers, by what main has written into the pipe of its questions."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Any

import pytest
from support.reports import nowhere

from sanic_reaper.main.question_pipe import QuestionPipe
from sanic_reaper.main.reader import Reader
from sanic_reaper.model.questions import EVERY_REQUEST, EVERY_TASK, REQUEST
from sanic_reaper.model.stacks import frames_of
from sanic_reaper.protocol.worker import read
from sanic_reaper.worker import reports as reports_module
from sanic_reaper.worker.alarm import Alarm
from sanic_reaper.worker.handlers import Place, StartupTimeout
from sanic_reaper.worker.reports import SHOWN_UNASKED, Reports


class Many:
    """Stands in for the requests in flight of a worker."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.frames: list[Any] = []

    def found(self):
        return list(range(self.number))

    def with_forgotten(self, found):
        return found

    def foremost(self, found, most):
        return found[:most]

    def described(self, found, frame=None):
        if found == "bad":
            raise ValueError
        return ["GET", f"/{found}", "", "", "handler", 1.0, "HTTP", False, self.frames]


def answer_of(ends, many, *wanted):
    """What main reads after a question, as far as a pipe holds it."""
    reader, reports = Reader(ends[0].reports), Reports(ends[1].reports, nowhere, many, ends[1][1])
    questions = QuestionPipe(ends[0].questions)
    for words in wanted:
        questions.write(words)
    os.kill(os.getpid(), REQUEST)
    messages, stack = reader.read()
    assert reports
    reader.close()
    questions.close()
    return messages[1:], stack


def paths_in(messages):
    return [message[2] for message in messages if message[0] == "request"]


@pytest.mark.parametrize(
    ("wanted", "number"), [((), SHOWN_UNASKED), ((EVERY_REQUEST,), 25), (("nonsense",), 10)]
)
def test_an_answer_has_the_foremost_requests_or_every_one(ends, wanted, number):
    messages, stack = answer_of(ends, Many(25), *wanted)
    assert paths_in(messages) == [f"/{at}" for at in range(number)]
    assert messages[-1] == ["where", False, [], 25], "it is the last one, and has their number"
    assert frames_of(stack)
    for message in messages:
        assert read(message)


def test_a_question_counts_once(ends):
    reader, reports = Reader(ends[0].reports), Reports(ends[1][0], nowhere, Many(25), ends[1][1])
    questions = QuestionPipe(ends[0].questions)
    questions.write(EVERY_REQUEST)
    for number in (25, SHOWN_UNASKED):
        os.kill(os.getpid(), REQUEST)
        assert len(paths_in(reader.read()[0])) == number
    assert reports
    reader.close()
    questions.close()


def test_tasks_are_those_of_the_loop(ends):
    async def asked():
        waiting = asyncio.create_task(asyncio.sleep(60), name="ticker")
        await asyncio.sleep(0)
        messages, _ = answer_of(ends, Many(0), EVERY_TASK)
        waiting.cancel()
        return messages

    messages = asyncio.run(asked())
    tasks = {message[1]: message[2:] for message in messages if message[0] == "task"}
    assert tasks["ticker"][:2] == ["sleep", False]
    assert [running for _, running, _ in tasks.values()].count(True) == 1
    assert messages[-1][0] == "where"


def test_a_request_that_fails_to_be_described_fails_nothing_else(ends):
    many = Many(3)
    many.found = lambda: [0, "bad", 2]
    messages, _ = answer_of(ends, many)
    assert paths_in(messages) == ["/0"]
    assert messages[-1] == ["where", False, [], 3]


def test_a_stack_that_is_deep_arrives_as_a_whole(ends):
    """A pipe holds it. A socket does not: the kernel charges each small write for a whole page."""

    def deeper(left):
        return deeper(left - 1) if left else answer_of(ends, Many(0))

    _, stack = deeper(80)
    assert [name for _, _, name in frames_of(stack)].count("deeper") == 81


def test_a_long_answer_waits_for_main_to_read(ends):
    many = Many(3000)
    many.frames = [["/srv/shop/app.py", 3, "load"]] * 20
    reader = Reader(ends[0].reports)
    reports = Reports(ends[1].reports, nowhere, many, ends[1].questions)
    found: list[Any] = []

    def read_on():
        while not found or found[-1][0] != "where":
            found.extend(reader.read()[0])

    thread = threading.Thread(target=read_on)
    thread.start()
    questions = QuestionPipe(ends[0].questions)
    questions.write(EVERY_REQUEST)
    os.kill(os.getpid(), REQUEST)
    thread.join(30)
    assert not thread.is_alive()
    assert len(paths_in(found)) == 3000
    assert reports
    reader.close()
    questions.close()


def test_main_that_does_not_read_gets_what_the_pipe_holds(ends, monkeypatch):
    monkeypatch.setattr(reports_module, "LONGEST_ANSWER", 0.2)
    many = Many(3000)
    many.frames = [["/srv/shop/app.py", 3, "load"]] * 20
    messages, _ = answer_of(ends, many, EVERY_REQUEST)
    assert 10 < len(paths_in(messages)) < 3000
    assert len(messages) == len(paths_in(messages)), "there was no room for the last one"


def test_what_follows_a_message_that_was_cut_is_a_line_of_its_own(ends, monkeypatch):
    monkeypatch.setattr(reports_module, "LONGEST_ANSWER", 0.1)
    reader, reports = Reader(ends[0][0]), Reports(ends[1][0], nowhere, Many(3000), ends[1][1])
    questions = QuestionPipe(ends[0].questions)
    questions.write(EVERY_REQUEST)
    questions.close()
    os.kill(os.getpid(), REQUEST)
    assert reports._torn
    reader.read()
    assert reports.send("open")
    assert reader.read()[0] == [["open"]]
    reader.close()


def test_nothing_is_read_from_a_descriptor_that_is_another_files_by_now(ends):
    """A client's request would be eaten, by a worker whose code has closed what is not its own."""
    reports = Reports(ends[1].reports, nowhere, Many(25), ends[1].questions)
    read_end, write_end = os.pipe()
    os.dup2(read_end, ends[1].questions.fileno())
    os.write(write_end, b"GET / HTTP/1.1")
    os.kill(os.getpid(), REQUEST)
    assert reports
    assert os.read(read_end, 100) == b"GET / HTTP/1.1"
    os.close(read_end)
    os.close(write_end)


def test_nothing_is_written_to_a_question_pipe_that_user_code_has_closed(ends):
    questions = QuestionPipe(ends[0].questions)
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    taken = os.dup2(write_end, questions._fd)
    questions.write(EVERY_REQUEST)
    questions.close()
    with pytest.raises(BlockingIOError):
        os.read(read_end, 100)
    for fd in (read_end, write_end, taken):
        os.close(fd)


def test_a_worker_that_reads_no_questions_holds_nobody_up(ends):
    questions = QuestionPipe(ends[0].questions)
    for _ in range(100_000):
        questions.write(EVERY_REQUEST)
    ends[1].questions.close()
    questions.write(EVERY_REQUEST)
    questions.close()
    QuestionPipe(None).write(EVERY_REQUEST)


class Slow(Many):
    """Each of its requests takes a while to be described."""

    def described(self, found, frame=None):
        time.sleep(0.01)
        return super().described(found, frame)


def test_an_answer_takes_no_longer_than_it_may_also_if_main_reads_all_of_it(ends, monkeypatch):
    """The event loop of the worker stands still meanwhile."""
    monkeypatch.setattr(reports_module, "LONGEST_ANSWER", 0.2)
    messages, _ = answer_of(ends, Slow(500), EVERY_REQUEST)
    assert 0 < len(paths_in(messages)) < 100
    assert messages[-1] == ["where", False, [], 500]


@pytest.mark.parametrize("room", [1, 2, 3, 5, 8, 12, 20])
def test_code_that_is_nearly_too_deep_hears_nothing_of_a_question(ends, room):
    reports = Reports(ends[1].reports, nowhere, Many(3), ends[1].questions)

    def deepest(depth=0):
        try:
            return deepest(depth + 1)
        except RecursionError:
            return depth

    def asked_at(depth):
        if depth > 0:
            asked_at(depth - 1)
        else:
            os.kill(os.getpid(), REQUEST)

    asked_at(deepest() - room)
    assert reports


def test_a_limit_that_is_reached_during_an_answer_is_raised_after_it(ends):
    """Also with other threads, to which the kernel may give the alarm."""
    limit = StartupTimeout(Place("load", "app.py", 3), 0.05, "@startup_timeout")
    reader, ended = Reader(ends[0].reports), threading.Event()
    reports = Reports(ends[1].reports, nowhere, Slow(20), ends[1].questions)

    def ring():
        raise limit

    threading.Thread(target=ended.wait).start()
    with pytest.raises(StartupTimeout), Alarm(0.05, ring):
        os.kill(os.getpid(), REQUEST)
    ended.set()
    assert reader.read()[0][-1] == ["where", False, [], 20]
    assert reports
    reader.close()
