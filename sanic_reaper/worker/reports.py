"""What a worker tells main of its start: one message a line, over a pipe that main opened for it.

Main reads along with it, so the pipe must carry two things: what the worker has to say, and the
stacks that `faulthandler` writes in C when main asks for one (`REQUEST`), whoever holds the GIL. A
message begins with a byte that no stack contains.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import os
import signal
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any

from ..platform import mark_of

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
        self._mark = mark_of(connection.fileno())
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
        if mark_of(self._connection.fileno()) != self._mark:
            self._let_go()
            return False
        message = MARK + json.dumps(words, default=str).encode() + b"\n"
        try:
            return os.write(self._connection.fileno(), message) == len(message)
        except OSError:
            return False

    def _let_go(self) -> None:
        """Somebody has closed the pipe: its descriptor's number may be that of a client's socket by
        now, to which neither a message nor a stack must go."""
        if self._mark is not None:
            self._mark = None
            if hasattr(faulthandler, "unregister"):
                faulthandler.unregister(REQUEST)

    def beat(
        self, served: Mapping[str, int], every: float, loop: asyncio.AbstractEventLoop
    ) -> None:
        """Say that the event loop turns, and how many requests it has served, from now on."""
        self.send("beat", served["requests_count"])
        loop.call_later(every, self.beat, served, every, loop)

    def _answer(self, signum: int, frame: FrameType | None) -> None:
        self.send("where", *self._where(frame))
