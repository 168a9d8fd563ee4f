"""The pipe on which a worker tells main of its start, with both ends in this process."""

from __future__ import annotations

import faulthandler
import fcntl
import os
import re
import signal
import subprocess
import threading
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.census import wait_until
from support.programs import program

from sanic_reaper import platform
from sanic_reaper.compat import contracts
from sanic_reaper.config import Settings
from sanic_reaper.main import reader as reader_module
from sanic_reaper.main.reader import Reader
from sanic_reaper.main.slow import SlowHandlers
from sanic_reaper.main.start_step import BACKGROUND_GRACE, HANDLER_GRACE
from sanic_reaper.main.startup import StartupTracker
from sanic_reaper.main.worker import Worker
from sanic_reaper.main.worker_link import WorkerLink
from sanic_reaper.model import lifecycle
from sanic_reaper.model.questions import REQUEST, REQUESTS, VERSION
from sanic_reaper.model.stacks import frames_of, other_threads
from sanic_reaper.protocol.watchdog import NotUnderstood
from sanic_reaper.protocol.worker import WORDS, read
from sanic_reaper.tree.process import start_of
from sanic_reaper.worker import startup
from sanic_reaper.worker.explanations import EXITED
from sanic_reaper.worker.reports import Reports


@pytest.fixture
def pipe():
    before = signal.getsignal(REQUEST)
    receiver, sender = Pipe(duplex=False)
    yield receiver, sender
    faulthandler.unregister(REQUEST)
    signal.signal(REQUEST, before)
    receiver.close()
    sender.close()


def nowhere(frame):
    return [False, []]


def test_messages_arrive_in_order(pipe):
    reader, reports = Reader(pipe[0]), Reports(pipe[1], nowhere)
    assert reports.send("begin", "handler", "file\nwith a break", 3, 0.5)
    assert reports.send("end")
    messages, stack = reader.read()
    assert messages == [
        ["hello", VERSION, REQUEST],
        ["begin", "handler", "file\nwith a break", 3, 0.5],
        ["end"],
    ]
    assert stack == ""


def test_nothing_to_read_is_no_error(pipe):
    reader = Reader(pipe[0])
    assert reader.read() == ([], "")
    pipe[1].close()
    assert reader.read() == ([], "")


def test_half_a_message_waits_for_its_rest(pipe):
    reader = Reader(pipe[0])
    os.write(pipe[1].fileno(), b'\x1e["be')
    assert reader.read() == ([], "")
    os.write(pipe[1].fileno(), b'gin"]\n')
    assert reader.read() == ([["begin"]], "")


def test_a_message_that_a_stack_has_torn_is_dropped(pipe):
    reader = Reader(pipe[0])
    os.write(pipe[1].fileno(), b'\x1e["beThread 0x1:\n  File "a.py", line 1 in f\n\x1e["end"]\n')
    messages, stack = reader.read()
    assert messages == [["end"]]
    assert stack == '  File "a.py", line 1 in f\n'


def test_main_that_does_not_read_holds_nobody_up(pipe):
    reports = Reports(pipe[1], nowhere)
    while reports.send("x" * 1000):
        pass
    assert not reports.send("x" * 1000)


def test_main_that_is_gone_holds_nobody_up(pipe):
    reports = Reports(pipe[1], nowhere)
    pipe[0].close()
    assert not reports.send("begin")


def test_a_child_of_the_workers_tells_nothing(pipe):
    reports = Reports(pipe[1], nowhere)
    child = os.fork()
    if child == 0:
        os._exit(int(reports.send("I am not the worker")))
    assert os.waitpid(child, 0)[1] == 0
    assert Reader(pipe[0]).read()[0] == [["hello", VERSION, REQUEST]]


def test_a_request_is_answered_with_the_stack_and_with_what_is_not_on_it(pipe):
    reader = Reader(pipe[0])
    Reports(pipe[1], lambda frame: [True, [("app.py", 7, "load")]])

    def asked_here():
        os.kill(os.getpid(), REQUEST)

    asked_here()
    messages, stack = reader.read()
    assert messages == [["hello", VERSION, REQUEST], ["where", True, [["app.py", 7, "load"]]]]
    file, _, name = frames_of(stack)[0]
    assert (file, name) == (__file__, "asked_here")


