"""Which zombies main may reap: those that nobody in it is going to wait for."""

from __future__ import annotations

import sys

import pytest
from support.programs import said_by

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="waits without reaping")

PRELUDE = """
import gc, multiprocessing, os, subprocess, sys, weakref
from sanic_reaper.main.children import OwnChildren

own = OwnChildren()

def ended(pid):
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid

def unknown():
    '''A zombie that nothing in this process knows of, as one that was adopted.'''
    return ended(os.posix_spawnp("true", ["true"], os.environ))

def forked(code):
    child = os.fork()
    if child == 0:
        os._exit(code)
    return ended(child)
"""
"""In a process of its own: what is told of forks is never untold."""


def test_what_somebody_waits_for_is_left_and_the_rest_is_reaped():
    program = """
process = multiprocessing.get_context("fork").Process(target=os._exit, args=(3,))
process.start()
command = subprocess.Popen(["sh", "-c", "exit 4"])
stranger = unknown()
reaped = own.reap_adopted({stranger, ended(process.pid), ended(command.pid)})
process.join()
print(reaped == {stranger}, process.exitcode, command.wait())
"""
    assert said_by(PRELUDE + program) == ["True 3 4"]


def test_none_is_reaped_once_main_has_forked_by_itself():
    """Any of them may be that child, whose status belongs to who has forked it."""
    program = """
child = forked(5)
stranger = unknown()
print(own.reap_adopted({child, stranger}), end=" ")
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), os.waitpid(stranger, 0)[0] == stranger)
"""
    assert said_by(PRELUDE + program) == ["set() 5 True"]


def test_that_multiprocessing_forks_is_no_such_fork():
    program = """
process = multiprocessing.get_context("fork").Process(target=os._exit, args=(3,))
process.start()
process.join()
print(own.has_forked)
"""
    assert said_by(PRELUDE + program) == ["False"]


def test_a_fork_in_a_child_is_no_business_of_mains():
    """A worker has the same object, and nothing to do with it."""
    program = """
def work():
    forked(0)
    os._exit(own.has_forked)

process = multiprocessing.get_context("fork").Process(target=work)
process.start()
process.join()
print(process.exitcode, own.has_forked)
"""
    assert said_by(PRELUDE + program) == ["0 False"]


def test_a_server_that_is_over_is_told_of_no_forks():
    """What was asked for in its name can't be taken back, and holds nothing of it."""
    program = """
gone = weakref.ref(own)
del own
gc.collect()
forked(0)
print(gone())
"""
    assert said_by(PRELUDE + program) == ["None"]
