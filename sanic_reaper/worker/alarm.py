"""One alarm clock for a process, which may be wound for several handlers at once."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType
from typing import Any, ClassVar

from .guard import alarm_in

# The functions beneath those of `signal`, and the plain number: it looks for each handler among the
# members of an enumeration, and fails to find it, for 8 microseconds a time.
_ALARM = int(signal.SIGALRM)
_set_handler, _get_handler = _signal.signal, _signal.getsignal


class Alarm:
    """The process's own alarm clock, for one handler. It interrupts system calls and locks.

    Args:
        seconds: until it rings. 0: never.
        ring: called then, in a signal handler.

    There is one clock, and with several apps there are several handlers at once: it is set to the
    next of their moments. A thread was the alternative: it could wake a coroutine, and interrupt
    nothing.
    """

    _set: ClassVar[list[Alarm]] = []
    _before: ClassVar[Any] = None
    interrupted: ClassVar[FrameType | None] = None
    """What the alarm has interrupted, while it rings."""

    def __init__(self, seconds: float, ring: Callable[[], None]) -> None:
        self._seconds = seconds
        self._ring = ring
        self._at = 0.0

    def __enter__(self) -> None:
        if self._seconds and threading.current_thread() is threading.main_thread():
            self._at = time.monotonic() + self._seconds
            if not Alarm._set:
                Alarm._before = _set_handler(_ALARM, Alarm._handle)
            Alarm._set.append(self)
            Alarm._wind()

    @staticmethod
    def _handle(signum: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        due = [alarm for alarm in Alarm._set if now >= alarm._at]
        for alarm in due:
            alarm._at = float("inf")  # once
        Alarm._wind()
        Alarm.interrupted = frame
        with ExitStack() as rings:  # whose ring may raise, in the handler that runs now
            rings.callback(setattr, Alarm, "interrupted", None)
            for alarm in due:
                rings.callback(alarm._ring)

    @staticmethod
    def _wind() -> None:
        at = min((alarm._at for alarm in Alarm._set), default=float("inf"))
        seconds = max(at - time.monotonic(), 0.001) if at < float("inf") else 0.0
        alarm_in(seconds)

    def __exit__(self, *_: object) -> None:
        if self not in Alarm._set:
            return
        Alarm._set.remove(self)
        if _get_handler(_ALARM) == Alarm._handle:  # the user may have his own by now
            Alarm._wind()
            if not Alarm._set:
                _set_handler(_ALARM, Alarm._before)
