"""What a worker tells main of its start: one message a line, over a pipe that main opened for it.

Main reads along with it, so the pipe must carry two things: what the worker has to say, and the
stacks that `faulthandler` writes in C when main asks for one (`REQUEST`), whoever holds the GIL. A
message begins with a byte that no stack contains.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any

REQUEST: int = signal.SIGRTMAX - 3 if hasattr(signal, "SIGRTMAX") else signal.SIGUSR2
"""The signal by which main asks a worker where it is. One that nobody has a use for: it must be
told from what the user's code may handle itself."""

MARK = b"\x1e"


class Reports:
    """The worker's end. Never blocks and never fails: what main can't take is dropped.

    Args:
        connection: from main; kept open for as long as the worker lives.
        where: called when main asks: says where Python code is, as far as that is not on the stack.
    """

    def __init__(self, connection: Connection, where: Callable[[FrameType | None], Any]) -> None:
        self._connection = connection
        self._where = where
        self._pid = os.getpid()
        os.set_blocking(connection.fileno(), False)
        # In this order: `chain` calls what was there before, Python's own handler.
        signal.signal(REQUEST, self._answer)
        if hasattr(faulthandler, "register"):
            faulthandler.register(REQUEST, file=connection.fileno(), all_threads=True, chain=True)
        self.send("hello")

    def send(self, *words: object) -> bool:
        """Returns whether main will see it."""
        if os.getpid() != self._pid:  # a child that this worker forked
            return False
        message = MARK + json.dumps(words, default=str).encode() + b"\n"
        try:
            return os.write(self._connection.fileno(), message) == len(message)
        except OSError:
            return False

    def _answer(self, signum: int, frame: FrameType | None) -> None:
        self.send("where", *self._where(frame))


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


def frames_of(stack: str) -> list[tuple[str, int, str]]:
    """The frames of the main thread in what `faulthandler` wrote: file, line, function.

    Innermost first, as it writes them. The thread that the signal was delivered to is the
    "current" one; only where there is none, or it is not Python's, the last thread is taken: the
    main thread is the oldest, and the list is from the youngest to the oldest.
    """
    threads: list[list[tuple[str, int, str]]] = []
    current: list[tuple[str, int, str]] | None = None
    for line in stack.splitlines():
        if line.startswith(("Thread ", "Current thread ", "Stack (most recent")):
            threads.append([])
            if not line.startswith("Thread "):
                current = threads[-1]
        elif line.startswith('  File "') and threads:
            file, _, rest = line[8:].rpartition('", line ')
            number, _, function = rest.partition(" in ")
            threads[-1].append((file, int(number) if number.isdigit() else 0, function))
    return current or (threads[-1] if threads else [])


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
