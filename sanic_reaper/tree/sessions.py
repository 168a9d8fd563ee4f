"""The sessions of a server's descendants, as evidence for processes that the main process adopts.

A process is born into the session of its parent, or leads a session of its own (setsid(2)). So a
daemon that continues in a new child again and again is known by its session. What the user's script
starts is in the main process's session, or leads one.
"""

from __future__ import annotations

import os

from .process import Handle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Set

    from ..platform.base import Identity, Row

MAX_SESSIONS = 1000
"""Sessions that are remembered. Beyond that number, those without a living member are forgotten."""


class Sessions:
    """The sessions in which descendants of the server are, or were, and nobody else.

    Args:
        main: pid of the main process.
    """

    __slots__ = ("_found", "_main", "_of_main")

    def __init__(self, main: int) -> None:
        self._main = main
        self._found: set[int | None] = set()
        # Each session that the main process has been in: a listener may call `setsid`.
        self._of_main: set[int | None] = {None, session_of(main)}

    def note(
        self,
        new: Set[Identity],
        known: Set[Identity],
        preexisting: Set[Identity],
        exempt: Set[Identity],
    ) -> None:
        """Note the sessions of the descendants that a scan has shown.

        Args:
            new: those that were not known before the scan.
            known: all of them.
            preexisting: those that the main process had before the server.
            exempt: processes that are to outlive the server.
        """
        self._of_main.add(session_of(self._main))
        if len(self._found) > MAX_SESSIONS:
            self._found.clear()
            new = known
        if new := new - preexisting:
            others = {session_of(pid) for pid, _ in (*exempt, *preexisting)}
            found = {session_of(pid) for pid, start in new if Handle(pid, start, None).alive()}
            self._found |= found - others - self._of_main

    def has_member(self, row: Row) -> bool:
        """Whether a process was born into one of these sessions."""
        return bool(self._found) and session_of(row.pid) in self._found - {row.pid}

    def is_foreign(self, row: Row) -> bool:
        """Whether a process is in a session that is neither the main process's nor its own: only
        another process than the main process can have forked it there."""
        found = session_of(row.pid)
        return found is not None and found not in self._of_main | {row.pid}


def session_of(pid: int) -> int | None:
    """The id of the session of a process. `None` if the process has exited, or if a security module
    denies the answer."""
    try:
        return os.getsid(pid)
    except OSError:
        return None
