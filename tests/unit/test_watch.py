"""The watchdog's list, and what main says to it at the wrong moment: with real processes.

A watch that comes to its end, which it does to all that descends from its own process, is asked in
a process of its own.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.census import holds, wait_until

from sanic_reaper import platform, state
from sanic_reaper.model import kills
from sanic_reaper.protocol.channel import Channel
from sanic_reaper.protocol.watchdog import TO_WATCHDOG
from sanic_reaper.tree.process import Handle, start_of
from sanic_reaper.watchdog import leftovers, members
from sanic_reaper.watchdog import watch as module
from sanic_reaper.watchdog.progress import FINISHED, GONE, STOPPING, WATCHING
from sanic_reaper.watchdog.watch import Watch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

RUN = "no process bears this mark"
WORKER = "worker Sanic-Server-0-0"
FAR = 1e9
"""A moment that does not come."""

PR_SET_DUMPABLE = 4
"""Whether other processes may read the environment of this one (prctl(2))."""

DEAF = ["sh", "-c", "trap '' TERM; echo; exec sleep 60"]


@pytest.fixture
def start():
    processes: list[subprocess.Popen[bytes]] = []

    def begin(*argv: str) -> subprocess.Popen[bytes]:
        processes.append(subprocess.Popen(argv or ("sleep", "60"), stdout=subprocess.PIPE))
        if argv:
            processes[-1].stdout.readline()
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def identity_of(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    return process.pid, start_of(process.pid)


class Watching:
    """A watch over a process that it takes for main, and main's end of its channel."""

    def __init__(self, main: subprocess.Popen[bytes]) -> None:
        ours, its = (Channel(end.detach()) for end in socket.socketpair())
        self.main = ours
        handle = Handle.open(*identity_of(main))
        assert handle is not None
        self.lines: list[tuple[object, ...]] = []
        self.watch = Watch(handle, RUN, 60.0, its, lambda *line: self.lines.append(line))

    def tell(self, *words: object) -> None:
        self.main.send(*words)
        self.watch.turn(0.0)

    def adopt(self, process: subprocess.Popen[bytes], ready_by: float = FAR) -> None:
        self.tell("register", *identity_of(process), "worker", ready_by, "Sanic-Server-0-0")

    def heard(self, word: str) -> list[list[str]]:
        return [rest for first, *rest in self.main.receive() if first == word]

    def close(self) -> None:
        self.main.close()
        self.watch.channel.close()
        for member in self.watch.members.all.values():
            member.handle.close()
        self.watch.main.close()


@pytest.fixture
def watching(start):
    found = Watching(start())
    yield found
    found.close()


# -- one that is late -----------------------------------------------------------------------------


def test_who_is_late_is_told_of_once_and_killed_whatever_main_says_of_its_time(
    watching, start, monkeypatch
):
    """Once main has agreed that it is late, it counts on its end."""
    monkeypatch.setattr(members, "ANSWER", 0.1)
    worker = start(*DEAF)
    late = time.monotonic() - 1
    identity = [str(number) for number in identity_of(worker)]
    watching.adopt(worker, ready_by=late)
    expired = watching.heard("expired")
    watching.tell("late", *identity_of(worker))
    watching.tell("deadline", *identity_of(worker), FAR)

    def has_ended() -> bool:
        watching.watch.turn(0.0)
        expired.extend(watching.heard("expired"))
        return worker.poll() is not None

    wait_until(has_ended, 5, "its end")
    assert expired == [identity]


@pytest.mark.parametrize("due", [0.0, FAR])
def test_who_is_late_as_far_as_a_busy_main_has_told_is_not_killed(
    watching, start, monkeypatch, due
):
    """Main has not read yet that it is ready, or that the handler that was late is through."""
    monkeypatch.setattr(members, "ANSWER", 0.0)
    worker = start()
    watching.adopt(worker, ready_by=time.monotonic() - 1)
    assert len(watching.heard("expired")) == 1
    for _ in range(3):
        watching.watch.turn(0.0)
    watching.tell("deadline", *identity_of(worker), due)
    for _ in range(3):
        watching.watch.turn(0.0)
    assert watching.heard("expired") == []
    assert worker.poll() is None


