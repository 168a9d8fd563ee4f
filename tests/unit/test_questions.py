"""Whom main asks, by which signal, and who shares an answer."""

from __future__ import annotations

import subprocess

import pytest
from support.census import wait_until
from support.programs import program
from support.reports import STACK_TEXT, WHERE

from sanic_reaper import platform
from sanic_reaper.main import worker_link
from sanic_reaper.main.worker_link import WorkerLink
from sanic_reaper.model.questions import EVERY_REQUEST, EVERY_TASK, REQUEST, VERSION
from sanic_reaper.model.requests import InFlight as Told
from sanic_reaper.tree.process import start_of
from sanic_reaper.worker.explanations import BLOCKING, EXITED

IN_C = f"{BLOCKING}, in C code that holds the GIL or does not return"


@pytest.mark.parametrize("age", [0, -1, None], ids=["itself", "a namesake", "after the end"])
def test_the_question_reaches_the_worker_or_nobody(pipe, sleeper, age):
    """It would end whoever has got the pid meanwhile: `sleep` does not expect it either."""
    link = WorkerLink(
        (sleeper.pid, start_of(sleeper.pid) + (age or 0)), pipe[0], "Sanic-Server-0-0"
    )
    if age is None:
        link.close()
    link.ask(lambda frames, how: None)
    if age == 0:
        assert sleeper.wait(5) == -REQUEST
    else:
        with pytest.raises(subprocess.TimeoutExpired):
            sleeper.wait(0.3)
    link.close()


def test_a_worker_that_does_not_answer(pipe):
    """It has blocked the signal, or never gets a core: nothing is known of it but that."""
    deaf = f"import signal, time; signal.signal({int(REQUEST)}, signal.SIG_IGN); print(flush=True)"
    with program(f"{deaf}; time.sleep(60)") as worker:
        link = WorkerLink((worker.pid, start_of(worker.pid)), pipe[0], "Sanic-Server-0-0")
        answers = []
        link.ask(lambda frames, how: answers.append((frames, how)))
        wait_until(lambda: link.turn() or answers, 5, "an answer")
        assert answers == [([], "and does not answer")]
        link.close()


def test_everybody_who_asks_is_answered_once_and_with_nothing_older(asked):
    link, show, _ = asked
    answers = []

    def reply(who):
        return lambda frames, how: answers.append((who, frames[0][1]))

    link.ask(reply("a warning"))
    link.ask(reply("a dump, before the stack"))
    show(STACK_TEXT.format(1))
    link.turn()
    link.ask(reply("a dump, after it"))
    link.ask(reply("a verdict"), is_verdict=True)
    assert answers == []
    show(WHERE)
    link.turn()
    assert answers == [("a warning", 1), ("a dump, before the stack", 1), ("a verdict", 1)]
    show(STACK_TEXT.format(2) + WHERE)
    link.turn()
    assert answers[3:] == [("a dump, after it", 2)]
    link.turn()
    assert len(answers) == 4


def test_who_asks_a_worker_that_exits_hears_of_that(asked):
    link, show, _ = asked
    answers = []
    link.ask(lambda frames, how: answers.append(how))
    show(STACK_TEXT.format(1))
    link.turn()
    link.ask(lambda frames, how: answers.append(how))
    link.close()
    link.ask(lambda frames, how: answers.append(how))
    assert answers == [EXITED] * 3


def test_one_that_has_exited_and_is_not_buried_yet(asked):
    link, _, worker = asked
    answers = []
    worker.kill()
    wait_until(lambda: not platform.row(worker.pid).alive, 5, "its end")
    link.ask(lambda frames, how: answers.append(how))
    wait_until(lambda: link.turn() or answers, 5, "an answer")
    assert answers == [EXITED]


@pytest.mark.parametrize("said", [9, 15, 0, -9, 4711, 2**40])
def test_main_asks_by_no_other_signal_whatever_it_is_told(asked, said):
    """Also where it does not look first whether the worker can be asked: of a loop that stands
    still, and of a handler that is slow."""
    link, show, worker = asked
    show(f'\x1e["hello", {VERSION}, {said}]\n')
    link.hear()
    assert not link.can_be_asked
    answers = []
    link.ask(lambda frames, how: answers.append(how))
    wait_until(lambda: link.turn() or answers, 5, "an answer")
    assert answers == ["and does not answer"]
    assert worker.poll() is None


