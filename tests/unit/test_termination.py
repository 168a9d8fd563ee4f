"""Who is registered is signalled, and nobody else who has his pid: with real processes.

Only a `Terminator` and a `Watch` that has not come to its end are asked here. What a watch does
then it does to all that descends from its own process, which is here the one that runs the tests.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import subprocess
import sys
import time

import pytest
from support.programs import said_by

from sanic_reaper import platform
from sanic_reaper.protocol.channel import Channel
from sanic_reaper.tree.descendants import DescendantTracker
from sanic_reaper.tree.process import Handle, start_of
from sanic_reaper.tree.termination import GIVE_UP_AFTER, Terminator
from sanic_reaper.watchdog.progress import CLEARING, GONE, STOPPING
from sanic_reaper.watchdog.watch import Watch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

RUN = "no process bears this mark"
AGES = pytest.mark.parametrize("age", [-1, 0, 1], ids=["older", "right", "younger"])
"""Of the one that is signalled, beside the one that was registered. In ticks."""


@pytest.fixture
def new_sleeper():
    processes = []

    def start() -> subprocess.Popen[bytes]:
        processes.append(subprocess.Popen(["sleep", "60"]))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture(params=["pidfd", "no pidfd"])
def way(request, monkeypatch):
    if request.param == "no pidfd":
        monkeypatch.setattr("sanic_reaper.platform.linux.WITHOUT", frozenset({"pidfd"}))


def close_the_table(monkeypatch, error):
    """Nobody can tell any more which processes there are."""

    def refuse(*_):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(platform, "subtree", refuse)
    monkeypatch.setattr(platform, "table", refuse)


def ended(process: subprocess.Popen[bytes], within: float) -> bool:
    try:
        process.wait(within)
    except subprocess.TimeoutExpired:
        return False
    return True


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE], ids=["here", "nowhere"])
def test_who_is_known_is_not_forgotten_for_want_of_a_descriptor(new_sleeper, monkeypatch, error):
    """Neither in a look nor when it is to be ended, which is done when there is one again."""
    child = new_sleeper()
    me = Handle.open(os.getpid(), start_of(os.getpid()))
    tracker = DescendantTracker(me, RUN)
    terminator = Terminator(select.poll(), lambda *_: None, lambda *_: None)
    roots = {me.identity: "main"}
    tracker.scan(roots)
    known = dict(tracker.known)
    assert child.pid in {pid for pid, _ in known}

    def refuse(path, flags):
        raise OSError(error, path)

    with monkeypatch.context() as patched:
        patched.setattr("sanic_reaper.platform.linux.os.open", refuse)
        with pytest.raises(OSError, match=str(error)):
            tracker.scan(roots)
        with pytest.raises(OSError, match=str(error)):
            tracker.find_leftovers(roots, {})
    assert tracker.known == known
    assert child.poll() is None
    terminator.terminate(tracker.find_leftovers(roots, {}), {}, set(), 0.0)
    assert ended(child, 5)


def test_the_process_table_is_read_with_the_last_descriptor():
    """In a process of its own, which has used up all the others."""
    program = (
        "import os, resource\n"
        "from sanic_reaper import platform\n"
        "platform.keep_reserve()\n"
        "taken = len(os.listdir('/proc/self/fd')) - 1\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (taken, taken))\n"
        "try:\n"
        "    os.dup(0)\n"
        "except OSError:\n"
        "    print(os.getpid() in platform.table(), bool(platform.environ(os.getpid())))\n"
    )
    assert said_by(program) == ["True True"]


@pytest.fixture
def watching(new_sleeper):
    """A watch over a process that it takes for main, the way to tell it something, and its log."""
    main, lines = new_sleeper(), []
    ours, its = socket.socketpair()
    channel = Channel(ours.detach())
    handle = Handle(main.pid, start_of(main.pid), None)
    watch = Watch(handle, RUN, 60.0, Channel(its.detach()), lambda *line: lines.append(line))
    yield watch, channel, lines
    channel.close()
    watch.channel.close()


@pytest.mark.parametrize("error", [errno.EMFILE, errno.EIO], ids=["passes", "stays"])
def test_a_process_table_that_cant_be_read(watching, monkeypatch, error):
    """Want of descriptors is no news; anything else is told, once."""
    watch, channel, _ = watching
    close_the_table(monkeypatch, error)
    for _ in range(3):
        watch.leftovers.scan_now()
        watch.turn(0.0)
    told = [message for message in channel.receive() if message[0] == "log"]
    assert len(told) == (error == errno.EIO)
    assert all("may survive" in text for *_, text in told)


def test_a_process_table_that_stays_unreadable_holds_nobody_for_ever(watching, monkeypatch):
    watch, _, lines = watching
    close_the_table(monkeypatch, errno.EIO)
    watch.progress.phase = CLEARING
    watch.progress.deadline = time.monotonic() + 0.2 - GIVE_UP_AFTER
    wait_for(lambda: watch.turn(0.0) or watch.phase == GONE)
    assert len(lines) == 2
    assert all("may survive" in text for _, text in lines)


@AGES
@pytest.mark.usefixtures("way")
def test_what_is_to_be_ended(new_sleeper, age):
    main, sleeper = new_sleeper(), new_sleeper()
    identity = (sleeper.pid, start_of(sleeper.pid) - age)
    signalled = []
    tracker = DescendantTracker(Handle(main.pid, start_of(main.pid), None), RUN)
    terminator = Terminator(
        select.poll(),
        lambda level, signum, name, pid, evidence, why: signalled.append(pid),
        lambda identity, name, evidence: None,
    )
    tracker.known[identity] = "remembered from an earlier look"
    helpers = {identity: "SyncManager-1"}
    for deadline in (time.monotonic() + 60, 0.0):  # first SIGTERM, then SIGKILL
        terminator.terminate(tracker.find_leftovers({}, helpers), helpers, set(), deadline)
    assert ended(sleeper, 0.3 if age else 5) == (not age)
    assert bool(signalled) == (not age)


class Ending:
    """What ends one process, all that it has said of it, and that process."""

    def __init__(self, main, sleeper):
        self.said = []
        self.sleeper = sleeper
        self.tracker = DescendantTracker(Handle(main.pid, start_of(main.pid), None), RUN)
        self.terminator = Terminator(
            select.poll(),
            lambda *words: self.said.append(words),
            lambda *words: self.said.append(words),
        )
        self.identity = (sleeper.pid, start_of(sleeper.pid))
        self.tracker.known[self.identity] = "descends from a worker"

    def end(self):
        self.terminator.terminate(self.tracker.find_leftovers({}, {}), {}, set(), 0.0)


@pytest.fixture
def ending(new_sleeper):
    main, sleeper = new_sleeper(), new_sleeper()
    found = Ending(main, sleeper)
    yield found
    for target in found.terminator.targets.values():
        target.handle.close()


def test_who_does_not_even_end_by_sigkill_is_given_up(ending, monkeypatch):
    """A process in the midst of a disk that has gone away: it gets no more signals, and nobody
    waits for it."""
    terminator, said = ending.terminator, ending.said
    terminator.give_up_after = 0.1
    monkeypatch.setattr(platform, "send", lambda *_: None)
    ending.end()
    assert ending.identity in terminator.targets
    wait_for(lambda: ending.end() or terminator.given_up == {ending.identity})
    assert ending.sleeper.poll() is None
    assert said[-1][:2] == ("ERROR", signal.SIGKILL)
    assert "survives SIGKILL; giving up" in said[-1][-1]
    before = list(said)
    ending.end()
    assert (terminator.targets, said) == ({}, before)


@pytest.mark.usefixtures("way")
def test_who_has_ended_since_the_table_was_read_is_not_told_of(ending, monkeypatch):
    table = platform.table()
    ending.sleeper.kill()
    ending.sleeper.wait()
    monkeypatch.setattr(platform, "table", lambda: table)
    ending.end()
    assert (ending.terminator.targets, ending.said) == ({}, [])


@AGES
@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("word", ["helper", "register"])
def test_what_is_to_be_stopped_or_woken(new_sleeper, watching, word, age):
    """At a stop workers get SIGTERM, and a helper that somebody has stopped gets SIGCONT."""
    watch, channel, _ = watching
    sleeper = new_sleeper()
    identity = (sleeper.pid, start_of(sleeper.pid) - age)
    sleeper.send_signal(signal.SIGSTOP)
    wait_for(lambda: platform.row(sleeper.pid).stopped)
    details = ["SyncManager-1"] if word == "helper" else ["worker", 0.0, "Sanic-Server-0-0"]
    channel.send(word, *identity, *details)
    channel.send("stop", time.monotonic() + 60, time.monotonic() + 60)
    for _ in range(3):
        watch.turn(0.0)
    assert watch.phase == STOPPING
    if age:
        assert not ended(sleeper, 0.3)
        assert platform.row(sleeper.pid).stopped
    elif word == "register":
        assert sleeper.wait(5) == -signal.SIGTERM
    else:
        wait_for(lambda: not platform.row(sleeper.pid).stopped)


def wait_for(condition) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
