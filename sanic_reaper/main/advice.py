"""Advice on the start method: one line when a server starts, and only where there is a risk."""

from __future__ import annotations

import os
import sys
import threading

BETTER = 'Sanic.start_method = "spawn" is safe'


def advice(method: str, system: str, threads: int, names: list[str]) -> str | None:
    """What is to be said of a start method.

    Args:
        method: as `multiprocessing` calls it.
        system: as `sys.platform` calls it.
        threads: how many run in the main process, itself included; also those not of Python's.
        names: of those of Python's that are not the main thread.
    """
    if method != "fork":
        return None
    if system == "darwin":
        return f"the start method is fork, which macOS's own libraries don't survive; {BETTER}"
    if threads > 1:
        known = f" ({', '.join(sorted(names))})" if names else ""
        return (
            f"the start method is fork, and main runs {threads} threads{known}: a worker may hang "
            f"for ever on a lock that one of them holds just then; {BETTER}"
        )
    return None


def for_this_process(method: str) -> str | None:
    others = [one.name for one in threading.enumerate() if one is not threading.main_thread()]
    return advice(method, sys.platform, max(_tasks(), len(others) + 1), others)


def _tasks() -> int:
    """The kernel also knows the threads that a C library has started."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 0
