"""Main's children: those that it forked itself, and those that the kernel has handed to it.

A subreaper inherits the orphans among its descendants, and must reap them when they die, or they
stay as zombies for as long as it lives. `waitpid(-1)` would do it, and would steal the exit status
of every child that somebody in this process is going to wait for.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from weakref import ref

from . import main_internals


class OwnChildren:
    """Tells one from the other.

    Nothing records who forked a process once its parent is dead. But what Python code in this
    process forks has a name here: multiprocessing lists its children, a Popen object knows its pid,
    and `os.fork` tells those who have asked. Once main has called `os.fork` by itself, any child
    may be its own, and none is reaped. Not told are children of `os.posix_spawn` or of a C library.
    """

    def __init__(self) -> None:
        self.has_forked = False
        self._pid = os.getpid()
        self_ref = ref(self)

        def note() -> None:
            children = self_ref()
            if children is not None:
                children._note_fork(sys._getframe(1).f_globals.get("__name__", ""))

        os.register_at_fork(after_in_parent=note)

    def _note_fork(self, caller: str) -> None:
        if os.getpid() == self._pid and caller != "multiprocessing.popen_fork":
            self.has_forked = True

    def reap_adopted(self, zombies: set[int]) -> set[int]:
        """Reap those zombies that are nobody's here.

        Args:
            zombies: pids of zombie children of this process that are a second old or more: what
                somebody is waiting for in this moment is gone before.

        Returns:
            The pids that were reaped.
        """
        if self.has_forked:
            return set()
        adopted = zombies - main_internals.multiprocessing_children() - _popen_children()
        for pid in adopted:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass
        return adopted


def _popen_children() -> set[int]:
    """The pid of each Popen object, waited for or not. Also asyncio's, which holds one."""
    return {
        thing.pid
        for thing in gc.get_objects()
        if issubclass(type(thing), subprocess.Popen) and hasattr(thing, "pid")
    }
