"""What a process that main starts does with its stop signals."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import gc
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

from .. import platform
from ..compat import sanic_server
from ..compat.sanic_app import App
from ..log import log
from .draining import Draining
from .finishing import CANCEL_GRACE
from .guard import alarm_in, arm, main_lives
from .startup import Startup

if TYPE_CHECKING:
    from .entry import Orders

WATCHDOG_GRACE = 0.5
"""Seconds after main's death by which a worker stops even if the watchdog has not asked it to."""


def ignore(signum: int, frame: FrameType | None) -> None:
    """A handler that does nothing. SIG_IGN would be inherited by every command a worker runs."""


def _end_in(seconds: float) -> None:
    """Let the kernel end this process, in whatever state it is by then."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    alarm_in(max(seconds, 0.001))


class ProcessStop:
    """What a process does with SIGINT and SIGTERM."""

    beat: Callable[[asyncio.AbstractEventLoop], None] | None = None
    """In a worker: what says that its event loop turns, again and again."""
    start: Startup | None = None
    """In a worker: its start."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._main = orders.main_pid, orders.main_start
        self.first_pdeathsig = orders.pdeathsig
        """What the kernel sends at main's death until there is something to finish."""
        self._pid = os.getpid()
        self._stopping = False
        self._orphaned = False

    def install(self) -> None:
        """Take over the stop signals."""

    def has_signals(self) -> bool:
        """Whether the stop signals are set up by now."""
        return True

    def _first(self, signum: int) -> bool:
        """Whether this is the one stop signal that counts, and counts here."""
        if os.getpid() != self._pid:  # a child that this process forked: it has no part in this
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
            return False
        if not self._orphaned and not main_lives(*self._main):
            # Perhaps nobody is left to end us if we don't manage to: let the kernel do it. Main may
            # also have died since it asked us to stop.
            self._orphaned = True
            _end_in(self._orders.orphan_grace + 1.0)
            # The interpreter's last collections take four fifths of its end (40 of 50 ms), for
            # memory that the kernel takes back anyway.
            atexit.register(gc.freeze)
        first, self._stopping = not self._stopping, True
        return first

    def leave(self) -> None:
        """The interpreter begins to exit, and waits for threads and child processes first.

        Of a start that was cut short nobody needs what they do. A listener that awaits a thread can
        be cancelled, its thread can't, and often that thread is why the start took so long.
        """
        if self.start is not None and self.start.was_cancelled and not self._orphaned:
            signal.signal(signal.SIGALRM, self._leave_threads)
            alarm_in(CANCEL_GRACE)

    def _leave_threads(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            return
        threads = set(threading.enumerate()) - {threading.main_thread()}
        names = sorted(f"the thread {one.name}" for one in threads if not one.daemon)
        log.warning(
            "%s [%d] exits before its start is complete, and does not wait for %s",
            os.environ.get("SANIC_WORKER_NAME", "server"),
            self._pid,
            ", ".join(names) or "a child process",
        )
        os._exit(0)


class ServerStop(ProcessStop):
    """A worker: until it serves, SIGTERM just ends it; then the first one lets it drain.

    Plain Sanic stops at each signal anew, and Ctrl+C brings two: stop listeners are then cut short
    on 24.12 and run twice on 25.12. Its handlers are also gone while those listeners run, when one
    more SIGTERM would kill.
    """

    def __init__(self, orders: Orders, patience: float | None = None) -> None:
        super().__init__(orders)
        self._patience = patience
        # Whatever its start has made of SIGTERM: a handler of its own, a mask.
        self.first_pdeathsig = signal.SIGKILL if orders.pdeathsig else 0
        self._app: App | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: Draining | None = None
        self._serving = False
        self._held = False
        self._stopped = False

    def install(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, ignore)
        sanic_server.substitute_worker_signals(self._set_up, self._serve, self._clean_up)
        sanic_server.before_stop(self._take_stop)

    def _set_up(
        self, app: App, run_multiple: bool, register: bool, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._app, self._loop = app, loop
        self._draining = Draining(app, loop)
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, self._handle)
        signal.signal(signal.SIGCONT, self._looked)
        # It listens: from here on there are requests to answer, and it must hear that it is to end.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        arm(self._orders.main_pid, self._orders.pdeathsig)
        if self.beat is not None:
            loop.call_soon(self.beat, loop)  # with its first turn: a loop that has had none is idle

    def _serve(self, cleanup: Callable[[], None] | None, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is None:
            self._set_up_late(loop)
        self._serving = True
        # Again: a change of user in a start listener has cleared it.
        arm(self._orders.main_pid, self._orders.pdeathsig)
        if self._draining is not None:
            self._draining.cleanup = cleanup
        # The start leaves more behind in the allocator's hands than we take ourselves.
        platform.give_back_memory()

    def has_signals(self) -> bool:
        return self._loop is not None

    def _set_up_late(self, loop: asyncio.AbstractEventLoop) -> None:
        """Sanic has set up signals without calling us, and has done so in its own way.

        The loop's handlers must go: the loop hears of each signal, whoever else handles it.
        """
        app = self.start.primary if self.start is not None else None
        if app is None:
            return
        signals = (signal.SIGINT, signal.SIGTERM)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        for signum in signals:
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError, OSError):
                loop.remove_signal_handler(signum)
        self._set_up(app, False, True, loop)
        signal.pthread_sigmask(signal.SIG_SETMASK, set(before) - {signal.SIGTERM})

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if not self._first(signum) or self._loop is None:
            return
        if self._patience is not None:
            _end_in(self._patience)
        # The kernel is faster than the watchdog, which must look at our children before we are gone
        # and they have another parent.
        self._held = self._orphaned
        if self._held:
            self._call(self._loop.call_later, WATCHDOG_GRACE, self._stop)
        else:
            self._stop_soon()

    def _looked(self, signum: int, frame: FrameType | None) -> None:
        """SIGCONT follows each SIGTERM of the watchdog's. That SIGTERM itself would not do: while
        the kernel's own is pending, it is one with it."""
        if self._held and self._loop is not None:
            self._held = False
            self._stop_soon()

    def _stop_soon(self) -> None:
        """In a signal handler."""
        self._call(self._stop)
        if not self._serving and self.start is not None:
            self.start.interrupt()  # last, for it may raise: the loop does not turn then

    def _take_stop(self, app: App, terminate: bool) -> bool:
        """Called by `app.stop`. While `after_server_start` listeners run, Sanic would stop the loop
        beneath them: in a task of their own they don't end in that turn."""
        if self._serving or self._loop is None:
            return False
        if terminate:  # in the next turn, for main's SIGTERM interrupts a handler that still runs
            self._call(sanic_server.tell_main_to_stop, app)
        self._call(self._stop)
        return True

    def _call(self, function: Callable[..., object], *args: Any) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop is closed: it is over anyway
            self._loop.call_soon_threadsafe(function, *args)

    def _stop(self) -> None:
        """Not before the loop runs for good: Sanic would end a start listener in its midst, and run
        no stop listener. The start listeners that still run are cancelled."""
        assert self._app is not None
        assert self._loop is not None
        if not self._serving:
            self._loop.call_later(0.05, self._stop)
            if self.start is not None:
                self.start.stop()
        elif not self._stopped:
            self._stopped = True
            try:
                self._app.stop(terminate=False)
            except Exception:
                self._loop.stop()  # what it does last
                raise
            if self.start is not None:
                self.start.stop()  # a secondary app's may still go on
            # Last: it is a courtesy. Nothing has run in the loop since `app.stop`.
            assert self._draining is not None
            self._draining.begin()

    def _clean_up(self, cleanup: Callable[[], None]) -> None:
        if self._draining is None:
            cleanup()
        else:
            self._draining.clean_up(cleanup)
