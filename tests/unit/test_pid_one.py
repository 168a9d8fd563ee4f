"""SIGTERM for a PID 1 that still imports, and what else has to do with that."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from support.programs import said_by

from sanic_reaper.pid_one import hear_sigterm

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")


@pytest.fixture
def sigterm():
    """Set what SIGTERM does, for the length of a test."""
    before = signal.getsignal(signal.SIGTERM)
    yield lambda handler: signal.signal(signal.SIGTERM, handler)
    signal.signal(signal.SIGTERM, before)


def users_own(*_: object) -> None: ...


@pytest.mark.parametrize("own", [users_own, signal.SIG_IGN], ids=["handled", "ignored"])
def test_who_has_seen_to_sigterm_himself_keeps_that(sigterm, own):
    sigterm(own)
    hear_sigterm()
    assert signal.getsignal(signal.SIGTERM) == own


def test_it_is_left_alone_where_the_app_is_imported_in_a_thread(sigterm):
    """Python sets handlers in its main thread alone, and says so with an error."""
    sigterm(signal.SIG_DFL)
    errors = []

    def work() -> None:
        try:
            hear_sigterm()
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not errors
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_child_that_main_forks_before_the_server_comes_dies_of_it_as_any_other():
    program = (
        "import os, signal\n"
        "from sanic_reaper.pid_one import hear_sigterm\n"
        "hear_sigterm()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "    os._exit(3)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    assert said_by(program) == [str(-signal.SIGTERM)]


def test_what_it_dies_of_is_the_signal_itself():
    """Held back here, as nothing could be told of it otherwise."""
    program = (
        "import signal\n"
        "from sanic_reaper.pid_one import hear_sigterm\n"
        "hear_sigterm()\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})\n"
        "signal.getsignal(signal.SIGTERM)(signal.SIGTERM, None)\n"
        "print(signal.getsignal(signal.SIGTERM).name, *map(int, signal.sigpending()))\n"
    )
    assert said_by(program) == [f"SIG_DFL {signal.SIGTERM:d}"]
