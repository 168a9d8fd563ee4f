"""Main's end of the pipe on which a worker reports: messages, and faulthandler's stacks."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from ..platform import mark_of
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
