"""Main's stop signals.

A handler in Python runs between two bytecodes of the main thread, wherever that thread is: perhaps
in the middle of a conversation with the SyncManager, which a second conversation would corrupt
(that is how Sanic's own handler crashes). So ours does two things only. It tells the watchdog, with
one write. And where main waits for something that a stop need not wait for, it raises
`StopRequested` there, which ends the waiting.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

DEBOUNCE = 0.05
"""Seconds within which a second signal is the same one: launchers forward a Ctrl+C that the
terminal has delivered already, and nobody presses it twice as fast."""

AFTERMATH = 0.5
"""Seconds after the server's end in which a signal was still meant for it: a stop may take less
time than a second Ctrl+C, and what comes after the server shall not die of that."""

ALWAYS: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM)
UNLESS_TAKEN: tuple[int, ...] = (signal.SIGHUP, signal.SIGQUIT)
"""These only where nobody ignores them (nohup) or handles them (the user, Sanic's daemon)."""


class StopRequested(KeyboardInterrupt):
    """Raised by a stop signal where main may be interrupted.

    A `KeyboardInterrupt`, since that is what event loops, `multiprocessing` and users' code let
    through: no `except Exception` on the way may swallow it.
    """


class StopSignals:
    """The stop signals of one server's main process.

    Args:
        on_first: called with the first signal.
        on_second: called with each further SIGINT or SIGTERM.

    Both are called in the handler: they may do no more than a handler may.
    """

    def __init__(self, on_first: Callable[[int], None], on_second: Callable[[int], None]) -> None:
        self.received: int | None = None
        self.handled: tuple[int, ...] = ALWAYS
        self._on_first = on_first
        self._on_second = on_second
        self._pid = os.getpid()
        self._received_at = 0.0
        self._interruptible = False
        self._held_back = 0
        self._before: dict[int, Any] = {}
        self._is_over: Callable[[FrameType | None], bool] | None = None
        self._retired_at = 0.0

    def install(self) -> None:
        """Take the signals over; again, where Sanic has taken them meanwhile.

        Sanic takes none of `UNLESS_TAKEN`: one that has got another handler in between has it from
        the user, who keeps it.
        """
        before: object = self._handle if self._before else signal.SIG_DFL
        wanted = self.handled if self._before else UNLESS_TAKEN
        others = (signum for signum in wanted if signum not in ALWAYS)
        self.handled = (*ALWAYS, *(s for s in others if _handler(s) == before))
        for signum in self.handled:
            before = signal.signal(signum, self._handle)
            self._before.setdefault(signum, signal.SIG_DFL if _is_inherited(before) else before)

    def retire(self, is_over: Callable[[FrameType | None], bool]) -> None:
        """The server has stopped: signals mean nothing to it any more, and soon it is not there.

        Args:
            is_over: whether, by the frame that a signal interrupts, main has left the server. A
                signal is then handled as it was before. Until then it is dropped: somebody who
                presses Ctrl+C twice shall not see a traceback of the last lines of `serve`.
        """
        self._is_over = is_over
        self._retired_at = time.monotonic()

    def ignore(self) -> None:
        """The interpreter exits, and has somebody who sees to it that this takes no longer than it
        may. A late signal shall not make an orderly stop look like a death by signal."""
        for signum in self.handled:
            if signal.getsignal(signum) == self._handle:
                signal.signal(signum, signal.SIG_IGN)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            # A child that main forked and that has not yet set up its own: it has nothing to lose.
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
            return
        if self._is_over is not None:
            if self._is_over(frame) and time.monotonic() - self._retired_at >= AFTERMATH:
                signal.signal(signum, self._before[signum])
                os.kill(os.getpid(), signum)
            return
        now = time.monotonic()
        if self.received is None:
            self.received = signum
            self._received_at = now
            self._on_first(signum)
        elif signum in ALWAYS and now - self._received_at >= DEBOUNCE:
            self._on_second(signum)
        self._interrupt()

    def _interrupt(self) -> None:
        in_main_thread = threading.current_thread() is threading.main_thread()
        if self._interruptible and not self._held_back and in_main_thread:
            self._interruptible = False
            raise StopRequested

    @property
    def is_interruptible(self) -> bool:
        return self._interruptible

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Within this block a stop signal raises `StopRequested`, also one that came before."""
        before, self._interruptible = self._interruptible, True
        try:
            if self.received is not None:
                self._interrupt()
            yield
        finally:
            self._interruptible = before and self.received is None

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Within this block it does not; at its end it does, if a signal came meanwhile.

        For the start of a process: interrupted there, it would run without anybody knowing it.
        """
        self._held_back += 1
        try:
            yield
        finally:
            self._held_back -= 1
        if self.received is not None:
            self._interrupt()


def _handler(signum: int) -> Any:
    """What handles a signal, but for the handler of a server from which this process was forked."""
    handler = signal.getsignal(signum)
    return signal.SIG_DFL if _is_inherited(handler) else handler


def _is_inherited(handler: Any) -> bool:
    owner = getattr(handler, "__self__", None)
    return isinstance(owner, StopSignals) and owner._pid != os.getpid()
