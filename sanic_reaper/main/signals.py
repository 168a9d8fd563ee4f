"""The stop signals of the main process.

A handler in Python runs between two bytecodes of the main thread. The thread may be in the middle
of a conversation with the SyncManager, which a second conversation would corrupt (Sanic's own
handler crashes that way). So the handler here does two things only. It tells the watchdog, by one
write. And if main waits for something that a stop need not wait for, the handler raises
`StopRequested`, which ends the waiting.
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

NEVER = float("inf")

DEBOUNCE = 0.05
"""Seconds within which a second signal counts as the first one. A launcher forwards a Ctrl+C that
the terminal has delivered already, and nobody presses it twice as fast."""

LATE_SIGNAL_GRACE = 0.5
"""Seconds after the stop in which a stop signal that comes once more is dropped. A double Ctrl+C,
or the last one of a storm of signals, must not end the code that runs after `app.run()`, nor the
exit of the interpreter."""

ALWAYS: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM)
"""Signals that are handled in any case."""

ONLY_IF_DEFAULT: tuple[int, ...] = (signal.SIGHUP, signal.SIGQUIT)
"""Signals that are handled only if nobody ignores them (nohup) or handles them (the user, Sanic's
daemon)."""


class StopRequested(KeyboardInterrupt):
    """Raised by a stop signal where main can be interrupted.

    It is a `KeyboardInterrupt` because event loops, `multiprocessing` and users' code let that
    through. `except Exception` does not catch it.
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
        self._repeated_at: dict[int, float] = {}
        self._drops_signals = False
        self._restored_at = NEVER
        self._children_were_ignored = False
        self._unblocked: set[int] = set()
        self._next: dict[int, Any] = {}
        """Handlers that hear of the first signal after us."""

    def install(self) -> None:
        """Install the handlers. Called again after Sanic has installed its own.

        Sanic installs none for `ONLY_IF_DEFAULT`. A handler that such a signal has got in between
        is the user's, and stays.
        """
        before: object = self._handle if self._before else signal.SIG_DFL
        wanted = self.handled if self._before else ONLY_IF_DEFAULT
        others = (signum for signum in wanted if signum not in ALWAYS)
        self.handled = (*ALWAYS, *(s for s in others if _handler(s) == before))
        for signum in self.handled:
            before = signal.signal(signum, self._handle)
            unknown = before is None or _is_inherited(before)  # `None`: installed in C
            self._before.setdefault(signum, signal.SIG_DFL if unknown else before)
        self.unblock()

    def accompany(self) -> None:
        """Take the signals over, and pass the first one on to whoever has them now.

        For a server whose workers are run by Sanic's own manager: its constructor has installed
        handlers that stop them. A second signal is not passed on: Sanic would kill whole process
        groups, and with its own group whoever has launched it.
        """
        self._next = {signum: signal.getsignal(signum) for signum in ALWAYS}
        self.install()

    def unblock(self) -> None:
        """Unblock the stop signals and SIGALRM.

        A launcher passes on the signals that its thread blocks, and a listener may block signals
        around the start of a thread and forget to unblock them. (Plain Sanic receives SIGINT and
        SIGTERM by chance: `resource_tracker` unblocks them when it starts.)
        """
        wanted = {*self.handled, signal.SIGALRM}
        self._unblocked |= wanted & signal.pthread_sigmask(signal.SIG_UNBLOCK, wanted)

    def keep_exit_codes(self) -> None:
        """Have the kernel keep the exit code of each child until main reads it.

        If a launcher ignores SIGCHLD, main inherits that by exec, and the kernel reaps each child.
        """
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._children_were_ignored = True

    def drop_further(self) -> None:
        """Drop all further stop signals, because the server has stopped.

        A second Ctrl+C must not print a traceback of the last lines of `serve`.
        """
        self._drops_signals = True

    def restore(self) -> None:
        """Put back the handlers from before the server.

        If Ctrl+C has just been pressed, the handler of SIGINT stays until it is called again, and
        drops a second Ctrl+C for a moment. So does the handler of another signal that has just come
        although main was stopping already: its sender repeats it. A handler that somebody else has
        installed stays.
        """
        self._drops_signals = True
        self._restored_at = time.monotonic()
        for signum in self.handled:
            if signal.getsignal(signum) == self._handle and not self._may_come_again(signum):
                signal.signal(signum, self._before[signum])
        signal.pthread_sigmask(signal.SIG_BLOCK, self._unblocked)
        if self._children_were_ignored and signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    def _may_come_again(self, signum: int) -> bool:
        return time.monotonic() - self._repeated_at.get(signum, -NEVER) < LATE_SIGNAL_GRACE

    def drop_at_exit(self) -> None:
        """Drop late stop signals while the interpreter exits right after the server.

        A late signal would make an orderly stop look like a death by signal. The handler stays as
        long as exit handlers run: then CPython puts the default action back. (Ignoring the signals
        was rejected: they could not end an exit handler that hangs.)
        """
        if time.monotonic() - self._restored_at < LATE_SIGNAL_GRACE:
            for signum in self.handled:
                if signal.getsignal(signum) == self._before[signum]:
                    signal.signal(signum, self._handle)

    def _pass_on(self, signum: int, frame: FrameType | None) -> None:
        """Do what the signal would have done without the Reaper."""
        before = self._before[signum]
        if signal.getsignal(signum) == self._handle:
            signal.signal(signum, before)
            os.kill(os.getpid(), signum)
        elif callable(before):  # the script's handler has called this one, which it had replaced
            before(signum, frame)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            # A child that main has forked, before it installs its own handlers: the signal ends it.
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
            return
        now = time.monotonic()
        if self._drops_signals:
            if now - self._restored_at >= LATE_SIGNAL_GRACE:
                self._pass_on(signum, frame)
            else:
                self._repeated_at[signum] = now
            return
        if signum == signal.SIGINT or self.received is not None:
            self._repeated_at[signum] = now
        if self.received is None:
            self.received = signum
            self._received_at = now
            self._on_first(signum)
            following = self._next.get(signum, self._next.get(signal.SIGTERM))
            if callable(following):
                following(signum if signum in ALWAYS else signal.SIGTERM, frame)
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
        """Have a stop signal raise `StopRequested` within this block, also one that came before."""
        before, self._interruptible = self._interruptible, True
        try:
            if self.received is not None:
                self._interrupt()
            yield
        finally:
            self._interruptible = before and self.received is None

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Hold `StopRequested` back within this block, and raise it at the end of the block.

        For the start of a process: an interrupted start would leave a process that nobody knows.
        """
        self._held_back += 1
        try:
            yield
        finally:
            self._held_back -= 1
        if self.received is not None:
            self._interrupt()


def _handler(signum: int) -> Any:
    """The handler of a signal. One of the server that has forked this process does not count."""
    handler = signal.getsignal(signum)
    return signal.SIG_DFL if _is_inherited(handler) else handler


def _is_inherited(handler: Any) -> bool:
    owner = getattr(handler, "__self__", None)
    return isinstance(owner, StopSignals) and owner._pid != os.getpid()
