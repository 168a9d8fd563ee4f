"""Main's stop signals: whom they interrupt, and what they are when the server is over."""

from __future__ import annotations

import signal

import pytest
from support.census import wait_until
from support.programs import said_by

from sanic_reaper.main import signals
from sanic_reaper.main.signals import ALWAYS, DEBOUNCE, ONLY_IF_DEFAULT, StopRequested, StopSignals


@pytest.fixture
def before():
    """The SIGTERMs that arrive at whoever handled them before the server."""
    handlers = {signum: signal.getsignal(signum) for signum in (*ALWAYS, *ONLY_IF_DEFAULT)}
    arrived: list[int] = []
    # A shell's background job ignores SIGINT and SIGQUIT, and `nohup` SIGHUP.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for signum in ONLY_IF_DEFAULT:
        signal.signal(signum, signal.SIG_DFL)
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


@pytest.fixture
def slow(monkeypatch):
    """A second Ctrl+C may come long after the first."""
    monkeypatch.setattr(signals, "LATE_SIGNAL_GRACE", 60.0)


@pytest.fixture
def late(monkeypatch):
    """It has been a long time since the server's end."""
    monkeypatch.setattr(signals, "LATE_SIGNAL_GRACE", 0.0)


def is_ours(stop: StopSignals, signum: int) -> bool:
    return signal.getsignal(signum) == stop._handle


def test_a_signal_in_the_last_lines_of_serve_is_dropped(stop, before, late):
    stop.drop_further()
    signal.raise_signal(signal.SIGTERM)
    assert before == []
    assert stop.received is None


def test_the_handlers_are_those_of_before(stop, before):
    signal.raise_signal(signal.SIGTERM)
    stop.drop_further()
    stop.restore()
    assert not any(is_ours(stop, signum) for signum in stop.handled)
    signal.raise_signal(signal.SIGTERM)
    assert before == [signal.SIGTERM]


def kept(stop: StopSignals) -> list[int]:
    """The signals whose handler is still the server's."""
    return [signum for signum in stop.handled if is_ours(stop, signum)]


def test_a_second_ctrl_c_is_dropped(stop, slow):
    """Another signal is not: it comes from somebody who means it."""
    signal.raise_signal(signal.SIGINT)
    stop.drop_further()
    stop.restore()
    assert kept(stop) == [signal.SIGINT]
    signal.raise_signal(signal.SIGINT)
    assert is_ours(stop, signal.SIGINT)


@pytest.mark.parametrize("signum", [*ALWAYS, *ONLY_IF_DEFAULT])
def test_a_signal_that_is_repeated_is_dropped_once_more(stop, before, slow, signum):
    """Who sends a signal again and again may send it between the server and the script's end."""
    signal.raise_signal(signum)
    signal.raise_signal(signum)
    stop.drop_further()
    stop.restore()
    assert kept(stop) == [signum]
    signal.raise_signal(signum)
    assert is_ours(stop, signum)
    assert before == []


def test_a_signal_in_the_last_lines_of_serve_may_be_repeated_too(stop, before, slow):
    stop.drop_further()
    signal.raise_signal(signal.SIGHUP)
    stop.restore()
    assert kept(stop) == [signal.SIGHUP]


def test_a_repeated_signal_is_the_scripts_when_that_time_is_over(stop, before, slow, monkeypatch):
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    stop.drop_further()
    stop.restore()
    monkeypatch.setattr(signals, "LATE_SIGNAL_GRACE", 0.0)
    signal.raise_signal(signal.SIGTERM)
    wait_until(lambda: before == [signal.SIGTERM], 5, "the signal")
    assert kept(stop) == []


def test_ctrl_c_is_the_scripts_when_that_time_is_over(stop, slow, monkeypatch):
    signal.raise_signal(signal.SIGINT)
    stop.drop_further()
    stop.restore()
    monkeypatch.setattr(signals, "LATE_SIGNAL_GRACE", 0.0)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_that_calls_the_one_that_it_has_found(stop, slow, monkeypatch):
    signal.raise_signal(signal.SIGINT)
    stop.drop_further()
    stop.restore()
    found = signal.signal(signal.SIGINT, lambda signum, frame: found(signum, frame))
    assert found == stop._handle
    monkeypatch.setattr(signals, "LATE_SIGNAL_GRACE", 0.0)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) not in (found, signal.default_int_handler)


def test_a_handler_that_the_script_has_installed_stays(stop):
    stop.drop_further()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    stop.restore()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_a_signal_while_the_interpreter_exits_right_after_the_server(stop, before, slow):
    stop.drop_further()
    stop.restore()
    stop.drop_at_exit()
    signal.raise_signal(signal.SIGTERM)
    assert before == []


def test_an_exit_that_takes_long_can_be_ended(stop, before, slow, monkeypatch):
    stop.drop_further()
    stop.restore()
    stop.drop_at_exit()
    monkeypatch.setattr(signals, "LATE_SIGNAL_GRACE", 0.0)
    signal.raise_signal(signal.SIGTERM)
    wait_until(lambda: before == [signal.SIGTERM], 5, "the signal")


def test_the_exit_of_a_script_that_went_on_is_its_own(stop, before, late):
    stop.drop_further()
    stop.restore()
    stop.drop_at_exit()
    assert not any(is_ours(stop, signum) for signum in stop.handled)


# -- where Sanic's own manager runs the workers ---------------------------------------------------


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_first_signal_is_passed_on_and_no_other(before, signum):
    """Sanic would kill whole process groups at the second one."""
    heard, passed_on = [], []
    stop = StopSignals(lambda signum: heard.append("first"), lambda signum: heard.append("second"))
    stop.install()
    for number in ALWAYS:  # as the constructor of Sanic's manager does
        signal.signal(number, lambda signum, frame: passed_on.append(signum))
    stop.accompany()
    signal.raise_signal(signum)
    stop._received_at -= DEBOUNCE
    signal.raise_signal(signal.SIGTERM)
    assert heard == ["first", "second"]
    assert passed_on == [signum if signum in ALWAYS else signal.SIGTERM]


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


def test_a_handler_of_the_scripts_that_calls_the_one_before_it_does_not_end_the_script(stop, late):
    """Before the server there was the default action, which can't be called."""
    ours, heard = signal.getsignal(signal.SIGHUP), []

    def mine(signum, frame):
        heard.append(signum)
        ours(signum, frame)

    signal.signal(signal.SIGHUP, mine)
    stop.restore()
    signal.raise_signal(signal.SIGHUP)
    assert heard == [signal.SIGHUP]
    assert signal.getsignal(signal.SIGHUP) is mine
