"""A SyncManager whose process ends with main, and not before the workers."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING, Any

from . import main_internals
from .contexts import QuietContext
from .process import Handle
from .worker import TERMINAL_SIGNALS, arm, main_lives

if TYPE_CHECKING:
    from .platform.base import Identity

_LOOK_EVERY = 0.05
"""Seconds between two looks of an orphaned SyncManager at who still talks to it."""


def guarded_manager(main: Identity, grace: float, watchdog: Identity) -> Any:
    """`multiprocessing.Manager()`, with a manager process that ends with main."""
    from multiprocessing.managers import SyncManager

    main_internals.ensure_temporary_directory()
    context: Any = QuietContext(multiprocessing.get_context())
    manager = SyncManager(ctx=context)
    manager.start(enter_manager, (*main, grace, watchdog))
    return manager


def enter_manager(main_pid: int, main_start: int, grace: float, watchdog: Identity) -> None:
    """The initializer of a SyncManager: it ends after main, and after the workers.

    A service manager that signals every process at once must not take it from under workers that
    still tell it how they end: SIGTERM counts only when main is gone. The watchdog sends it then;
    where there is none the SyncManager ends when nobody talks to it any more, or after `grace`.
    """
    alone = threading.active_count() + 1  # and the thread that accepts connections
    last_moment = float("inf")

    def orphaned(signum: int, frame: FrameType | None) -> None:
        nonlocal last_moment
        Handle(*watchdog, None).send(signal.SIGCONT)  # somebody may have stopped it
        last_moment = time.monotonic() + grace
        signal.setitimer(signal.ITIMER_REAL, _LOOK_EVERY, _LOOK_EVERY)

    def look(signum: int, frame: FrameType | None) -> None:
        if threading.active_count() <= alone or time.monotonic() >= last_moment:
            end(signum, frame)

    def end(signum: int, frame: FrameType | None) -> None:
        if not main_lives(main_pid, main_start):
            # By default its directory would stay in /tmp; its own way out takes 0.3 s.
            main_internals.remove_temporary_directory()
            os._exit(0)

    for terminal in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(terminal, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGUSR2, orphaned)
    signal.signal(signal.SIGALRM, look)
    arm(main_pid, signal.SIGUSR2)
    if not main_lives(main_pid, main_start):
        os._exit(0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TERMINAL_SIGNALS | {signal.SIGTERM})
