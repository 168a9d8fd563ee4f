"""The alarm clock of a process, set for several handlers at once."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType
from typing import Any, ClassVar

from .guard import alarm_in

# `_signal` and a plain number: `signal.signal` looks for each handler among the members of an
# enumeration and does not find it, which takes 8 microseconds each time.
try:
    from _signal import getsignal  # type: ignore[import-not-found]
    from _signal import signal as set_signal
except ImportError:  # a CPython of the future
    from signal import getsignal
    from signal import signal as set_signal

_ALARM = int(signal.SIGALRM)


class Alarm:
    """The alarm clock of the process, set for one handler. It interrupts system calls and locks.

    There is one clock, and with several apps several handlers run at once: the clock is set to the
    earliest of their moments. A thread was rejected: it could wake a coroutine, and interrupt
    nothing.

    Args:
        seconds: seconds until the alarm. 0: never.
        ring: called at the alarm, in a signal handler.
    """

    _pending: ClassVar[list[Alarm]] = []
    """The alarms that are set."""
    _previous: ClassVar[Any] = None
    """The handler of SIGALRM before the first of them."""
    interrupted: ClassVar[FrameType | None] = None
    """The frame that the alarm has interrupted, while `ring` runs."""
    _is_held: ClassVar[bool] = False
    _has_rung: ClassVar[bool] = False
    """Whether the alarm came while it was held back."""

    def __init__(self, seconds: float, ring: Callable[[], None]) -> None:
        self._seconds = seconds
        self._ring = ring
        self._at = 0.0

    def __enter__(self) -> None:
        if self._seconds and threading.current_thread() is threading.main_thread():
            self._at = time.monotonic() + self._seconds
            if not Alarm._pending:
                Alarm._previous = set_signal(_ALARM, Alarm._handle)
            Alarm._pending.append(self)
            Alarm._set_clock()

    @staticmethod
    def hold() -> None:
        """Hold the alarm back: another signal handler runs, and what `ring` raises would be lost.

        To block the signal would not do: the kernel gives it to any other thread.
        """
        Alarm._is_held = True

    @staticmethod
    def release(frame: FrameType | None) -> None:
        """Hold the alarm back no more. Raises what `ring` raises, if it came meanwhile.

        Args:
            frame: the frame that the other signal has interrupted.
        """
        Alarm._is_held = False
        if Alarm._has_rung:
            Alarm._has_rung = False
            Alarm._handle(_ALARM, frame)

    @staticmethod
    def _handle(signum: int, frame: FrameType | None) -> None:
        if Alarm._is_held:
            Alarm._has_rung = True
            return
        now = time.monotonic()
        due = [alarm for alarm in Alarm._pending if now >= alarm._at]
        for alarm in due:
            alarm._at = float("inf")  # once
        Alarm._set_clock()
        Alarm.interrupted = frame
        with ExitStack() as rings:  # a ring may raise, and the next one must be called all the same
            rings.callback(setattr, Alarm, "interrupted", None)
            for alarm in due:
                rings.callback(alarm._ring)

    @staticmethod
    def _set_clock() -> None:
        at = min((alarm._at for alarm in Alarm._pending), default=float("inf"))
        seconds = max(at - time.monotonic(), 0.001) if at < float("inf") else 0.0
        alarm_in(seconds)

    def __exit__(self, *_: object) -> None:
        if self not in Alarm._pending:
            return
        Alarm._pending.remove(self)
        if getsignal(_ALARM) == Alarm._handle:  # the user may have installed another handler
            Alarm._set_clock()
            if not Alarm._pending:
                set_signal(_ALARM, Alarm._previous)
