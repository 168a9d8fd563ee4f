"""The birthmark: two ignored signals that each descendant of a worker inherits.

The kernel does not record who forked a child of the main process: the main process itself, or a
worker whose child became the main process's when the worker exited. An environment is no record: a
program can clean its own, and a zombie has none. Ignored signals are inherited over fork and exec
(signal(7)), and `/proc/PID/status` shows them for a zombie too. So each process that main starts
for Sanic ignores two real-time signals that no program uses, and not the one between them, which
tells it from a program that ignores every signal.

A program that handles these signals loses the birthmark (Go's runtime does). So its absence proves
nothing.
"""

from __future__ import annotations

import signal

_MAX: int = getattr(signal, "SIGRTMAX", 0)
IGNORED: tuple[int, ...] = (_MAX - 5, _MAX - 7) if _MAX else ()
DEFAULT = _MAX - 6


def take() -> None:
    """Give the birthmark to each child that this process starts from now on. Main thread only."""
    for signum in IGNORED:
        if signal.getsignal(signum) is signal.SIG_DFL:
            signal.signal(signum, signal.SIG_IGN)


def shed() -> None:
    """Keep the birthmark from each child that this process starts from now on. Main thread only.

    Needed where a worker of one server has started another server.
    """
    for signum in IGNORED:
        if signal.getsignal(signum) is signal.SIG_IGN:
            signal.signal(signum, signal.SIG_DFL)


def is_borne(ignored: int) -> bool:
    """Whether a process bears the birthmark.

    Args:
        ignored: the signals that the process ignores, as `platform.ignored_signals` has them.
    """
    return bool(IGNORED) and ignored & _MASK == _PATTERN


_PATTERN = sum(1 << signum - 1 for signum in IGNORED)
_MASK = _PATTERN | (1 << DEFAULT - 1 if IGNORED else 0)