def test_in_a_stop_nobody_is_late(watching, start, monkeypatch):
    monkeypatch.setattr(members, "ANSWER", 0.0)
    worker = start(*DEAF)
    watching.adopt(worker, ready_by=time.monotonic() - 1)
    watching.tell("stop", FAR, FAR)
    watching.tell("late", *identity_of(worker))
    assert holds(lambda: watching.watch.turn(0.0) or worker.poll() is None, 0.2)


def test_who_is_ready_in_time_is_not(watching, start):
    worker = start()
    identity = identity_of(worker)
    watching.main.send("register", *identity, "worker", time.monotonic(), "Sanic-Server-0-0")
    watching.tell("deadline", *identity, 0.0)
    watching.watch.turn(0.0)
    assert watching.heard("expired") == []
    assert worker.poll() is None


@pytest.mark.parametrize("word", ["shown", "dump"])
def test_what_nobody_has_asked_for_ends_nobody(watching, start, word):
    """A stack that comes when its worker is no suspect."""
    worker = start()
    watching.adopt(worker)
    watching.tell(word, *identity_of(worker))
    watching.watch.turn(0.0)
    assert holds(lambda: worker.poll() is None, 0.05)
    assert (watching.heard("log"), watching.lines) == ([], [])


@pytest.mark.parametrize(
    ("word", "more"),
    [("hung", ()), ("late", ()), ("terminate", ()), ("replaced", (0.0,)), ("deadline", (1.0,))],
)
def test_what_main_says_of_one_that_is_not_registered_ends_nobody(watching, start, word, more):
    """It has exited, and main does not know yet: somebody else may have its pid."""
    somebody = start()
    watching.tell(word, *identity_of(somebody), *more)
    watching.watch.turn(0.0)
    assert watching.watch.phase == WATCHING
    assert holds(lambda: somebody.poll() is None, 0.05)
    assert (watching.heard("log"), watching.heard("signalled"), watching.lines) == ([], [], [])


def test_who_is_to_end_gets_one_sigterm(watching, start):
    worker = start()
    watching.adopt(worker)
    watching.main.send("terminate", *identity_of(worker))
    watching.tell("terminate", *identity_of(worker))
    assert worker.wait(5) == -signal.SIGTERM
    [sent] = [fields for _, *fields in watching.heard("signalled")]
    assert (sent[0], sent[3]) == (str(int(signal.SIGTERM)), str(worker.pid))


# -- one that the watchdog may not signal ---------------------------------------------------------


@pytest.fixture
def foreigner(watching):
    """A registered worker of a user whom this process may not signal now."""
    with subprocess.Popen(["sleep", "60"], user=65533) as worker:
        try:
            watching.adopt(worker)
            [member] = watching.watch.members.all.values()
            with suppress(OSError):
                platform.forbid_core_dump(worker.pid)  # imports what only root may be able to read
            os.seteuid(65534)  # without CAP_KILL from here on
            yield worker, member
        finally:
            os.seteuid(0)
            ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # not so since a change of user
            worker.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a process of another user")
@pytest.mark.root
def test_who_may_not_be_signalled_is_told_of_once(watching, foreigner):
    """Whatever is tried: the stack, the end, and the end by force."""
    worker, member = foreigner
    found = watching.watch.members
    found.expect_stack(member, kills.HUNG)
    found.enforce_startups(member.dump_at)
    assert member.kill_at is not None, "its end is planned all the same"
    found.terminate(member)
    found.kill(member, kills.HUNG)
    told = watching.heard("signalled")
    assert [(level, int(signum)) for level, signum, *_ in told] == [("ERROR", kills.NO_SIGNAL)]
    assert kills.FOREIGN in told[0]
    assert watching.heard("killed") == [], "no hook is told of what did not happen"
    assert worker.poll() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a process of another user")
@pytest.mark.root
def test_a_signal_that_the_kernel_refuses_is_logged(watching, foreigner):
    """The process can have become another user's since the watchdog has asked."""
    worker, member = foreigner
    members.send_signal(member.handle, signal.SIGTERM, watching.watch.reporter)
    assert watching.heard("log") == [["ERROR", f"[{worker.pid}] {kills.FOREIGN}"]]
    assert worker.poll() is None


