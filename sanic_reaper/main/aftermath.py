"""What main does when the interpreter exits after the server has stopped.

Assumes that the server has stopped. Guarantees that threads of a cut-short listener do not delay
the exit, and that the user learns which of their own threads do.
"""

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
"""Seconds for which the exit of the interpreter waits for threads of a cut-short listener."""


def name_threads_that_are_waited_for(left: Set[threading.Thread]) -> None:
    """Say in one line which threads the interpreter waits for, if they take long.

    The interpreter waits for each thread that is no daemon, and prints nothing about it.

    Args:
        left: threads that are not named, because `leave_threads` does not wait for them.
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
    """Exit without waiting for threads of a listener that a stop has cut short.

    A listener that awaits a thread can be interrupted. Its thread cannot, and the interpreter would
    wait for that thread without limit. Called when the interpreter begins to exit, in the main
    thread. All other threads are waited for, however long they take.
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
    """Exit with code 0, after the `atexit` functions and a flush, as the interpreter does."""
    with suppress(Exception):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(0)


def waited_for() -> list[threading.Thread]:
    """The threads that the exit of the interpreter waits for."""
    main = threading.main_thread()
    return [thread for thread in threading.enumerate() if thread is not main and not thread.daemon]
