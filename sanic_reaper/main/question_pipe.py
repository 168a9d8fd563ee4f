"""The main process's end of the pipe in which it tells a worker what its next question is for.

The signal that asks for a stack carries no words. They are written before it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from multiprocessing.connection import Connection

from ..platform import mark_of


class QuestionPipe:
    """Writes the words of questions. Never waits and never fails.

    Not the other direction of the worker's pipe: a socket charges some 800 bytes for each write,
    and `faulthandler` makes eight for one line, so that a stack of 40 lines would not fit.

    Args:
        connection: the writing end. `None`: the worker can be asked for its stack alone.
    """

    def __init__(self, connection: Connection | None) -> None:
        self._fd = -1
        if connection is not None:
            # A duplicate, which `close` can check: a `Connection` closes whatever has its number.
            self._fd = os.dup(connection.fileno())
            connection.close()
            os.set_blocking(self._fd, False)
        self._mark = mark_of(self._fd)

    def write(self, words: str) -> None:
        """Write the words of one question.

        Args:
            words: one of `model.questions.EVERY_REQUEST` and `EVERY_TASK`.
        """
        if self._is_ours:
            with suppress(OSError):  # the worker has exited, or reads no questions
                os.write(self._fd, f"{words}\n".encode())

    @property
    def _is_ours(self) -> bool:
        """Whether the descriptor is still that of the pipe. User code can have closed it."""
        return self._fd >= 0 and mark_of(self._fd) == self._mark

    def close(self) -> None:
        if self._is_ours:
            os.close(self._fd)
        self._fd = -1