# -- a channel that is full -----------------------------------------------------------------------


def test_what_finds_the_channel_full_is_sent_when_there_is_room(watching):
    """Also the last word, which no other one follows."""
    while watching.watch.channel.send("exited", 1, 1):
        pass
    watching.watch.channel.send("done", 0)
    assert watching.heard("done") == []
    watching.watch.turn(5)
    assert watching.heard("done") == [["0"]]


def test_the_watch_wakes_when_there_is_room(watching):
    """When all is done nothing else would wake it, and main waits for that word."""
    watching.watch.progress.phase = FINISHED
    while watching.watch.channel.send("exited", 1, 1):
        pass
    watching.watch.channel.send("done", 0)
    watching.main.receive()
    began = time.monotonic()
    watching.watch.turn(60)
    assert time.monotonic() - began < 30
    assert watching.heard("done") == [["0"]]


def test_a_zombie_is_told_of_once(watching):
    """However long main leaves it: hundreds of them, told of at each scan, fill the channel."""
    watching.watch.leftovers.descendants.adopted_zombies = {(4711, 1)}
    for _ in range(3):
        watching.watch.leftovers.report_zombies()
    watching.watch.leftovers.descendants.adopted_zombies = {(4711, 1), (4712, 2)}
    watching.watch.leftovers.report_zombies()
    assert watching.heard("zombie") == [["4711", "1"], ["4712", "2"]]


def test_a_line_that_finds_the_channel_full_is_logged_once(watching):
    while watching.watch.channel.send("exited", 1, 1):
        pass
    watching.watch.reporter.line("INFO", "a line")
    assert watching.lines == [], "main will log it"
    watching.main.receive()
    watching.watch.turn(0.0)
    assert watching.heard("log") == [["INFO", "a line"]]


def test_a_line_that_main_has_never_read_is_logged_when_main_is_gone(watching):
    while watching.watch.channel.send("exited", 1, 1):
        pass
    watching.watch.reporter.line("INFO", "a line")
    os.kill(watching.watch.main.pid, signal.SIGKILL)
    wait_until(lambda: watching.watch.turn(0.0) or watching.watch.phase != WATCHING, 5, "its end")
    assert watching.lines[0] == ("INFO", "a line")


def test_where_mains_log_is_json_each_line_after_its_death_has_its_fields(watching, start):
    """Those that main has not read too. A line of no signal has none."""
    worker = start()
    watching.adopt(worker)
    watching.tell("format", "json")
    watching.watch.reporter.line("INFO", "a line")
    watching.watch.members.kill(*watching.watch.members.all.values(), "hung")
    os.kill(watching.watch.main.pid, signal.SIGKILL)
    wait_until(lambda: watching.watch.turn(0.0) or watching.watch.phase != WATCHING, 5, "its end")
    assert watching.lines[0] == ("INFO", "a line", {})
    level, text, fields = watching.lines[1]
    assert (level, text[: text.index(":")]) == ("WARNING", f"SIGKILL to {WORKER} [{worker.pid}]")
    assert fields.pop("seconds") >= 0
    assert fields == {
        "reaper_event": "worker.killed",
        "worker": "Sanic-Server-0-0",
        "pid": worker.pid,
        "cause": "hung",
        "signal": "SIGKILL",
        "evidence": "started by main",
    }
    watching.watch.reporter.writes_json = False
    watching.watch.reporter.write("ERROR", "text again", {"pid": 1})
    assert watching.lines[-1] == ("ERROR", "text again")


def test_a_line_that_no_channel_takes_is_logged_at_once(watching):
    """Main lives, and has let go of its end."""
    watching.main.close()
    watching.watch.reporter.line("INFO", "a line")
    assert watching.lines == [("INFO", "a line")]
    watching.watch.reporter.write_unseen()
    assert watching.lines == [("INFO", "a line")], "once"


# -- a stop ---------------------------------------------------------------------------------------


