"""What proves that a scan is complete, and the sessions by which descendants are known: with real
processes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support.census import wait_until

from sanic_reaper import platform
from sanic_reaper.platform import base, linux_proc
from sanic_reaper.tree import sessions
from sanic_reaper.tree.descendants import DescendantTracker
from sanic_reaper.tree.process import Handle, start_of
from sanic_reaper.tree.sessions import Sessions

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

NOBODY: frozenset[tuple[int, int]] = frozenset()


class Leader:
    """A process that leads a session, and its child, which was born into that session."""

    def __init__(self) -> None:
        command = ["sh", "-c", "sleep 60 & echo $!; wait"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
        self.identity = self.process.pid, start_of(self.process.pid)
        self.child = int(self.process.stdout.readline())

    def end(self) -> None:
        os.killpg(self.process.pid, 9)
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def new_leader():
    leaders: list[Leader] = []

    def start() -> Leader:
        leaders.append(Leader())
        return leaders[-1]

    yield start
    for leader in leaders:
        leader.end()


def test_a_child_that_the_scan_has_not_shown_is_a_reason_to_scan_again(new_leader):
    main = new_leader()
    tracker = DescendantTracker(Handle(*main.identity, None), "run")
    assert not tracker.has_seen_every_child()
    tracker.scan({main.identity: "main"})
    assert tracker.has_seen_every_child()


def test_a_child_that_exits_when_it_has_been_listed_is_a_reason_to_scan_again(
    new_leader, monkeypatch
):
    """It can have left a child of its own. One that is only hidden has not exited."""
    main = new_leader()
    tracker = DescendantTracker(Handle(*main.identity, None), "run")
    tracker.scan({main.identity: "main"})
    listed = platform.children

    def list_and_end(pid: int) -> list[int] | None:
        found = listed(pid)
        os.kill(main.child, 9)
        wait_until(lambda: platform.row(main.child) is None, 10, "the child's end")
        return found

    with monkeypatch.context() as hidden:
        hidden.setattr(base, "WITHOUT", frozenset({"denied"}))
        assert platform.row(main.child) is None
        assert tracker.has_seen_every_child()
    monkeypatch.setattr(platform, "children", list_and_end)
    assert not tracker.has_seen_every_child()


def test_where_the_kernel_lists_no_children_a_scan_counts_as_complete(new_leader, monkeypatch):
    """It would be repeated for ever otherwise."""
    monkeypatch.setattr(linux_proc, "_has_children_files", False)
    main = new_leader()
    assert platform.children(main.process.pid) is None
    assert DescendantTracker(Handle(*main.identity, None), "run").has_seen_every_child()


@pytest.mark.parametrize("most", [1, 2], ids=["too many", "not too many"])
def test_of_too_many_sessions_those_without_a_living_member_are_forgotten(
    new_leader, monkeypatch, most
):
    monkeypatch.setattr(sessions, "MAX_SESSIONS", most)
    found = Sessions(os.getpid())
    first, second, third = (new_leader() for _ in range(3))
    found.note({first.identity, second.identity}, NOBODY, NOBODY, NOBODY)
    rows = [platform.row(one.child) for one in (first, second, third)]
    assert [found.has_member(row) for row in rows] == [True, True, False]
    second.process.kill()
    second.process.wait()
    known = {one.identity for one in (first, second, third)}
    found.note({third.identity}, known, NOBODY, NOBODY)
    assert [found.has_member(row) for row in rows] == [True, most > 1, True]
