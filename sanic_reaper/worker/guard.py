"""How a process that main has started ties itself to main.

A SyncManager's process has this in memory and little else of ours, and nothing of Sanic's.
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
"""What a terminal sends to the whole group. They are for main, which passes on what is meant."""


def arm(main_pid: int, signum: int) -> None:
    """Have the kernel signal this process when main dies. 0: nothing.

    Under forkserver the parent is the fork server, which lives on as long as any process that it
    has forked: there this process watches main itself, through a pipe whose other end main holds.
    """
    if not signum:
        return
    # Main has said what it means that there is no prctl: once, and not once in each worker.
    with contextlib.suppress(OSError):
        platform.parent_death_signal(signum)
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != main_pid:
        with contextlib.suppress(OSError, AttributeError):
            platform.reader_signal(parent.sentinel, signum)


def tie(main: tuple[int, int], signum: int) -> None:
    """Have a worker that was started without us stop when main dies, or now if main is dead."""
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

    By what the kernel says of this process, where that is enough: the process table may be denied
    to it, for it may have become another user. A child's parent is alive, or it has another one.
    """
    if os.getppid() == pid:
        return True
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        return False  # its end of the pipe is closed, a moment before it is a zombie
    return Handle(pid, start, None).alive()
