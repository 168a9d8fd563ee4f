"""Handles SIGTERM in a process that is PID 1, from its first moment on.

The kernel drops each signal to PID 1 that PID 1 does not handle (`SIGNAL_UNKILLABLE`,
kernel/signal.c). Without this handler, `docker stop` during the import of the app would wait until
its own SIGKILL.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType


def hear_sigterm() -> None:
    """Let SIGTERM exit this process, as it kills any process that does not handle it."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _end)


def _end(signum: int, frame: FrameType | None) -> None:
    if os.getpid() == 1:
        raise SystemExit(0)
    # A child that was forked before the server started: SIGTERM has its default action there.
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)
