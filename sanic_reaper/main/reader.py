"""Main's end of the pipe on which a worker reports: messages, and faulthandler's stacks."""

from __future__ import annotations

import json
import os
from multiprocessing.connection import Connection
from typing import Any

from ..worker.reports import MARK


class Reader:
    """Main's end: messages here, stacks there."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._partial = b""
        os.set_blocking(connection.fileno(), False)

    def read(self) -> tuple[list[list[Any]], str]:
        """The messages and the text of stacks that have come since."""
        data = self._partial
        while True:
            try:
                chunk = os.read(self._connection.fileno(), 65536)
            except OSError:  # nothing more; or it is closed
                break
            if not chunk:
                break
            data += chunk
        *lines, self._partial = data.split(b"\n")
        messages, stack = [], []
        for line in lines:
            if line.startswith(MARK):
                try:
                    messages.append(json.loads(line[1:]))
                except ValueError:  # a stack was written into its midst
                    continue
            else:
                stack.append(line.decode("utf-8", "replace") + "\n")
        return messages, "".join(stack)

    def close(self) -> None:
        self._connection.close()


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
            threads[-1].append((file, int(number) if number.isdigit() else 0, function))
    if thread:
        return wanted
    return current or (threads[-1] if threads else [])


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
