"""Lets `sanic-reaper dump main` read the main process's stacks, even while its loop is blocked.

`faulthandler` writes the stacks from a signal handler in C, whichever thread holds the GIL, into a
file in the server's directory. The command empties the file, sends the signal, and reads the file.
The kernel decides who may do that: the main process's own user, and root.
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

CHECK_EVERY = 1.0
"""Seconds between two checks that the file still exists and is still open."""


class OwnStack:
    """The file of the main process's stacks, and the signal that fills it.

    Args:
        run: the id of this run.
    """

    def __init__(self, run: str) -> None:
        self._name = run + state.STACK
        self._directory = ""
        self._fd = -1
        self._mark: tuple[int, int] | None = None
        """Identity of the open file behind `_fd`, which tells whether the number was reused."""
        self._file: tuple[int, int] | None = None
        """Device and inode of the file that `faulthandler` writes to."""
        self._next_check = 0.0

    def open(self, directory: str) -> None:
        """Create the file in this directory and register the signal. "" for neither."""
        self.close()
        if not directory or not hasattr(faulthandler, "register"):
            return
        if signal.getsignal(REQUEST) is not signal.SIG_DFL:
            return  # the user's own handler keeps its signal
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
        """Create the file again if it was removed, or if user code has closed its descriptor.

        `faulthandler` would otherwise write into whatever file has the descriptor's number now.

        Args:
            now: on the monotonic clock.
        """
        if self._directory and now >= self._next_check:
            self._next_check = now + CHECK_EVERY
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
