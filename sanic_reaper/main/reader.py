"""The main process's end of a worker's pipe: reads messages, and the stacks of `faulthandler`."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from ..platform import mark_of
from ..worker.reports import PREFIX

MOST_AT_ONCE = 262_144
"""Bytes read in one turn of the loop, so that a worker that never stops writing blocks nothing."""

LONGEST = 262_144
"""Maximum length of a line, in bytes. A longer one is neither a message nor a line of a stack."""


class Reader:
    """Reads a worker's pipe, and separates messages from stacks.

    User code in the worker can write to descriptors that are not its own, and user code in main can
    close them. So nothing that is read is trusted.

    Attributes:
        is_lost: whether one end is closed, so that nothing more will arrive. The exit of the worker
            closes its end.
    """

    def __init__(self, connection: Connection) -> None:
        self.is_lost = False
        # A duplicate, which `close` can check: a `Connection` closes whatever has its number.
        self._fd = os.dup(connection.fileno())
        connection.close()
        self._mark = mark_of(self._fd)
        self._partial = b""
        os.set_blocking(self._fd, False)

    def read(self) -> tuple[list[Any], str]:
        """The messages and the text of stacks that arrived since the last call.

        A message can be any JSON value.
        """
        *lines, self._partial = (self._partial + self._read()).split(b"\n")
        if len(self._partial) > LONGEST:
            self._partial = b""
        messages, stack = [], []
        for line in lines:
            if line.startswith(PREFIX):
                with suppress(
                    ValueError, RecursionError
                ):  # a stack was written into the middle of it
                    messages.append(json.loads(line[1:]))
            else:
                stack.append(line.decode("utf-8", "replace") + "\n")
        return messages, "".join(stack)

    def _read(self) -> bytes:
        data = b""
        while len(data) < MOST_AT_ONCE and not self.is_lost:
            if mark_of(self._fd) != self._mark:  # user code has closed it
                self._fd, self.is_lost = -1, True
                break
            try:
                chunk = os.read(self._fd, 65536)
            except OSError:  # nothing more for now
                break
            self.is_lost = not chunk
            data += chunk
        return data

    @property
    def descriptors(self) -> list[int]:
        """The descriptor to wait for, if it is still that of the pipe and no end is closed."""
        is_open = not self.is_lost and mark_of(self._fd) == self._mark
        return [self._fd] if is_open else []

    def close(self) -> None:
        if self._fd >= 0 and mark_of(self._fd) == self._mark:
            os.close(self._fd)
        self._fd, self.is_lost = -1, True
