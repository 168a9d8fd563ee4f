"""The worker's end of the pipe to main: sends messages, and the stacks that main asks for.

The words are those of `protocol/worker.py`. `faulthandler` writes the stacks into the same pipe, in
C, whoever holds the GIL. So a message begins with a byte that no stack contains.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any

from ..model.questions import EVERY_REQUEST, EVERY_TASK, REQUESTS, VERSION
from ..platform import mark_of
from .alarm import Alarm
from .awaits import tasks
from .handlers import StartupTimeout
from .in_flight import InFlight

PREFIX = b"\x1e"
"""The first byte of each message."""

SHOWN_UNASKED = 10
"""Maximum number of requests that each answer has. Every one is there if that was asked."""

AT_ONCE = 16_384
"""Bytes of an answer from which on they are written."""

LONGEST_ANSWER = 2.0
"""Seconds for which an answer waits for the main process to read, in all."""


class Reports:
    """Sends messages to main. Never blocks and never fails: what the pipe can't take is dropped.

    Args:
        connection: the writing end of the pipe. It stays open for as long as the worker lives.
        where: is called when main asks for the stack. It returns the fields of `where`.
        in_flight: the requests in flight of this worker.
        questions: the reading end of the pipe in which main says what a question is for. `None`:
            main is of an earlier release, and asks for stacks alone.
    """

    def __init__(
        self,
        connection: Connection,
        where: Callable[[FrameType | None], Any],
        in_flight: InFlight,
        questions: Connection | None = None,
    ) -> None:
        self._connection = connection
        self._where = where
        self._in_flight = in_flight
        self._pid = os.getpid()
        self._file = mark_of(connection.fileno())
        """What the descriptor of the pipe refers to. `None`: no longer to the pipe."""
        self._questions = questions
        self._questions_file = None
        self._torn = b""
        """A line break, if only the beginning of the last message was written. Else empty."""
        os.set_blocking(connection.fileno(), False)
        if questions is not None:
            self._questions_file = mark_of(questions.fileno())
            os.set_blocking(questions.fileno(), False)
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
        message = self._torn + _encoded(words)
        try:
            written = os.write(self._connection.fileno(), message)
        except OSError:
            return False
        self._torn = b"" if written == len(message) else b"\n"
        return not self._torn

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
        in_flight, oldest = self._in_flight.count()
        self.send("beat", served.get("requests_count", 0), in_flight, oldest)
        loop.call_later(every, self.beat, served, every, loop)

    def _answer(self, signum: int, frame: FrameType | None) -> None:
        """Answer the main process. Raises nothing: it would be raised in the interrupted code.

        The alarm of a start handler, which raises, waits until the answer is written.
        """
        is_held = False
        try:
            if os.getpid() == self._pid:  # not in a child that this worker forked
                Alarm.hold()
                is_held = True
                self._tell(frame)
        except StartupTimeout:  # of an alarm that came a moment before
            raise
        except Exception:  # such as RecursionError: the interrupted code is nearly too deep
            pass
        finally:
            if is_held:
                Alarm.release(frame)

    def _tell(self, frame: FrameType | None) -> None:
        """Send the requests in flight, the tasks if that was asked, and `where` as the last one.

        Imports nothing: the signal can have interrupted an import.
        """
        until = time.monotonic() + LONGEST_ANSWER
        asked = self._asked()
        found = self._in_flight.with_forgotten(self._in_flight.found())
        shown = found if EVERY_REQUEST in asked else self._in_flight.foremost(found, SHOWN_UNASKED)
        described = (self._in_flight.described(request, frame) for request in shown)
        self._send_each("request", until, described)
        if EVERY_TASK in asked:
            self._send_each("task", until, tasks(frame))
        # Some time is left for this one: without it the answer would look like a held GIL.
        self._send_each("where", until + 0.2, [[*self._where(frame), len(found)]])

    def _asked(self) -> list[str]:
        """What main wants to know besides the stack. It has written that before the signal."""
        if self._questions is None or mark_of(self._questions.fileno()) != self._questions_file:
            return []  # user code has closed it: its number can be that of a client's socket by now
        try:
            return os.read(self._questions.fileno(), 1024).decode("ascii", "replace").split()
        except OSError:
            return []

    def _send_each(self, word: str, until: float, each: Iterable[Sequence[object]]) -> None:
        """Send messages of one word, several by one write, for as long as there is time.

        Args:
            until: monotonic time at which the rest is dropped.
        """
        text = b""
        for message in _encoded_each(word, each):
            text += message
            has_time = time.monotonic() < until  # the loop stands still meanwhile
            if len(text) >= AT_ONCE or not has_time:
                if not self._write_patiently(text, until) or not has_time:
                    return
                text = b""
        self._write_patiently(text, until)

    def _write_patiently(self, text: bytes, until: float) -> bool:
        """Write messages, and wait for room while main reads. Returns whether all are written."""
        fd = self._connection.fileno()
        if mark_of(fd) != self._file:
            self._give_up()
            return False
        rest = self._torn + text
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        while rest:
            try:
                rest = rest[os.write(fd, rest) :]
                self._torn = b"\n"  # until the last byte is written
            except BlockingIOError:
                left = until - time.monotonic()
                if left <= 0.0 or not poll.poll(left * 1000):
                    return False
            except OSError:
                return False
        self._torn = b""
        return True


def _encoded(words: Sequence[object]) -> bytes:
    return PREFIX + json.dumps(words, default=str).encode() + b"\n"


def _encoded_each(word: str, each: Iterable[Sequence[object]]) -> Iterator[bytes]:
    """Messages of one word, until one of them fails to be made.

    What a signal handler raises would be raised in the user's code.
    """
    try:
        for fields in each:
            yield _encoded((word, *fields))
    except Exception:  # what there is so far counts, and `where` has the number of all
        return
