"""Makes a process that main has started stop when main dies.

The process of a SyncManager loads this module and little else of the Reaper, and nothing of Sanic.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal

from .. import platform
from ..tree.process import Handle

TERMINAL_SIGNALS = {signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}
"""Signals that a terminal sends to the whole process group. Main handles them for its processes."""


def arm(main_pid: int, signum: int) -> None:
    """Have the kernel send a signal to this process when main dies. 0: it sends none.

    Under forkserver the parent is the fork server, which lives as long as any process that it has
    forked. There the kernel signals this process when main's end of a pipe closes.
    """
    if not signum:
        return
    # If there is no prctl, main has logged once what that means.
    with contextlib.suppress(OSError):
        platform.parent_death_signal(signum)
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != main_pid:
        with contextlib.suppress(OSError, AttributeError):
            platform.reader_signal(parent.sentinel, signum)


def tie(main: tuple[int, int], signum: int) -> None:
    """Make a worker that Sanic itself has started stop when main dies, or now if main is dead."""
    arm(main[0], signum)
    if signum and not main_lives(*main):
        os.kill(os.getpid(), signum)


def alarm_in(seconds: float) -> None:
    """Have the kernel send SIGALRM to this process after so many seconds, once. 0: do not.

    Where a sandbox denies setitimer(2), the alarm comes at the next whole second.
    """
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
    except OSError:
        signal.alarm(math.ceil(seconds))


def main_lives(pid: int, start: int) -> bool:
    """Whether the main process that has started this one still lives.

    The parent's pid is enough for a child of main: a process whose parent dies gets another one.
    (The process table may be denied to this process, if it has become another user.)
    """
    if os.getppid() == pid:
        return True
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        return False  # main's end of the pipe closes a moment before main is a zombie
    return Handle(pid, start, None).alive()