class Asking:
    """Main's link to a process that shows what the test says, and who was answered how."""

    def __init__(self, link, show) -> None:
        self.link = link
        self.show = show
        self.answers: list[tuple[str, str, int]] = []

    def ask(self, who, want="", is_verdict=False):
        def reply(frames, how):
            self.answers.append((who, how, len(self.link.in_flight.requests)))

        self.link.ask(reply, is_verdict, want)

    def answer(self, requests=0, total=None):
        self.show(STACK_TEXT.format(1))
        for at in range(requests):
            self.show(f'\x1e["request","GET","/{at}","","","handler",1.0,"HTTP",false,[]]\n')
        self.show(f'\x1e["where", false, [], {requests if total is None else total}]\n')
        self.link.turn()


@pytest.fixture
def asking(asked):
    link, show, _ = asked
    return Asking(link, show)


def test_who_wants_the_same_shares_the_answer(asking):
    asking.ask("one", EVERY_REQUEST)
    asking.ask("two", EVERY_REQUEST)
    asking.ask("a dump")
    asking.answer(requests=3)
    assert asking.answers == [(who, BLOCKING, 3) for who in ("one", "two", "a dump")]
    assert asking.link.in_flight.total == 3
    assert asking.link.answered_at is not None


def test_who_wants_more_gets_the_next_answer(asking):
    asking.ask("a dump")
    asking.ask("all", EVERY_REQUEST)
    asking.ask("tasks", EVERY_TASK)
    asking.ask("all of them too", EVERY_REQUEST)
    asking.answer(requests=1)
    assert asking.answers == [("a dump", BLOCKING, 1)]
    assert asking.link.answered_at is None, "the next answer is awaited"
    asking.answer(requests=20)
    assert asking.answers[1:] == [("all", BLOCKING, 20), ("all of them too", BLOCKING, 20)]
    asking.answer()
    assert asking.answers[3:] == [("tasks", BLOCKING, 0)]


def test_a_verdict_takes_whatever_answer_comes_next(asking):
    asking.ask("all", EVERY_REQUEST)
    asking.ask("a verdict", is_verdict=True)
    asking.answer(requests=2)
    assert [who for who, *_ in asking.answers] == ["all", "a verdict"]


def test_nothing_is_known_of_the_requests_while_an_answer_is_awaited(asking):
    asking.ask("one")
    asking.answer(requests=2)
    assert asking.link.in_flight.total == 2
    asking.ask("two")
    assert asking.link.in_flight == Told()
    assert asking.link.answered_at is None


def test_each_of_several_wants_hears_of_an_exit(asking):
    for who, want in (("a", ""), ("b", EVERY_REQUEST), ("c", EVERY_TASK), ("d", EVERY_REQUEST)):
        asking.ask(who, want)
    asking.link.close()
    assert sorted(asking.answers) == [(who, EXITED, 0) for who in "abcd"]


def test_a_list_may_take_longer_than_a_stack_and_not_for_ever(asking, monkeypatch):
    asking.ask("all", EVERY_REQUEST)
    asking.show(STACK_TEXT.format(1))
    asking.show('\x1e["request","GET","/","","","handler",1.0,"HTTP",false,[]]\n')
    asking.link.turn()
    asking.link._asked -= worker_link.LATEST + 0.1
    asking.link.turn()
    assert asking.answers == [], "its first part has come"
    asking.link._asked -= worker_link.LISTING
    asking.link.turn()
    assert asking.answers == [("all", IN_C, 0)]


def test_a_list_of_which_nothing_comes_takes_no_longer_than_a_stack(asking):
    asking.ask("all", EVERY_REQUEST)
    asking.show(STACK_TEXT.format(1))
    asking.link.turn()
    asking.link._asked -= worker_link.LATEST + 0.1
    asking.link.turn()
    assert asking.answers == [("all", IN_C, 0)]


def test_main_is_woken_by_a_worker_that_lists_and_by_no_other(asking):
    assert asking.link.news == []
    asking.ask("a dump")
    assert asking.link.news == []
    asking.answer()
    asking.ask("all", EVERY_REQUEST)
    [fd] = asking.link.news
    assert platform.mark_of(fd) is not None
    asking.answer()
    assert asking.link.news == []
