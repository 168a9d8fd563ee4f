"""Main's line to one worker: what it reports, and where it is when it is asked."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from ..platform.base import Identity
from ..tree.process import Handle
from ..worker.explanations import AWAITING, BLOCKING, Frame
from ..worker.reports import REQUEST
from .reader import Reader, frames_of

ANSWER = 0.3
"""Seconds that a worker has to say what is not on its stack. With the GIL held it never does."""

STACK = 0.8
"""Seconds that its stack may take: the kernel writes it down as soon as the worker gets a core."""


class Contact:
    """The pipe from one worker.

    Args:
        identity: its pid and creation time. The pid alone would not do: whoever asks for its exit
            code reaps it, in main and in threads of the user's, and what we send is deadly to
            whoever does not expect it.
        connection: what it reports through.

    Attributes:
        listeners: each is called with the first word of a report, and the rest.
        can_be_asked: not while the worker imports under spawn or forkserver: the signal would end
            it.
        stack: what the worker has shown when it was last asked.
    """

    def __init__(self, identity: Identity, connection: Connection) -> None:
        self.listeners: list[Callable[[str, list[Any]], None]] = []
        self.can_be_asked = False
        self.stack = ""
        self._handle = Handle.open(*identity)
        self._reader = Reader(connection)
        self._asked: float | None = None
        self._then: Callable[[list[Frame], str], None] | None = None
        self._where: tuple[bool, list[Frame]] | None = None

    def turn(self) -> None:
        """Take in what it has reported; act on an answer, or on the want of one."""
        self.hear()
        patience = ANSWER if self.stack else STACK
        if self._asked is not None and (self._where or time.monotonic() - self._asked >= patience):
            self._answer()

    def hear(self) -> None:
        messages, stack = self._reader.read()
        self.stack += stack
        for word, *rest in messages:
            if word == "hello":
                self.can_be_asked = True
            elif word == "where" and self._asked is not None:
                awaits, frames = rest
                self._where = (awaits, [(file, line, name) for file, line, name in frames])
            for listener in self.listeners:
                listener(word, rest)

    @property
    def is_being_asked(self) -> bool:
        return self._asked is not None

    def ask(self, then: Callable[[list[Frame], str], None]) -> None:
        """Have the worker show where it is, and `then` be called with its frames, and how it is."""
        self._asked, self._then = time.monotonic(), then
        self.stack, self._where = "", None
        if self._handle is not None:
            self._handle.send(REQUEST)
            self._handle.send(signal.SIGCONT)

    def _answer(self) -> None:
        self._asked, then = None, self._then
        frames, how = frames_of(self.stack), BLOCKING
        if not self.stack:
            how = "and does not answer"
        elif self._where is None:
            how = f"{BLOCKING}, in C code that holds the GIL"
        elif self._where[0]:
            frames, how = self._where[1], AWAITING
        if then is not None:
            then(frames, how)

    def close(self) -> None:
        """Nothing more is heard. Who listens is let go: in a cycle with us, he would stay in memory
        until the next full collection, and with him his process's descriptors."""
        self._reader.close()
        self.listeners.clear()
        self._then = None
        if self._handle is not None:
            self._handle.close()
            self._handle = None
