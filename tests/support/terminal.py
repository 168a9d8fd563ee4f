"""A terminal without a person in front of it."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
from contextlib import suppress


class Terminal:
    """A pseudo-terminal. What is started on `path` in a session of its own is controlled by it."""

    def __init__(self) -> None:
        self._master, self._slave = pty.openpty()
        self.path = os.ttyname(self._slave)
        self._open = True
        self._shown = b""

    def resize(self, lines: int, columns: int) -> None:
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    @property
    def shown(self) -> bytes:
        """All that has been printed so far."""
        if self._open:
            os.set_blocking(self._master, False)
            with suppress(BlockingIOError, OSError):
                while chunk := os.read(self._master, 65536):
                    self._shown += chunk
        return self._shown

    def close(self) -> None:
        """The window is closed, the connection lost."""
        if self._open:
            self._open = False
            os.close(self._slave)
            os.close(self._master)
