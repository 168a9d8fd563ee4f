"""What main does for the script when the server is over: nothing that the script would notice."""

from __future__ import annotations

import threading
import time

from ..log import log

THREADS_NAMED_AFTER = 1.0
"""Seconds for which the exit of the interpreter waits for threads before they are named."""


def name_threads_that_are_waited_for() -> None:
    """Say in one line which threads the interpreter waits for, if they take long.

    The interpreter exits only when each thread that is no daemon has ended, and says nothing.
    """
    if not waited_for():
        return

    def watch() -> None:
        time.sleep(THREADS_NAMED_AFTER)
        if names := [thread.name for thread in waited_for()]:
            log.info(
                "the server has stopped; the exit of the interpreter waits for %s %s",
                "the thread" if len(names) == 1 else f"{len(names)} threads:",
                ", ".join(names),
            )

    try:
        threading.Thread(target=watch, name="reaper-exit", daemon=True).start()
    except RuntimeError:  # no thread can be started any more
        pass


def waited_for() -> list[threading.Thread]:
    """The threads whose end the exit of the interpreter waits for."""
    main = threading.main_thread()
    return [thread for thread in threading.enumerate() if thread is not main and not thread.daemon]
