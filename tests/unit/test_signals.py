"""Main's stop signals: whom they interrupt, and what they are when the server is over."""

from __future__ import annotations

import signal

import pytest
from support.census import wait_until
from support.programs import said_by

from sanic_reaper.main import signals
from sanic_reaper.main.signals import ALWAYS, UNLESS_TAKEN, StopRequested, StopSignals


@pytest.fixture
def before():
    """The SIGTERMs that arrive at whoever handled them before the server."""
    handlers = {signum: signal.getsignal(signum) for signum in (*ALWAYS, *UNLESS_TAKEN)}
    arrived: list[int] = []
    signal.signal(signal.SIGTERM, lambda signum, frame: arrived.append(signum))
    yield arrived
    for signum, handler in handlers.items():
        signal.signal(signum, handler)


@pytest.fixture
def stop(before):
    found = StopSignals(lambda signum: None, lambda signum: None)
    found.install()
    return found


# -- while it stops -------------------------------------------------------------------------------


def test_a_process_that_is_being_started_is_not_interrupted_and_main_is_right_after_it(stop):
    lived_through = []

    def start() -> None:
        with stop.held_back():
            signal.raise_signal(signal.SIGTERM)
            lived_through.append("the start")
        lived_through.append("what comes after it")

    with stop.interruptible(), pytest.raises(StopRequested):
        start()
    assert lived_through == ["the start"]


def test_one_that_is_started_within_the_start_of_another(stop):
    """It is the outer one at whose end main is interrupted."""
    lived_through = []

    def start() -> None:
        with stop.held_back():
            with stop.held_back():
                signal.raise_signal(signal.SIGTERM)
            lived_through.append("the outer one")

    with stop.interruptible(), pytest.raises(StopRequested):
        start()
    assert lived_through == ["the outer one"]


def test_main_that_does_not_wait_is_not_interrupted_after_a_start_either(stop):
    with stop.held_back():
        signal.raise_signal(signal.SIGTERM)
    assert stop.received == signal.SIGTERM


# -- when it is over ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("is_over", "aftermath", "arrives"),
    [(False, 0.0, False), (True, 60.0, False), (True, 0.0, True)],
    ids=["main is in the server's last lines", "a late second Ctrl+C", "it is meant for the rest"],
)
def test_a_signal_after_the_end(stop, before, monkeypatch, is_over, aftermath, arrives):
    monkeypatch.setattr(signals, "AFTERMATH", aftermath)
    stop.retire(lambda frame: is_over)
    signal.raise_signal(signal.SIGTERM)
    if arrives:
        wait_until(lambda: before == [signal.SIGTERM], 5, "the signal")
    assert bool(before) == arrives
    assert (signal.getsignal(signal.SIGTERM) == stop._handle) == (not arrives)
    assert stop.received is None


# -- in a child that main forks -------------------------------------------------------------------

CHILD = """
import os, signal, sys
from sanic_reaper.main.signals import StopSignals

stop = StopSignals(lambda signum: print("main's"), lambda signum: print("main's"))
stop.install()
child = os.fork()
if child == 0:
    if sys.argv[1] == "held back":  # nothing could be told of it otherwise
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        signal.getsignal(signal.SIGTERM)(signal.SIGTERM, None)
        is_default = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        os._exit(signal.SIGTERM in signal.sigpending() and is_default)
    os.kill(os.getpid(), signal.SIGTERM)
    os._exit(3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize(
    ("how", "code"), [("", -signal.SIGTERM), ("held back", 1)], ids=["it dies", "of the signal"]
)
def test_a_child_that_has_not_set_up_its_own_yet(how, code):
    """It has nothing to lose, and nothing of main's to do."""
    assert said_by(CHILD, how) == [str(int(code))]