def test_where_there_is_no_stack_what_is_not_on_it_is_told_all_the_same(pipe, monkeypatch):
    """`faulthandler` can't be asked by a signal on each system (CPython, `faulthandler.c`)."""
    monkeypatch.delattr("faulthandler.register")
    monkeypatch.delattr("faulthandler.unregister")
    Reports(pipe[1], lambda frame: [True, [("app.py", 7, "load")]])
    os.kill(os.getpid(), REQUEST)
    messages, stack = Reader(pipe[0]).read()
    assert messages == [["hello", VERSION, REQUEST], ["where", True, [["app.py", 7, "load"]]]]
    assert stack == ""


@pytest.mark.parametrize("asks", [True, False], ids=["a signal", "no signal"])
def test_a_pipe_that_user_code_has_closed_gets_nothing_more(pipe, tmp_path, asks):
    """Whatever has its number by now, and whether or not main could ask by a signal."""
    taken = {one: signal.getsignal(one) for one in REQUESTS}
    if not asks:
        for one in REQUESTS:
            signal.signal(one, lambda signum, frame: None)
    try:
        reports = Reports(pipe[1], nowhere)
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
    Reports(pipe[1], nowhere)
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


STACK = """\
Thread 0x00007f (most recent call first):
  File "/lib/threading.py", line 1 in wait

Current thread 0x00007e (most recent call first):
  File "/srv/a b.py", line 12 in load
  File "/srv/app.py", line 3 in <module>
"""


@pytest.mark.parametrize(
    ("stack", "frames"),
    [
        (STACK, [("/srv/a b.py", 12, "load"), ("/srv/app.py", 3, "<module>")]),
        (STACK.partition("Current")[0], [("/lib/threading.py", 1, "wait")]),
        ('Stack (most recent call first):\n  File "a.py", line 1 in f\n', [("a.py", 1, "f")]),
        ('Current thread 0x1 (x):\n  File "a.py", line ??? in f\n', [("a.py", 0, "f")]),
        ("", []),
        ("Segmentation fault\n", []),
    ],
)
def test_what_faulthandler_writes(stack, frames):
    assert frames_of(stack) == frames


@pytest.mark.parametrize(
    ("thread", "frames"),
    [
        (0x7F, [("/lib/threading.py", 1, "wait")]),
        (0x7E, [("/srv/a b.py", 12, "load"), ("/srv/app.py", 3, "<module>")]),
        (0x7D, []),
    ],
)
def test_a_thread_by_its_ident(thread, frames):
    assert frames_of(STACK, thread) == frames
    named = STACK.replace("0x00007f (most", "0x00007f [background load] (most")
    assert frames_of(named, thread) == frames


# -- main's view ----------------------------------------------------------------------------------


def startup_of(pipe, **config):
    settings = Settings.read({f"REAPER_{key.upper()}": value for key, value in config.items()})
    link = WorkerLink((os.getpid(), start_of(os.getpid())), pipe[0], "Sanic-Server-0-0")
    slow = SlowHandlers(lambda _: None)
    startup = StartupTracker("Sanic-Server-0-0", link, settings, 1000.0, lambda _: None, slow)
    return startup, link


def begin(number, name, limit, at):
    source = f"@startup_timeout({limit:g})"
    return ("begin", number, name, "app.py", 3, limit, source, 0, "before_server_start", at)


def test_a_start_is_due_at_the_end_of_its_time(pipe):
    assert startup_of(pipe, startup_timeout=20)[0].deadline == 1020.0
    assert startup_of(Pipe(duplex=False), startup_timeout=0)[0].deadline == 0.0


def test_a_handler_is_due_a_second_after_its_own_limit(pipe):
    startup, link = startup_of(pipe, startup_timeout=20)
    reports = Reports(pipe[1], nowhere)
    reports.send(*begin(1, "load", 2.0, at=1003.0))
    link.hear()
    assert startup.deadline == 1003.0 + 2 + HANDLER_GRACE
    reports.send("end", 1, 0, 1004.0)
    link.hear()
    assert startup.deadline == 1020.0


