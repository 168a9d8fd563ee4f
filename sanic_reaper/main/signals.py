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

NEVER = float("inf")

DEBOUNCE = 0.05
"""Seconds within which a second signal is the same one: launchers forward a Ctrl+C that the
terminal has delivered already, and nobody presses it twice as fast."""

AFTERMATH = 0.5
"""Seconds after the server's end in which a signal was still meant for it: a stop may take less
time than a second Ctrl+C, and neither what comes after the server nor the exit of the interpreter
shall die of that."""

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
        self._last_at = 0.0
        self._is_retired = False
        self._restored_at = NEVER
        self._children_were_ignored = False
        self._unblocked: set[int] = set()
        self._next: dict[int, Any] = {}
        """Handlers that hear of the first signal after us."""

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
        """Let the signals come that are blocked: no stop would be heard of, and no alarm rings.

        A launcher passes on what its thread blocks, and a listener may block signals around the
        start of a thread and forget it. (Plain Sanic hears SIGINT and SIGTERM by chance: they are
        unblocked by `resource_tracker` when it starts.)
        """
        wanted = {*self.handled, signal.SIGALRM}
        self._unblocked |= wanted & signal.pthread_sigmask(signal.SIG_UNBLOCK, wanted)

    def heed_children(self) -> None:
        """Have children that end wait to be asked for their exit code.

        SIGCHLD may be ignored, which a launcher passes on by exec. The kernel then reaps them.
        """
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._children_were_ignored = True

    def retire(self) -> None:
        """The server has stopped: signals mean nothing to it any more, and are dropped.

        Somebody who presses Ctrl+C twice shall not see a traceback of the last lines of `serve`.
        """
        self._is_retired = True

    def restore(self) -> None:
        """The server is over: put back the handlers that stood there before it.

        Where Ctrl+C has just been pressed, its handler stays until it is called again: a second one
        is dropped for a moment. A handler that somebody else has installed meanwhile stays.
        """
        self._is_retired = True
        self._restored_at = time.monotonic()
        for signum in self.handled:
            if signal.getsignal(signum) == self._handle and not self._may_come_twice(signum):
                signal.signal(signum, self._before[signum])
        signal.pthread_sigmask(signal.SIG_BLOCK, self._unblocked)
        if self._children_were_ignored and signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    def _may_come_twice(self, signum: int) -> bool:
        return signum == signal.SIGINT and time.monotonic() - self._last_at < AFTERMATH

    def drop_late(self) -> None:
        """The interpreter exits. If that is right after the server, a late signal shall not make an
        orderly stop look like a death by signal.

        This lasts as long as exit handlers run: then CPython puts the default action back. (To
        ignore the signals was rejected: an exit handler that hangs could not be ended by them.)
        """
        if time.monotonic() - self._restored_at < AFTERMATH:
            for signum in self.handled:
                if signal.getsignal(signum) == self._before[signum]:
                    signal.signal(signum, self._handle)

    def _pass_on(self, signum: int, frame: FrameType | None) -> None:
        """Do what would have been done without us."""
        before = self._before[signum]
        if signal.getsignal(signum) == self._handle:
            signal.signal(signum, before)
            os.kill(os.getpid(), signum)
        elif callable(before):  # a handler of the script's has called us, which it found there
            before(signum, frame)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            # A child that main forked and that has not yet set up its own: it has nothing to lose.
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
            return
        now = time.monotonic()
        if self._is_retired:
            if now - self._restored_at >= AFTERMATH:
                self._pass_on(signum, frame)
            elif signum == signal.SIGINT:
                self._last_at = now
            return
        self._last_at = now if signum == signal.SIGINT else self._last_at
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
