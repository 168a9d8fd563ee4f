"""As PID 1, as in a container, a process gets no signal that it has not asked for.

The kernel drops what would have its default action (`SIGNAL_UNKILLABLE`, kernel/signal.c): until
the server handles SIGTERM itself, `docker stop` would wait for its SIGKILL.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType


def hear_sigterm() -> None:
    """Let SIGTERM end this process as it would end any other that has nothing running yet."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _end)


def _end(signum: int, frame: FrameType | None) -> None:
    if os.getpid() == 1:
        raise SystemExit(0)
    # A child that was forked before the server came: for it this is a signal like any other.
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)