def test_of_several_that_run_the_first_one_counts(pipe):
    """A worker with several apps runs handlers of several at once."""
    startup, link = startup_of(pipe, startup_timeout=20)
    reports = Reports(pipe[1], nowhere)
    reports.send(*begin(1, "load", 4.0, at=1003.0))
    reports.send(*begin(2, "connect", 2.0, at=1003.0))
    link.hear()
    assert startup.deadline == 1003.0 + 2 + HANDLER_GRACE
    reports.send("end", 2, 0, 1004.0)
    link.hear()
    assert startup.deadline == 1003.0 + 4 + HANDLER_GRACE


def test_background_work_is_due_when_the_worker_serves(pipe):
    startup, link = startup_of(pipe, startup_timeout=20)
    reports = Reports(pipe[1], nowhere)
    reports.send("up", 1002.0)
    for number, limit in ((1, 50.0), (2, 0.0)):
        source = f"@background(timeout={limit:g})"
        reports.send("work", number, "load", "app.py", 3, limit, source, 0, "", 1003.0)
    link.hear()
    assert startup.deadline == 1003.0 + 50 + BACKGROUND_GRACE
    reports.send("failed", "no such model")
    link.hear()
    assert startup.deadline == 0.0, "it has told why it fails, and may end in peace"


def test_a_start_is_over_when_its_last_listener_is(pipe):
    """Not with Sanic's ack, and not when it listens."""
    startup, link = startup_of(pipe, startup_timeout=20)
    handle: Any = SimpleNamespace(name="Sanic-Server-0-0", is_server=True, reaper_role="worker")
    worker = Worker(handle, link, startup, None, None)
    reports = Reports(pipe[1], nowhere)

    def seen():
        link.hear()
        state = worker.state
        return startup.deadline, state in lifecycle.FINISHES, state in lifecycle.MUST_TURN

    worker.on_ack()
    assert startup.deadline == 1020.0
    reports.send("listens", 1003.0)
    assert seen() == (1020.0, True, True)
    reports.send("up", 1004.0)
    assert seen() == (0.0, False, False)
    reports.send("ready", 1005.0)
    assert seen() == (0.0, False, True)
    moments = startup.listens, startup.up, startup.ready
    assert moments == (1003.0, 1004.0, 1005.0), "by its own clock"


# -- whom it asks ---------------------------------------------------------------------------------


@pytest.fixture
def sleeper():
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


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


# -- several who ask at once ----------------------------------------------------------------------


@pytest.fixture
def asked(pipe):
    """A worker that shows nothing by itself; main's line to it, and what the test writes there."""
    deaf = f"import signal, time; signal.signal({int(REQUEST)}, signal.SIG_IGN); print(flush=True)"
    with program(f"{deaf}; time.sleep(60)") as worker:
        reader, writer = pipe
        link = WorkerLink((worker.pid, start_of(worker.pid)), reader, "Sanic-Server-0-0")
        yield link, lambda text: os.write(writer.fileno(), text.encode()), worker
        link.close()


STACK_TEXT = 'Current thread 0x1 (most recent call first):\n  File "shop.py", line {} in report\n'
WHERE = '\x1e["where", false, []]\n'


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


# -- what is not trusted --------------------------------------------------------------------------


def deep() -> list[Any]:
    """A list in a list, so deep that `repr` fails."""
    found: list[Any] = []
    for _ in range(100_000):
        found = [found]
    return found


@pytest.mark.parametrize(
    "message",
    [
        None,
        "hello",
        [],
        {},
        [1],
        [["hello"]],
        ["unheard of"],
        ["x" * 5000, *range(5000)],
        [deep()],
        ["failed", deep()],
        ["hello"],
        ["hello", "1"],
        ["hello", VERSION],
        ["hello", VERSION, "1"],
        ["ready"],
        ["ready", "now"],
        ["ready", True],
        ["ready", float("nan")],
        ["ready", 1e300],
        ["beat", 1.5],
        ["beat", 2**70],
        ["end", 1, 0, None],
        ["where", 1, []],
        ["where", True, [["file", "1", "function"]]],
        ["where", True, [["file", 1]]],
    ],
)
def test_what_is_not_understood(message):
    with pytest.raises(NotUnderstood) as raised:
        read(message)
    assert len(str(raised.value)) < 100


