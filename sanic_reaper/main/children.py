"""Zombies that the kernel has handed to main.

A subreaper inherits the orphans among its descendants, and must reap them when they die, or they
stay as zombies for as long as it lives. `waitpid(-1)` would do it, and would steal the exit status
of every child that somebody in this process is going to wait for.

Nothing in main tells which child it has forked: Python code can start one by `subprocess`,
`os.fork`, `os.posix_spawn` or `pty.fork`, and C code in its own way. So main reaps what is proved
to be adopted, and nothing else. The watchdog has the proof (`tree/remains.py`).
"""

from __future__ import annotations

import os
from contextlib import suppress

from . import main_internals


def reap_adopted(zombies: set[int]) -> None:
    """Reap zombies that are proved to be adopted.

    Args:
        zombies: their pids. A process that `multiprocessing` has started here is left to it all the
            same: a worker has the proof about it that its children have from it.
    """
    for pid in zombies - main_internals.multiprocessing_children():
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
