"""Reaps zombies that the main process has adopted as a subreaper.

A subreaper becomes the parent of each orphan among its descendants (prctl(2)). It must reap them,
or they stay zombies until it exits. `waitpid(-1)` would reap them, and would also take the exit
status of children that other code in the main process waits for.

The main process cannot know each child that it has forked: Python code starts children by
`subprocess`, `os.fork`, `os.posix_spawn` or `pty.fork`, and C code in its own way. So main reaps
only zombies that are proved to be adopted. The watchdog finds the proof (`tree/birthmark.py`).
"""

from __future__ import annotations

import os
from contextlib import suppress

from ..compat import services
from ..platform.base import Identity
from ..tree.process import start_of


class AdoptedZombies:
    """The adopted zombies that the watchdog has reported, until main reaps them."""

    def __init__(self) -> None:
        self._found: set[Identity] = set()

    def add(self, pid: int, start: int) -> None:
        """Note a zombie by its pid and creation time."""
        self._found.add((pid, start))

    def reap(self) -> None:
        """Reap them. A pid that belongs to another process by now is left alone."""
        if self._found:
            found, self._found = self._found, set()
            reap_adopted({pid for pid, start in found if start_of(pid) == start})


def reap_adopted(zombies: set[int]) -> None:
    """Reap zombies that are proved to be adopted.

    Args:
        zombies: their pids. A process that `multiprocessing` has started here is left to it all the
            same: a worker has the proof about it that its children have from it.
    """
    for pid in zombies - services.multiprocessing_children():
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