@pytest.mark.parametrize(
    "message",
    [
        ["hello", VERSION, 61],
        ["ready", 1],
        ["ready", 1.5],
        ["begin", 1, "name", "file", 3, float("inf"), "source", 2**47, "event", 0.5],
        ["where", True, [["file", 1, "function"]]],
    ],
)
def test_what_is_understood(message):
    assert read(message) == (message[0], message[1:])


def test_each_word_that_a_worker_says_is_known():
    folder = Path(startup.__file__).parent
    source = "".join(file.read_text() for file in folder.glob("*.py"))
    said = set(re.findall(r'(?:send|send_begin)\(\s*"(\w+)"', source))
    assert said == WORDS.keys()


def test_a_line_without_an_end_takes_neither_time_nor_memory(pipe, monkeypatch):
    monkeypatch.setattr(reader_module, "LONGEST", 100_000)
    monkeypatch.setattr(reader_module, "MOST_AT_ONCE", 65536)
    reader = Reader(pipe[0])
    os.set_blocking(pipe[1].fileno(), False)
    for _ in range(10):
        os.write(pipe[1].fileno(), b"x" * 60_000)
        assert reader.read() == ([], "")
        assert len(reader._partial) <= 100_000
    os.write(pipe[1].fileno(), b'\n\x1e["open"]\n')
    messages, _ = reader.read()
    assert messages == [["open"]]


@pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="a pipe of Linux")
def test_one_turn_takes_only_so_much(pipe):
    """Main's loop turns although a worker writes as fast as main reads."""
    fcntl.fcntl(pipe[1].fileno(), fcntl.F_SETPIPE_SZ, 2**20)
    os.set_blocking(pipe[1].fileno(), False)
    line = b"x" * 1023 + b"\n"
    written = os.write(pipe[1].fileno(), line * 1024)
    reader = Reader(pipe[0])
    _, first = reader.read()
    assert 0 < len(first) < reader_module.MOST_AT_ONCE + 65536 < written
    total = len(first)
    while text := reader.read()[1]:
        total += len(text)
    assert total == written, "nothing is lost"


def test_a_descriptor_that_is_another_files_by_now_is_neither_read_nor_closed(pipe):
    reader = Reader(pipe[0])
    fd = reader._fd
    other, its = os.pipe()
    os.dup2(other, fd)
    os.write(its, b'\x1e["open"]\n')
    assert reader.read() == ([], "")
    assert reader.is_lost
    reader.close()
    assert os.read(fd, 100) == b'\x1e["open"]\n'
    for one in (fd, other, its):
        os.close(one)


def test_nothing_is_written_to_a_descriptor_that_is_another_files_by_now(pipe):
    reports = Reports(pipe[1], nowhere)
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
        reports = Reports(pipe[1], nowhere)
    signal.signal(REQUEST, lambda *_: asked.append("by somebody else"))
    if when == "before":
        reports = Reports(pipe[1], nowhere)
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


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ("", "it has not started within {}, and has not even imported the app; its stack is above"),
        (f'\x1e["hello", {VERSION}, 0]\n', "it has not started within {}; its stack is above"),
    ],
    ids=["nothing", "that no signal is left"],
)
def test_a_worker_that_can_not_be_asked_does_not_always_import_the_app(pipe, said, what):
    """The app may handle each signal by which it would be asked."""
    startup, link = startup_of(pipe, startup_timeout=10.0)
    os.write(pipe[1].fileno(), said.encode())
    link.hear()
    assert not link.can_be_asked
    assert startup.late == what.format("REAPER_STARTUP_TIMEOUT = 10 s")


def me() -> tuple[int, int]:
    return os.getpid(), start_of(os.getpid())


def test_a_contract_that_a_worker_misses_is_told_of_once(pipe, lines, monkeypatch):
    """Each worker finds it out by itself."""
    monkeypatch.setattr(contracts, "_decision", contracts.decide([]))
    monkeypatch.setattr(contracts, "_reported", set())
    startup, link = startup_of(pipe)
    reports = Reports(pipe[1], nowhere)
    for _ in range(2):
        reports.send("lacks", "start handlers")
    link.hear()
    [line] = lines
    assert "start handlers: " in line
    assert startup.failure is None
