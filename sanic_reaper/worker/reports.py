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
import threading
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any

from ..model.questions import REQUESTS, VERSION
from ..platform import mark_of

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
        self._handler = self._answer  # one object: each look at a method makes another one
        self._request = 0
        self._take_signal()

    def _take_signal(self) -> None:
        """Have one of `REQUESTS` answered here, and tell main which. 0: none of them is free."""
        free = (one for one in REQUESTS if signal.getsignal(one) is signal.SIG_DFL)
        self._request = next(free, 0)
        if self._request:
            if hasattr(faulthandler, "unregister"):
                # Main's, inherited by fork: it would keep the next one from being put in place.
                faulthandler.unregister(self._request)
            # In this order: `chain` calls what was there before, Python's own handler.
            signal.signal(self._request, self._handler)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {self._request})  # a launcher may block it
            if hasattr(faulthandler, "register"):
                fd = self._connection.fileno()
                faulthandler.register(self._request, file=fd, all_threads=True, chain=True)
        self._send("hello", VERSION, self._request)

    def _has_lost_signal(self) -> bool:
        """Whether the user's code handles it by now: then it must get none of main's questions."""
        is_ours = not self._request or signal.getsignal(self._request) is self._handler
        return not is_ours and threading.current_thread() is threading.main_thread()

    def send(self, *words: object) -> bool:
        """Returns whether main will see it."""
        if os.getpid() != self._pid:  # a child that this worker forked
            return False
        if self._has_lost_signal():
            self._take_signal()
        return self._send(*words)

    def _send(self, *words: object) -> bool:
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
            if self._request and hasattr(faulthandler, "unregister"):
                faulthandler.unregister(self._request)

    def beat(
        self, served: Mapping[str, int], every: float, loop: asyncio.AbstractEventLoop
    ) -> None:
        """Say that the event loop turns, and how many requests it has served, from now on."""
        self.send("beat", served.get("requests_count", 0))
        loop.call_later(every, self.beat, served, every, loop)

    def _answer(self, signum: int, frame: FrameType | None) -> None:
        self.send("where", *self._where(frame))
