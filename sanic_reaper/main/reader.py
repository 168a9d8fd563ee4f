"""Main's end of the pipe on which a worker reports: messages, and faulthandler's stacks."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from ..platform import mark_of
from ..untrusted import whole
from ..worker.reports import MARK

MOST_AT_ONCE = 262_144
"""Bytes that are read in one turn, so that a worker that never stops to write holds nobody up."""

LONGEST = 262_144
"""Bytes of one line. What is longer is neither a message nor a line of a stack."""


class Reader:
    """Main's end: messages here, stacks there.

    User code in the worker may write to descriptors that are not its own, and user code in main may
    close them: nothing that is read is trusted.

    Attributes:
        is_lost: nothing more will come, as one of the ends is closed. So it is when the worker has
            exited.
    """

    def __init__(self, connection: Connection) -> None:
        self.is_lost = False
        # A descriptor of its own: closing a `Connection` would close whatever has its number.
        self._fd = os.dup(connection.fileno())
        connection.close()
        self._mark = mark_of(self._fd)
        self._partial = b""
        os.set_blocking(self._fd, False)

    def read(self) -> tuple[list[Any], str]:
        """The messages, which may be anything, and the text of stacks that have come since."""
        *lines, self._partial = (self._partial + self._read()).split(b"\n")
        if len(self._partial) > LONGEST:
            self._partial = b""
        messages, stack = [], []
        for line in lines:
            if line.startswith(MARK):
                with suppress(ValueError, RecursionError):  # a stack was written into its midst
                    messages.append(json.loads(line[1:]))
            else:
                stack.append(line.decode("utf-8", "replace") + "\n")
        return messages, "".join(stack)

    def _read(self) -> bytes:
        data = b""
        while len(data) < MOST_AT_ONCE and not self.is_lost:
            if mark_of(self._fd) != self._mark:  # somebody has closed it
                self._fd, self.is_lost = -1, True
                break
            try:
                chunk = os.read(self._fd, 65536)
            except OSError:  # nothing more for now
                break
            self.is_lost = not chunk
            data += chunk
        return data

    def close(self) -> None:
        if self._fd >= 0 and mark_of(self._fd) == self._mark:
            os.close(self._fd)
        self._fd, self.is_lost = -1, True


def frames_of(stack: str, thread: int = 0) -> list[tuple[str, int, str]]:
    """The frames of one thread in what `faulthandler` wrote: file, line, function.

    Innermost first, as it writes them. The thread that the signal was delivered to is the
    "current" one; only where there is none, or it is not Python's, the last thread is taken: the
    main thread is the oldest, and the list is from the youngest to the oldest.

    Args:
        thread: its `ident`; if there is none by this one, the result is empty. 0: the main thread.
    """
    threads: list[list[tuple[str, int, str]]] = []
    current: list[tuple[str, int, str]] | None = None
    wanted: list[tuple[str, int, str]] = []
    for line in stack.splitlines():
        if line.startswith(("Thread ", "Current thread ", "Stack (most recent")):
            threads.append([])
            if thread and _ident_in(line) == thread:
                wanted = threads[-1]
            if not line.startswith("Thread "):
                current = threads[-1]
        elif line.startswith('  File "') and threads:
            file, _, rest = line[8:].rpartition('", line ')
            number, _, function = rest.partition(" in ")
            threads[-1].append((file, _line(number), function))
    if thread:
        return wanted
    return current or (threads[-1] if threads else [])


def _line(number: str) -> int:
    try:
        return whole(number)
    except ValueError:
        return 0


def _ident_in(heading: str) -> int:
    """Of a thread, from the line above its frames: `Thread 0x00007f31 [name] (most recent ...`."""
    word = heading.removeprefix("Current thread ").removeprefix("Thread ").partition(" ")[0]
    try:
        return int(word, 16)
    except ValueError:
        return 0


def other_threads(stack: str) -> list[str]:
    """The lines of the threads that are not the current one."""
    lines: list[str] = []
    is_other = False
    for line in stack.splitlines():
        if line and not line.startswith(" "):
            is_other = line.startswith("Thread ")
        if is_other and line:
            lines.append(line)
    return lines
