"""Main's end of the watchdog: whether there is one, and the watch in main itself.

In processes of their own: who starts a watchdog asks to be told of every fork for good.
"""

from __future__ import annotations

import sys

import pytest
from support.programs import said_by

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

PRELUDE = """
import os, signal, subprocess, time
from sanic_reaper.main import watchdog_process
from sanic_reaper.main.inline_watch import InlineWatch
from sanic_reaper.main.watchdog_process import WatchdogProcess
from sanic_reaper.tree.process import start_of
from sanic_reaper.protocol import channel

me = (os.getpid(), start_of(os.getpid()))
"""


def test_a_watchdog_that_is_there_is_not_waited_for_again():
    """It answers once. Who waited for that a second time would end the one that works."""
    program = """
watchdog = WatchdogProcess(me, "run", 1.0)
watchdog.confirm()
print(*watchdog.receive())
watchdog_process.HELLO = 0.0
watchdog.confirm()
print(watchdog.alive())
watchdog.end()
"""
    assert said_by(PRELUDE + program) == ["['hello', '2']", "True"]


def test_a_watchdog_that_ends_at_once_is_none():
    """And is waited for by nobody, or it would stay as a zombie. Its end tells, not the time that
    an answer may take: the program would not end in time."""
    program = """
watchdog_process._COMMAND = ["true"]
watchdog_process.HELLO = 1000.0
watchdog = WatchdogProcess(me, "run", 1.0)
try:
    watchdog.confirm()
except OSError as error:
    print(error)
print(watchdog.alive(), watchdog.fileno(), os.path.exists(f"/proc/{watchdog.pid}"))
"""
    assert said_by(PRELUDE + program) == ["it exited at once", "False -1 False"]


def test_a_watchdog_of_another_release_is_ended_and_not_tried_again():
    """The package was upgraded while the server ran. Its words may mean something else."""
    program = """
says = r"import os, sys, time; os.write(int(sys.argv[3]), b'hello\\t0\\n'); time.sleep(60)"
watchdog_process._COMMAND = [watchdog_process._COMMAND[0], "-c", says]
watchdog = WatchdogProcess(me, "run", 1.0)
try:
    watchdog.confirm()
except watchdog_process.NeverStarts as error:
    print(error)
print(os.path.exists(f"/proc/{watchdog.pid}"))
"""
    assert said_by(PRELUDE + program) == [
        "it comes from another release, whose protocol is ['0'], not 2; restart the server",
        "False",
    ]


def test_what_a_busy_watchdog_could_not_take_is_sent_when_main_listens():
    """Main may have nothing more to tell it."""
    program = """
watchdog = WatchdogProcess(me, "run", 1.0)
watchdog.confirm()
os.kill(watchdog.pid, signal.SIGSTOP)
while watchdog.send("seen", 0):
    pass
watchdog.send("handover")
os.kill(watchdog.pid, signal.SIGCONT)
until, heard = time.monotonic() + 20, []
while ["handed_over"] not in heard and time.monotonic() < until:
    heard += watchdog.receive()
    time.sleep(0.01)
print(["handed_over"] in heard)
watchdog.end()
"""
    assert said_by(PRELUDE + program) == ["True"]


def test_a_watchdog_that_has_missed_what_it_was_told_is_ended():
    """Main starts another one, and tells that one everything."""
    program = """
channel._LIMIT = 5
watchdog = WatchdogProcess(me, "run", 1.0)
watchdog.confirm()
os.kill(watchdog.pid, signal.SIGSTOP)
while not watchdog._channel.lost:
    watchdog.send("log", "x" * 10_000)
print(watchdog.alive(), os.path.exists(f"/proc/{watchdog.pid}"))
"""
    assert said_by(PRELUDE + program) == ["False False"]


def test_what_a_script_starts_after_its_server_is_no_business_of_the_watch_in_main():
    """What its server's workers have left is."""
    program = """
left = subprocess.Popen(["sleep", "60"])
watch = InlineWatch(me, "run", 1.0)
watch.send("finish")
said = []
while ["done", "1"] not in said:
    said += watch.receive()
    left.poll()
    time.sleep(0.01)
print(left.wait())
own = subprocess.Popen(["sleep", "60"])
print(watch.receive(), watch.receive(), own.poll())
own.kill()
own.wait()
"""
    assert said_by(PRELUDE + program) == ["-15", "[] [] None"]


def test_who_is_registered_when_all_is_over_is_told_to_end():
    """It has come too late for the stop, and nobody else would tell it."""
    program = """
watch = InlineWatch(me, "run", 1.0)
watch.send("finish")
while ["done", "0"] not in watch.receive():
    time.sleep(0.01)
late = subprocess.Popen(["sleep", "60"])
watch.send("register", late.pid, start_of(late.pid), "worker", 0.0, "late")
watch.receive()
print(late.wait())
"""
    assert said_by(PRELUDE + program) == ["-15"]
