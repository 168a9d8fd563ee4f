"""Which zombies main may reap: those that are proved to be adopted."""

from __future__ import annotations

import sys

import pytest
from support.programs import said_by

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="waits without reaping")

PRELUDE = """
import gc, multiprocessing, os, pty, signal, subprocess, time
from sanic_reaper import platform
from sanic_reaper.main.children import reap_adopted
from sanic_reaper.tree import birthmark
from sanic_reaper.tree.process import Handle, start_of
from sanic_reaper.tree.descendants import DescendantTracker

platform.become_subreaper()
me = Handle(os.getpid(), start_of(os.getpid()), None)
tracker = DescendantTracker(me, "run")

def look():
    tracker.scan({me.identity: "main"})
    return {pid for pid, _ in tracker.adopted_zombies}

def ended(pid):
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid

def forked(work, fork=os.fork):
    child = fork()
    child = child[0] if isinstance(child, tuple) else child
    if child == 0:
        os._exit(work() or 0)
    return child

def code(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""
"""Main, which has children of its own, and adopts others."""


def test_the_exit_status_of_each_child_of_its_own_is_left_to_main():
    """Also of one that the collector has frozen, and of those that Python knows nothing of."""
    program = """
frozen = subprocess.Popen(["sh", "-c", "exit 7"])
gc.collect()
gc.freeze()
spawned = os.posix_spawnp("sh", ["sh", "-c", "exit 8"], os.environ)
bare = forked(lambda: 9)
on_a_terminal = forked(lambda: 10, pty.fork)
process = multiprocessing.get_context("fork").Process(target=os._exit, args=(11,))
process.start()
for pid in (frozen.pid, spawned, bare, on_a_terminal, process.pid):
    ended(pid)
found = look() | look()
reap_adopted(found)
process.join()
print(found, frozen.wait(), code(spawned), code(bare), code(on_a_terminal), process.exitcode)
"""
    assert said_by(PRELUDE + program) == ["set() 7 8 9 10 11"]


def test_an_orphan_that_had_another_parent_is_reaped():
    """It was seen below that one."""
    program = """
reading, writing = os.pipe()
there, go = os.pipe()

def work():
    orphan = forked(lambda: os.read(there, 1) and 3)
    os.write(writing, str(orphan).encode())
    os.read(there, 1)

parent = forked(work)
orphan = int(os.read(reading, 100))
print(look(), end=" ")
os.write(go, b"xx")
ended(parent)
ended(orphan)
found = look()
reap_adopted(found)
print(found == {orphan}, code(parent), start_of(orphan))
"""
    assert said_by(PRELUDE + program) == ["set() True 0 0"]


def test_an_orphan_of_a_worker_that_nobody_has_seen_is_reaped():
    """By what it has from the worker by birth. The worker's own status is main's."""
    program = """
reading, writing = os.pipe()

def work():
    birthmark.take()
    os.write(writing, str(forked(lambda: 3)).encode())

worker = forked(work)
tracker.registered.add((worker, start_of(worker)))
orphan = int(os.read(reading, 100))
ended(worker)
ended(orphan)
found = look()
reap_adopted(found)
print(found == {orphan}, start_of(orphan), code(worker))
"""
    assert said_by(PRELUDE + program) == ["True 0 0"]


def test_a_worker_that_multiprocessing_waits_for_is_left_to_it():
    program = """
process = multiprocessing.get_context("fork").Process(target=birthmark.take)
process.start()
found = look() if ended(process.pid) else set()
reap_adopted(found)
print(found == {process.pid}, ended(process.pid) == process.pid)
process.join()
print(process.exitcode)
"""
    assert said_by(PRELUDE + program) == ["True True", "0"]
