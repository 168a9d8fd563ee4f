"""Handles the stop signals of a process that main starts."""

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
from .summary import worker

if TYPE_CHECKING:
    from .entry import ProcessConfig

WATCHDOG_GRACE = 0.5
"""Seconds for which a worker waits for the watchdog when main has died, before it stops alone."""


def ignore_signal(signum: int, frame: FrameType | None) -> None:
    """Do nothing. Commands that a worker runs inherit SIG_IGN, but no handler."""


def _end_in(seconds: float) -> None:
    """Have the kernel kill this process by SIGALRM after so many seconds."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    alarm_in(max(seconds, 0.001))


class ProcessStop:
    """Handles SIGINT and SIGTERM in a process that main starts.

    Args:
        config: what main tells this process.
    """

    start: Startup | None = None
    """The start of a worker. `None`: this process is no worker."""

    def __init__(self, config: ProcessConfig) -> None:
        self.on_loop: list[Callable[[asyncio.AbstractEventLoop], None]] = []
        """What a worker begins to do in the event loop: send heartbeats, look for slow requests."""
        self._config = config
        self._main = config.main_pid, config.main_start
        self.first_pdeathsig = config.pdeathsig
        """The signal that the kernel sends if main dies while this process starts."""
        self._pid = os.getpid()
        self._is_stopping = False
        self._is_orphaned = False

    def install(self) -> None:
        """Take over the stop signals. A class that leaves them alone does nothing here."""

    def has_signals(self) -> bool:
        """Whether the stop signals are set up by now."""
        return True

    def _begins_stop(self, signum: int) -> bool:
        """Note a stop signal. Returns whether the stop of this process begins with the signal.

        A forked child handles the signal as if nobody had installed this handler. If main has
        died, the stop is limited here: nobody else may be left to do so.
        """
        if os.getpid() != self._pid:  # in a child that this process has forked
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
            return False
        if not self._is_orphaned and not main_lives(*self._main):
            # The watchdog can be dead too. So the kernel kills this process if its stop hangs. Main
            # can also have died after it sent this signal.
            self._is_orphaned = True
            _end_in(self._config.orphan_grace + 1.0)
            # The garbage collections take 40 of the 50 ms of the interpreter's exit, to free
            # memory that the kernel frees anyway.
            atexit.register(gc.freeze)
        first, self._is_stopping = not self._is_stopping, True
        return first

    def on_exit(self) -> None:
        """Limit the interpreter's exit after a cancelled start.

        The exit waits for threads and child processes, whose work is of no use then. A listener
        that awaits a thread can be cancelled. The thread itself can't.
        """
        if self.start is not None and self.start.was_cancelled and not self._is_orphaned:
            signal.signal(signal.SIGALRM, self._exit_at_once)
            alarm_in(CANCEL_GRACE)

    def _exit_at_once(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            return
        threads = set(threading.enumerate()) - {threading.main_thread()}
        names = sorted(f"the thread {one.name}" for one in threads if not one.daemon)
        log.warning(
            "%s [%d] exits before its start is complete, and does not wait for %s",
            *worker(),
            ", ".join(names) or "a child process",
        )
        os._exit(0)


class ServerStop(ProcessStop):
    """The stop of a worker, and of the Inspector.

    Before the worker listens, SIGTERM kills it. From then on the first SIGTERM makes it drain, and
    further ones are ignored.

    Plain Sanic stops again at each signal, and Ctrl+C brings two: stop listeners are then cut short
    on 24.12 and run twice on 25.12. Sanic also removes its handlers before those listeners run, so
    that one more SIGTERM kills the worker.

    Args:
        config: what main tells this process.
        timeout: seconds that the stop may take. Then the kernel kills this process by SIGALRM.
            `None`: no limit.
    """

    def __init__(self, config: ProcessConfig, timeout: float | None = None) -> None:
        super().__init__(config)
        self._timeout = timeout
        # SIGKILL: the user's code can have installed a handler for SIGTERM, or have blocked it.
        self.first_pdeathsig = signal.SIGKILL if config.pdeathsig else 0
        self._app: App | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: Draining | None = None
        self._is_serving = False
        self._awaits_watchdog = False
        self._has_stopped = False

    def install(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, ignore_signal)
        sanic_server.substitute_worker_signals(self._set_up, self._serve, self._clean_up)
        sanic_server.before_stop(self._take_stop)

    def _set_up(
        self, app: App, run_multiple: bool, register: bool, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._app, self._loop = app, loop
        self._draining = Draining(app, loop)
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, self._handle)
        signal.signal(signal.SIGCONT, self._on_sigcont)
        # The worker listens: there are requests to answer from here on, so SIGTERM must arrive.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        arm(self._config.main_pid, self._config.pdeathsig)
        for function in self.on_loop:
            loop.call_soon(function, loop)  # in the first turn of the loop

    def _serve(self, cleanup: Callable[[], None] | None, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is None:
            self._set_up_late(loop)
        self._is_serving = True
        # Once more: a change of user in a start listener has cleared the signal (prctl(2)).
        arm(self._config.main_pid, self._config.pdeathsig)
        if self._draining is not None:
            self._draining.cleanup = cleanup
        # The C library keeps more memory of the start than the Reaper needs for itself.
        platform.give_back_memory()

    def has_signals(self) -> bool:
        return self._loop is not None

    def _set_up_late(self, loop: asyncio.AbstractEventLoop) -> None:
        """Replace the signal handlers that Sanic has set up without calling `_set_up`.

        The loop's handlers must be removed: the loop is told of each signal, whoever handles it.
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
        if not self._begins_stop(signum) or self._loop is None:
            return
        if self._timeout is not None:
            _end_in(self._timeout)
        # The kernel's signal comes before the watchdog has scanned the process tree. This process
        # must not exit before that: its children would get another parent.
        self._awaits_watchdog = self._is_orphaned
        if self._awaits_watchdog:
            self._call(self._loop.call_later, WATCHDOG_GRACE, self._stop)
        else:
            self._stop_soon()

    def _on_sigcont(self, signum: int, frame: FrameType | None) -> None:
        """Stop now: SIGCONT follows each SIGTERM of the watchdog.

        The watchdog's SIGTERM alone is not enough. It merges with the kernel's while that is
        pending.
        """
        if self._awaits_watchdog and self._loop is not None:
            self._awaits_watchdog = False
            self._stop_soon()

    def _stop_soon(self) -> None:
        """Stop in the next turn of the loop. Called in a signal handler."""
        self._call(self._stop)
        if not self._is_serving and self.start is not None:
            self.start.interrupt()  # last: it raises if a handler blocks the loop

    def _take_stop(self, app: App, terminate: bool) -> bool:
        """Take over a call of `app.stop` before the worker serves. Returns whether it has done so.

        Sanic would stop the loop while the `after_server_start` listeners run in their task.
        """
        if self._is_serving or self._loop is None:
            return False
        if terminate:  # in the next turn, for main's SIGTERM interrupts a handler that still runs
            self._call(sanic_server.ask_main_to_stop, app)
        self._call(self._stop)
        return True

    def _call(self, function: Callable[..., object], *args: Any) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop is closed: the worker exits anyway
            self._loop.call_soon_threadsafe(function, *args)

    def _stop(self) -> None:
        """Cancel the start listeners that still run, and stop when the loop runs for ever.

        If it stopped earlier, Sanic would cut off a start listener, and run no stop listener.
        """
        assert self._app is not None
        assert self._loop is not None
        if not self._is_serving:
            self._loop.call_later(0.05, self._stop)
            if self.start is not None:
                self.start.stop()
        elif not self._has_stopped:
            self._has_stopped = True
            try:
                self._app.stop(terminate=False)
            except Exception:
                self._loop.stop()  # the last thing that `app.stop` does
                raise
            if self.start is not None:
                self.start.stop()  # a secondary app's may still go on
            # Last, because the stop can do without it. Nothing has run in the loop since then.
            assert self._draining is not None
            self._draining.begin()

    def _clean_up(self, cleanup: Callable[[], None]) -> None:
        if self._draining is None:
            cleanup()
        else:
            self._draining.clean_up(cleanup)
