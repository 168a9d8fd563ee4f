"""Where main itself is, also while it does not turn its loop: `sanic-reaper dump main`.

`faulthandler` writes main's stacks from a signal handler in C, whoever holds the GIL, into a file
in the server's directory. The one who asks empties the file, sends the signal, and reads. Who may
do that is up to the kernel: the file and the signal are for main's own user, and root.
"""

from __future__ import annotations

import faulthandler
import os
import signal

from .. import state
from ..log import log
from ..model.questions import REQUEST
from ..platform import mark_of
from ..state import statedir

LOOK_EVERY = 1.0
"""Seconds between two looks at whether the file is still there, and still open."""


class OwnStack:
    """Main's end.

    Args:
        run: the id of this run.
    """

    def __init__(self, run: str) -> None:
        self._name = run + state.STACK
        self._directory = ""
        self._fd = -1
        self._mark: tuple[int, int] | None = None
        """What `_fd` was when it was opened."""
        self._file: tuple[int, int] | None = None
        """Device and inode of the file that is written to."""
        self._next_look = 0.0

    def open(self, directory: str) -> None:
        """Be ready to be asked in this directory, and in no other one. "": nobody can ask."""
        self.close()
        if not directory or not hasattr(faulthandler, "register"):
            return
        if signal.getsignal(REQUEST) is not signal.SIG_DFL:
            return  # the user's own: whoever sends it means that
        self._directory = directory
        try:
            self._fd = statedir.open_for_appending(directory, self._name)
            self._mark = mark_of(self._fd)
            faulthandler.register(REQUEST, file=self._fd, all_threads=True)
        except (OSError, RuntimeError, ValueError) as error:
            log.debug("main can't show its stack: %s", error)
            self._forget()
        self._file = statedir.file_id(directory, self._name)

    def turn(self, now: float) -> None:
        """Make the file again if somebody has removed it, or has closed it: `faulthandler` would
        write into whatever has its number.

        Args:
            now: on the monotonic clock.
        """
        if self._directory and now >= self._next_look:
            self._next_look = now + LOOK_EVERY
            found = statedir.file_id(self._directory, self._name)
            is_open = self._fd >= 0 and mark_of(self._fd) == self._mark
            if not is_open or found is None or found != self._file:
                self.open(self._directory)

    def close(self) -> None:
        if self._fd >= 0:
            self._forget()
            statedir.remove(self._directory, self._name)
        self._directory = ""

    def _forget(self) -> None:
        faulthandler.unregister(REQUEST)
        if self._fd >= 0:
            if mark_of(self._fd) == self._mark:
                os.close(self._fd)
            self._fd = -1