def test_a_newcomer_to_a_server_that_stops_is_told_to_end_and_once(watching, start):
    first, late = start(), start()
    watching.adopt(first)
    watching.tell("stop", FAR, FAR)
    watching.adopt(late)
    watching.adopt(late)
    assert late.wait(5) == first.wait(5) == -signal.SIGTERM
    told = [sent for _, *sent in watching.heard("signalled") if sent[3] == str(late.pid)]
    assert len(told) == 1
    assert told[0][:3] == [str(int(signal.SIGTERM)), "worker", "Sanic-Server-0-0"]


def test_a_helper_that_ends_when_it_is_to_be_woken_keeps_no_other_asleep(
    watching, start, monkeypatch
):
    helpers = [start(), start()]
    for number, helper in enumerate(helpers):
        helper.send_signal(signal.SIGSTOP)
        wait_until(lambda: platform.row(helper.pid).stopped, 5, "the stop")  # noqa: B023
        watching.tell("helper", *identity_of(helper), f"SyncManager-{number}")
    first, second = helpers
    exit_fd = platform.exit_fd

    def end_before(pid: int) -> int:
        if pid == first.pid:
            first.kill()
            first.wait()
        return exit_fd(pid)

    monkeypatch.setattr(platform, "exit_fd", end_before)
    watching.tell("stop", FAR, FAR)
    assert watching.watch.phase == STOPPING
    wait_until(lambda: not platform.row(second.pid).stopped, 5, "it to go on")


def test_when_all_is_over_another_word_of_it_changes_nothing(watching):
    """Main says so once more to a watchdog that has taken another one's place."""
    watching.watch.progress.phase = FINISHED
    watching.tell("finish")
    assert watching.watch.phase == FINISHED
    assert watching.heard("done") == []


def test_a_directory_that_somebody_has_removed_costs_no_line(watching, tmp_path):
    watching.tell("state", tmp_path / "removed")
    watching.main.close()
    watching.watch.reporter.line("INFO", "a line")
    assert watching.lines == [("INFO", "a line")]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_over", [True, False])
def test_main_has_a_moment_for_its_last_words_unless_its_server_is_over(watching, is_over):
    """A script that goes on after its server has no deadline that could be put off."""
    progress, now = watching.watch.progress, time.monotonic()
    progress.is_over, progress.deadline = is_over, now
    watching.watch.leftovers._finish(now)
    assert progress.phase == FINISHED
    assert progress.deadline == now + (0.0 if is_over else leftovers.LAST_WORDS)
    assert watching.heard("done") == [["0"]]


def test_a_child_that_no_scan_has_shown_is_waited_for_and_named_when_time_is_up(start):
    main = start("sh", "-c", "sleep 60 & echo; wait")
    watching, now = Watching(main), time.monotonic()
    found = watching.watch.leftovers
    try:
        watching.watch.progress.deadline = now + 60
        assert not found._has_nothing_left(now)
        assert watching.heard("log") == []
        watching.watch.progress.deadline = now
        assert found._has_nothing_left(now)
        found._finish(now)
        said = list(watching.main.receive())
    finally:
        for child in platform.children(main.pid):
            os.kill(child, signal.SIGKILL)
        watching.close()
    assert ["log", "ERROR", f"a process of the server {leftovers.RESTLESS}; giving up"] in said
    assert ["done", "0", leftovers.RESTLESS] in said


# -- main's end -----------------------------------------------------------------------------------


def test_main_that_lets_go_of_it_and_lives_is_another_program_by_now(watching, start, monkeypatch):
    """It has called exec: nobody is ended, and there is nothing more to watch after a moment."""
    monkeypatch.setattr(module, "HANG_UP", 0.2)
    worker = start()
    watching.adopt(worker)
    watching.main.close()
    began = time.monotonic()
    while watching.watch.phase == WATCHING:
        watching.watch.turn(0.05)
        assert time.monotonic() - began < 5
    assert watching.watch.phase == GONE
    assert time.monotonic() - began >= 0.2, "main may be dying, which takes a moment"
    assert worker.poll() is None
    assert watching.lines == []


def test_main_that_lets_go_of_it_because_it_dies_is_mourned(watching, start, monkeypatch):
    monkeypatch.setattr(module, "HANG_UP", 60.0)
    worker = start()
    watching.adopt(worker)
    watching.main.close()
    for _ in range(3):
        watching.watch.turn(0.0)
    assert (watching.watch.phase, worker.poll()) == (WATCHING, None)
    os.kill(watching.watch.main.pid, signal.SIGKILL)
    wait_until(lambda: watching.watch.turn(0.0) or watching.watch.phase != WATCHING, 5, "its end")
    assert worker.wait(5) == -signal.SIGTERM
    assert any("stopping what it started" in text for _, text in watching.lines)


