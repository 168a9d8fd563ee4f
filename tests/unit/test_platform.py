"""The fallback says the same of a process as the kernel's own files do; and of none, nothing."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import sys
import threading

import pytest
from support.census import wait_until
from support.strangers import program

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

if sys.platform == "linux":
    from sanic_reaper.platform import fallback, linux

    BACKENDS = [linux, fallback]
    backends = pytest.mark.parametrize("backend", BACKENDS, ids=["linux", "fallback"])

BUSY = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ntime.sleep(60)"
TICK = 0.02
"""Seconds by which two readings of a clock that counts hundredths may differ."""


@pytest.fixture
def busy():
    """A process that has used a third of a second."""
    with program(BUSY) as process:
        yield process


def test_both_say_the_same_of_a_process(busy):
    ours, theirs = linux.row(busy.pid), fallback.row(busy.pid)
    assert (ours.pid, ours.ppid, ours.name) == (theirs.pid, theirs.ppid, theirs.name)
    assert theirs.ppid == os.getpid()
    assert linux.uid(busy.pid) == fallback.uid(busy.pid) == os.geteuid()
    assert linux.resident(busy.pid) == pytest.approx(fallback.resident(busy.pid), rel=0.05)
    assert linux.cpu_seconds(busy.pid) == pytest.approx(fallback.cpu_seconds(busy.pid), abs=TICK)
    assert 0.25 < fallback.cpu_seconds(busy.pid) < 10
    # psutil reckons from the second in which the machine was booted.
    assert linux.age(ours.start) == pytest.approx(fallback.age(theirs.start), abs=1.1)
    assert fallback.table()[busy.pid].start == theirs.start
    assert linux.environ(busy.pid).strip(b"\0") == fallback.environ(busy.pid)


@pytest.mark.parametrize(("signum", "state"), [(signal.SIGSTOP, "T"), (signal.SIGKILL, "Z")])
def test_both_see_one_that_is_stopped_or_dead(busy, signum, state):
    for backend in BACKENDS:
        backend.send(busy.pid, None, signum)
        wait_until(lambda: backend.row(busy.pid).state == state, 5, str(backend))  # noqa: B023


@backends
def test_of_a_process_that_is_gone_nothing_is_said(backend, busy):
    busy.kill()
    busy.wait()
    assert backend.row(busy.pid) is None
    assert busy.pid not in backend.table()
    assert backend.uid(busy.pid) is None
    assert backend.environ(busy.pid) == b""
    assert backend.resident(busy.pid) == 0
    assert backend.cpu_seconds(busy.pid) == 0.0


@backends
def test_one_that_has_just_begun_has_no_age_below_zero(backend):
    assert backend.age(backend.row(os.getpid()).start + 10**9) == 0.0


@backends
def test_the_next_signal_that_comes(backend):
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        assert backend.next_signal({signal.SIGUSR1}, 0.05) is None
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)  # no other thread blocks it
        arrival = backend.next_signal({signal.SIGUSR1}, 5.0)
        assert arrival.signum == signal.SIGUSR1
        assert arrival.sender in (0, os.getpid())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


PR_GET_PDEATHSIG = 2


@pytest.fixture
def armed_for():
    """What the kernel would send this process; nothing, afterwards."""

    def ask() -> int:
        found = ctypes.c_int()
        ctypes.CDLL(None).prctl(PR_GET_PDEATHSIG, ctypes.byref(found), 0, 0, 0)
        return found.value

    yield ask
    linux.parent_death_signal(0)
    assert ask() == 0


@pytest.mark.parametrize("way", ["what ctypes is made of", "ctypes"])
def test_a_parent_death_signal(monkeypatch, armed_for, way):
    if way == "ctypes":
        monkeypatch.setattr(linux, "_call_in_libc", lambda *_: None)
    linux.parent_death_signal(signal.SIGUSR1)
    assert armed_for() == signal.SIGUSR1
    with pytest.raises(OSError, match="prctl") as raised:
        linux.parent_death_signal(4711)
    assert raised.value.errno == errno.EINVAL


def test_a_function_that_libc_does_not_have():
    assert linux._call_in_libc("no_such_function") is None
