"""What main does for the script when the server is over: nothing that the script would notice."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Set
from contextlib import suppress
from types import FrameType

from ..log import log
from ..worker.guard import alarm_in

THREADS_NAMED_AFTER = 1.0
"""Seconds for which the exit of the interpreter waits for threads before they are named."""


THREADS_LEFT_AFTER = 1.0
"""Seconds for which the exit of the interpreter waits for threads that nobody needs any more."""


def name_threads_that_are_waited_for(left: Set[threading.Thread]) -> None:
    """Say in one line which threads the interpreter waits for, if they take long.

    The interpreter exits only when each thread that is no daemon has ended, and says nothing.

    Args:
        left: those that are not to be named, as `leave_threads` has them.
    """
    if not set(waited_for()) - left:
        return

    def watch() -> None:
        time.sleep(THREADS_NAMED_AFTER)
        if names := [thread.name for thread in waited_for() if thread not in left]:
            log.info(
                "the server has stopped; the exit of the interpreter waits for %s %s",
                "the thread" if len(names) == 1 else f"{len(names)} threads:",
                ", ".join(names),
            )

    try:
        threading.Thread(target=watch, name="reaper-exit", daemon=True).start()
    except RuntimeError:  # no thread can be started any more
        pass


def leave_threads(left: Set[threading.Thread]) -> None:
    """Exit without threads that belong to a listener which a stop has cut short.

    A listener that awaits a thread can be interrupted, its thread can't, and the interpreter would
    wait for it without end. Called when the interpreter begins to exit, in the main thread. All
    other threads have the time that they take.
    """
    if not left & set(waited_for()):
        return

    def ring(signum: int, frame: FrameType | None) -> None:
        waiting = set(waited_for())
        if waiting - left:
            alarm_in(THREADS_LEFT_AFTER)
        elif waiting:
            names = ", ".join(sorted(thread.name for thread in waiting))
            what = "the thread" if len(waiting) == 1 else "the threads"
            log.warning(
                "main exits before its start is complete, and does not wait for %s %s", what, names
            )
            _exit_now()

    signal.signal(signal.SIGALRM, ring)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    alarm_in(THREADS_LEFT_AFTER)


def _exit_now() -> None:
    """As the interpreter does when all threads have ended, as far as that can be had."""
    with suppress(Exception):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(0)


def waited_for() -> list[threading.Thread]:
    """The threads whose end the exit of the interpreter waits for."""
    main = threading.main_thread()
    return [thread for thread in threading.enumerate() if thread is not main and not thread.daemon]
