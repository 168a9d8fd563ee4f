"""What the descendants of a worker have from it by birth: two ignored signals.

Of a child of main nobody can say who forked it: main, or a worker whose child came to main as an
orphan. The kernel keeps no record, and an environment can be cleaned, or be gone: that of a zombie
is. What is ignored is inherited by fork and exec alike, and `/proc/PID/status` shows it of a zombie
too. So each process that main starts for Sanic ignores two real-time signals that nobody uses, and
not the one between them: a program that ignores all signals does not look like that.

A program that handles these signals loses the mark (Go's runtime does), so without it nothing is
proved.
"""

from __future__ import annotations

import signal

_MAX: int = getattr(signal, "SIGRTMAX", 0)
IGNORED: tuple[int, ...] = (_MAX - 5, _MAX - 7) if _MAX else ()
DEFAULT = _MAX - 6


def take() -> None:
    """Let what this process starts from now on bear the mark. In the main thread only."""
    for signum in IGNORED:
        if signal.getsignal(signum) is signal.SIG_DFL:
            signal.signal(signum, signal.SIG_IGN)


def shed() -> None:
    """Let what this process starts from now on not bear the mark. In the main thread only.

    A server may have been started by a worker of another server.
    """
    for signum in IGNORED:
        if signal.getsignal(signum) is signal.SIG_IGN:
            signal.signal(signum, signal.SIG_DFL)


def is_borne(ignored: int) -> bool:
    """Whether a process bears it.

    Args:
        ignored: the signals that the process ignores, as `platform.ignored_signals` has them.
    """
    return bool(IGNORED) and ignored & _MASK == _PATTERN


_PATTERN = sum(1 << signum - 1 for signum in IGNORED)
_MASK = _PATTERN | (1 << DEFAULT - 1 if IGNORED else 0)
