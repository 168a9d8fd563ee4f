"""The stop signals of a process that main starts, where no real server shows it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
from support.programs import executed

from sanic_reaper import platform
from sanic_reaper.tree.process import start_of
from sanic_reaper.worker import guard
from sanic_reaper.worker.helper_stop import HelperStop
from sanic_reaper.worker.stopping import ProcessStop, ServerStop

PARENT = os.getppid(), start_of(os.getppid())
TAKEN = signal.SIGINT, signal.SIGTERM, signal.SIGCONT, signal.SIGALRM


def a_config(main: tuple[int, int] = PARENT) -> Any:
    return SimpleNamespace(main_pid=main[0], main_start=main[1], pdeathsig=0, orphan_grace=5.0)


@pytest.fixture(autouse=True)
def handlers():
    """The handlers of the tests themselves, which are put back."""
    before = {signum: signal.getsignal(signum) for signum in TAKEN}
    yield before
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.fixture
def loop():
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


class AnApp(SimpleNamespace):
    """An app, and what was asked of it."""

    def __init__(self) -> None:
        super().__init__(asked=[], multiplexer=self)

    def terminate(self) -> None:
        self.asked.append("main")

    def stop(self, terminate: bool) -> None:
        assert not terminate
        self.asked.append("stop")


# -- a worker -------------------------------------------------------------------------------------


def test_a_worker_whose_app_is_unknown_keeps_the_signal_handlers_of_sanic(loop, handlers):
    """And Sanic's own function cleans up."""
    stop, cleaned = ServerStop(a_config()), []
    stop._serve(None, loop)
    stop._clean_up(lambda: cleaned.append(1))
    assert not stop.has_signals()
    assert {signum: signal.getsignal(signum) for signum in TAKEN} == handlers
    assert cleaned == [1]


@pytest.mark.parametrize("terminate", [True, False])
def test_a_stop_of_the_app_waits_until_the_worker_serves(loop, terminate):
    """Main is asked to stop the server only if the whole server is to stop."""
    stop, app = ServerStop(a_config()), AnApp()
    stop._set_up(app, False, True, loop)
    assert stop._take_stop(app, terminate)
    loop.run_until_complete(asyncio.sleep(0.01))
    assert app.asked == (["main"] if terminate else []), "not yet"
    stop._is_serving = True
    loop.run_until_complete(asyncio.sleep(0.1))
    assert app.asked == [*(["main"] if terminate else []), "stop"]
    assert not stop._take_stop(app, terminate), "Sanic stops it, from now on"


def test_a_stop_of_the_app_that_fails_ends_the_loop_all_the_same(loop):
    stop, app, failed = ServerStop(a_config()), AnApp(), []
    stop._set_up(app, False, True, loop)
    stop._is_serving = True
    app.stop = lambda terminate: 1 / 0
    loop.set_exception_handler(lambda _, context: failed.append(context["exception"]))
    loop.call_later(30.0, loop.stop)
    loop.call_soon(stop._stop)
    began = loop.time()
    loop.run_forever()
    assert loop.time() - began < 20
    assert [type(error) for error in failed] == [ZeroDivisionError]


def test_a_child_that_a_worker_has_forked_is_not_ended_by_the_workers_alarm():
    """An alarm is not inherited, but the handler is, and the child may set one of its own."""
    stop = ProcessStop(a_config())
    child = os.fork()
    if child == 0:
        stop._exit_at_once(signal.SIGALRM, None)
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


# -- a process that is no server ------------------------------------------------------------------


def test_a_process_that_is_no_server_has_its_stop_signals_at_once():
    assert ProcessStop(a_config()).has_signals()


def test_the_users_handler_of_sigint_is_called_once():
    """Also if more than one SIGTERM comes, as from a terminal and a supervisor at once."""
    stop, called = HelperStop(a_config()), []
    stop.install()
    signal.signal(signal.SIGINT, lambda signum, frame: called.append(signum))
    for _ in range(2):
        signal.raise_signal(signal.SIGTERM)
    assert called == [signal.SIGINT]


def test_the_first_of_the_stop_signals_is_the_only_interrupt():
    stop = HelperStop(a_config())
    stop.install()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGTERM)


IGNORES_SIGINT = """
import os, signal, sys
from types import SimpleNamespace
from sanic_reaper.worker.helper_stop import HelperStop
main = SimpleNamespace(main_pid=os.getppid(), main_start=0, pdeathsig=0)
HelperStop(main).install()
signal.signal(signal.SIGINT, signal.SIG_IGN)
if sys.argv[1] == "blocked":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.getsignal(signal.SIGTERM)(signal.SIGTERM, None)
    print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, signal.sigpending())
else:
    signal.raise_signal(signal.SIGTERM)
    print("lives on")
"""


def test_sigterm_ends_one_that_ignores_sigint():
    done = executed(IGNORES_SIGINT, "unblocked")
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, ""), done.stderr
    done = executed(IGNORES_SIGINT, "blocked")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split(maxsplit=1) == ["True", f"{ {signal.SIGTERM}!r}\n"]


# -- main's death ---------------------------------------------------------------------------------


def a_dead_process() -> tuple[int, int]:
    with subprocess.Popen(["sleep", "60"]) as process:
        identity = process.pid, start_of(process.pid)
        process.kill()
    return identity


@pytest.mark.parametrize(
    ("lives", "signum", "comes"),
    [(True, signal.SIGCONT, False), (False, signal.SIGCONT, True), (False, 0, False)],
    ids=["main lives", "main is dead", "main is dead and no signal is wanted"],
)
def test_a_worker_whose_main_has_died_before_it_was_tied_stops_now(lives, signum, comes):
    """The kernel sends nothing for a parent that has died before it was asked to (prctl(2))."""
    received = []
    signal.signal(signal.SIGCONT, lambda signum, frame: received.append(signum))
    try:
        guard.tie(PARENT if lives else a_dead_process(), signum)
    finally:
        platform.parent_death_signal(0)
    assert bool(received) is comes
