"""The worker's end of the pipe to main: sends messages, and the stacks that main asks for.

The words are those of `protocol/worker.py`. `faulthandler` writes the stacks into the same pipe, in
C, whoever holds the GIL. So a message begins with a byte that no stack contains.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import os
import signal
import threading
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any

from ..model.questions import REQUESTS, VERSION
from ..platform import mark_of

PREFIX = b"\x1e"
"""The first byte of each message."""


class Reports:
    """Sends messages to main. Never blocks and never fails: what the pipe can't take is dropped.

    Args:
        connection: the writing end of the pipe. It stays open for as long as the worker lives.
        where: is called when main asks for the stack. It returns the fields of `where`.
    """

    def __init__(self, connection: Connection, where: Callable[[FrameType | None], Any]) -> None:
        self._connection = connection
        self._where = where
        self._pid = os.getpid()
        self._file = mark_of(connection.fileno())
        """What the descriptor of the pipe refers to. `None`: no longer to the pipe."""
        os.set_blocking(connection.fileno(), False)
        self._handler = self._answer  # one object: each look at a method makes another one
        self._request = 0
        """The signal by which main can ask. 0: none."""
        self._take_signal()

    def _take_signal(self) -> None:
        """Answer one of `REQUESTS` from now on, and tell main which. 0: the user's code has all."""
        free = (one for one in REQUESTS if signal.getsignal(one) is signal.SIG_DFL)
        self._request = next(free, 0)
        if self._request:
            if hasattr(faulthandler, "unregister"):
                # The registration of main, inherited by fork, would prevent the one below.
                faulthandler.unregister(self._request)
            # In this order: `chain` calls what was there before, Python's own handler.
            signal.signal(self._request, self._handler)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {self._request})  # a launcher may block it
            if hasattr(faulthandler, "register"):
                fd = self._connection.fileno()
                faulthandler.register(self._request, file=fd, all_threads=True, chain=True)
        self._send("hello", VERSION, self._request)

    def _has_lost_signal(self) -> bool:
        """Whether the user's code has taken the signal. Then main must not ask by it."""
        is_ours = not self._request or signal.getsignal(self._request) is self._handler
        return not is_ours and threading.current_thread() is threading.main_thread()

    def send(self, *words: object) -> bool:
        """Send a message, a word and its fields. Returns whether main can read all of it."""
        if os.getpid() != self._pid:  # a child that this worker forked
            return False
        if self._has_lost_signal():
            self._take_signal()
        return self._send(*words)

    def _send(self, *words: object) -> bool:
        if mark_of(self._connection.fileno()) != self._file:
            self._give_up()
            return False
        message = PREFIX + json.dumps(words, default=str).encode() + b"\n"
        try:
            return os.write(self._connection.fileno(), message) == len(message)
        except OSError:
            return False

    def _give_up(self) -> None:
        """Write nothing more: user code has closed the pipe.

        The descriptor's number can be that of a client's socket by now.
        """
        if self._file is not None:
            self._file = None
            if self._request and hasattr(faulthandler, "unregister"):
                faulthandler.unregister(self._request)

    def beat(
        self, served: Mapping[str, int], every: float, loop: asyncio.AbstractEventLoop
    ) -> None:
        """Send a heartbeat, with the number of requests served, and schedule the next one.

        Args:
            served: Sanic's counters of this worker.
            every: seconds between two heartbeats.
            loop: the event loop. A loop that is blocked sends none.
        """
        self.send("beat", served.get("requests_count", 0))
        loop.call_later(every, self.beat, served, every, loop)

    def _answer(self, signum: int, frame: FrameType | None) -> None:
        self.send("where", *self._where(frame))