ENTRY = "import sys; from sanic_reaper.watchdog.entry import main; main(sys.argv[1:])"


@pytest.mark.parametrize("in_order", [True, False], ids=["after its stop", "in the midst of it"])
def test_word_is_left_of_what_becomes_of_a_server_whose_main_dies(tmp_path, start, in_order):
    """Not of what was over before: there the last word was main's."""
    tmp_path.chmod(0o700)
    main, worker = start(), start(*DEAF)
    ours, its = socket.socketpair()
    with its:
        watchdog = subprocess.Popen(
            [
                sys.executable,
                "-c",
                ENTRY,
                *map(str, identity_of(main)),
                str(its.fileno()),
                RUN,
                "0",
            ],
            pass_fds=[its.fileno()],
            stderr=subprocess.PIPE,
        )
    channel = Channel(ours.detach())
    try:
        channel.send("state", tmp_path)
        if in_order:
            channel.send("finish")
            heard: list[list[str]] = []
            wait_until(
                lambda: heard.extend(channel.receive()) or ["done", "0"] in heard, 10, "done"
            )
        channel.send("register", *identity_of(worker), "worker", 0.0, "late")
        main.kill()
        main.wait()
        assert watchdog.wait(10) == 0
    finally:
        watchdog.kill()
        _, said = watchdog.communicate()
        channel.close()
    assert worker.wait(5) == -signal.SIGKILL
    left = tmp_path / f"{RUN}{state.END}"
    kinds = {kind for kind, _ in state.parse(left.read_bytes())} if left.exists() else set()
    assert ("ended" in kinds, "gone" in kinds) == (not in_order, not in_order), said


NUMBERS = ["", "-1", "0", "1", "²", "nan", "inf", "-inf", "1e308", "4194305", "9" * 20, "9" * 5000]
messages = st.tuples(
    st.sampled_from(sorted(TO_WATCHDOG.keys() - {"leave", "hello"})) | st.text(max_size=3),
    st.lists(st.sampled_from(NUMBERS) | st.text(max_size=5), max_size=6),
).map(lambda pair: [pair[0], *pair[1]])


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(message=messages)
def test_whatever_comes_through_the_channel_is_refused_and_logged(start, message):
    """User code in main can write to any descriptor of main's. The watchdog lives on."""
    if not hasattr(start, "main"):
        start.main = start()
    watching = Watching(start.main)
    watching.watch._dispatcher.dispatch(message)
    assert watching.watch._pause() >= 0.0, "no deadline is `nan`"
    assert start.main.poll() is None
    watching.watch._release(watching.watch.main)
    watching.watch._close_channel()
    watching.main.close()


HUGE = "9" * 20


@pytest.mark.parametrize(
    "words",
    [
        ("register", HUGE, 1, "worker", 0, "x"),
        ("register", 0, 1, "worker", 0, "x"),
        ("kill_other", HUGE, 1, "worker x", "why"),
        ("began", "-1"),
        ("preexisting", "²", 1),
        ("stop", "nan", "nan"),
        ("seen", "1_0"),
        ("deadline", HUGE, 1, 0),
        ("register",),
        ("greetings", 1, 1),
        ("stop", 1, 1, 1),
    ],
    ids=lambda words: words[0],
)
def test_what_makes_no_sense_is_logged_and_that_is_all(start, words):
    watching = Watching(start())
    watching.main.send(*words)
    watching.watch.turn(0.0)  # the watchdog gives up after five exceptions
    [(level, text)] = [tuple(rest) for rest in watching.heard("log")]
    assert level == "ERROR"
    assert text.startswith("watchdog: dropped a message that is not understood (")
    assert f"from main [{watching.watch.main.pid}]" in text
    watching.main.send(*words)
    watching.tell("seen", 1)
    assert watching.watch.phase == WATCHING
    assert watching.heard("log") == [], "it is said once"
