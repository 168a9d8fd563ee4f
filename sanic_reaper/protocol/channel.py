"""The line between main and its watchdog: words, one message a line, over one descriptor.

Plain text, so that `strace` shows what was said, and no module that the watchdog would have to keep
in memory. `multiprocessing.Connection` was the alternative: 2 MB more in the watchdog.
"""

from __future__ import annotations

import os
from collections import deque

from ..platform.base import mark_of


def text_of(field: object) -> str:
    """A field of a message as text. A signal is its number: `str` makes its name of it before
    CPython 3.11."""
    return str(int(field)) if isinstance(field, int) else str(field)


def _on_one_line(field: object) -> str:
    return text_of(field).replace("\t", " ").replace("\n", " ")


class _Rest(bytes):
    """Of a message of which the peer has the beginning."""


class Channel:
    """One end. It never blocks: a peer that does not read must not stop the one that writes."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self.open = True
        """Whether the peer is still there."""
        self.lost = False
        """Whether it has not read for so long that it will never hear of something."""
        self._unsent: deque[bytes] = deque()
        self._partial = b""
        self._mark = mark_of(fd)

    def _is_ours(self) -> bool:
        """Whether the descriptor is. If not, somebody has closed it: it is another file's by now,
        or nobody's, and is not ours to close."""
        if self.open and mark_of(self.fd) != self._mark:
            self.open, self.fd = False, -1
        return self.open

    def send(self, *words: object) -> bool:
        """Queue one message. May be called in a signal handler, or in another thread.

        Each message is taken off the queue before it is written, so that a handler that runs in
        the midst of this can change the order of two messages, but not send one of them twice.

        Returns:
            `False` if the peer has exited, or its buffer is full because it does not read.
        """
        line = "\t".join(map(_on_one_line, words))
        self._unsent.append(line.encode("utf-8", "backslashreplace") + b"\n")
        return self.flush()

    @property
    def waits(self) -> bool:
        """Whether something is unsent. It goes out with `flush`, once the peer has made room."""
        return self.open and bool(self._unsent)

    def flush(self) -> bool:
        """Send what could not be sent before, as far as there is room now.

        Returns:
            As `send` does.
        """
        while self._unsent and self._is_ours():
            try:
                message = self._unsent.popleft()
            except IndexError:
                break
            try:
                written = os.write(self.fd, message)
            except BlockingIOError:
                self._unsent.appendleft(message)
                if len(self._unsent) > _LIMIT:
                    self._give_up()
                return False
            except OSError:
                self.open = False
            else:
                if written < len(message):
                    self._unsent.appendleft(_Rest(message[written:]))
        return self.open

    def _give_up(self) -> None:
        """Keep no more for it than it needs to understand what it is told from now on."""
        self.lost = True
        first = self._unsent[0]
        self._unsent.clear()
        if isinstance(first, _Rest):
            self._unsent.append(first)

    def receive(self) -> list[list[str]]:
        """Read the messages that have arrived, each as its words. Empty: there are none yet, or the
        peer has exited and its last message has been read."""
        while self._is_ours():
            try:
                chunk = os.read(self.fd, 65536)
            except BlockingIOError:
                break
            except OSError:
                chunk = b""
            self.open = bool(chunk)
            self._partial += chunk
        *lines, self._partial = self._partial.split(b"\n")
        return [line.decode("utf-8", "replace").split("\t") for line in lines]

    def close(self) -> None:
        self.open = False
        if self.fd >= 0 and mark_of(self.fd) == self._mark:
            os.close(self.fd)
        self.fd = -1


_LIMIT = 10_000
"""Messages kept for a peer that does not read; beyond that it is taken for lost."""
