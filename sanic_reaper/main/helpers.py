"""Starts, registers and shuts down helpers: SyncManagers, the resource tracker, the fork server.

They outlive the workers, and the watchdog knows them by name.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..compat import sanic_main, services
from ..log import log
from ..model.roles import HELPER, SERVICE
from ..platform.base import Identity
from ..protocol import watchdog as wire
from ..tree.process import send_to
from .journal import Journal
from .own_kills import OwnKills
from .signals import StopRequested, StopSignals
from .sync_manager import guarded_manager, shut_down

SHUTDOWN_TIMEOUT = 3.0
"""Seconds that a SyncManager may take to shut down before it is killed, if the deadline of the stop
allows that."""

KILL_TIMEOUT = 0.25
"""Seconds of the stop that are kept for the end of a SyncManager that had to be killed."""


class Helpers:
    """The helpers of one server.

    Args:
        main: pid and creation time of the main process.
        orphan_grace: seconds that workers may drain once the main process has died.
        send: sends a message to the watchdog.
    """

    def __init__(
        self,
        main: Identity,
        orphan_grace: float,
        signals: StopSignals,
        journal: Journal,
        kills: OwnKills,
        send: Callable[..., None],
    ) -> None:
        self._main = main
        self._orphan_grace = orphan_grace
        self._signals = signals
        self._journal = journal
        self._kills = kills
        self._send = send
        self._managers: list[Any] = []
        self.are_known = True
        """Whether helpers can be told from workers. Under Sanic's own manager they can't."""

    def start_manager(self) -> Any:
        """Start a SyncManager that exits with main, in the place of `multiprocessing.Manager()`.

        Raises:
            StopRequested: a stop signal came while a listener of the user's called this.
            SystemExit: a stop signal came before the server had started.
        """
        within_listener = self._signals.is_interruptible
        try:
            with self._signals.interruptible():
                manager = guarded_manager(self._main, self._orphan_grace + 1.0)
        except StopRequested:
            self._kill_starting()
            if within_listener:
                raise
            log.info("stopped before the server had started")
            raise SystemExit(0) from None
        self._managers.append(manager)
        self.register()
        return manager

    def _kill_starting(self) -> None:
        """Kill a SyncManager that still starts. It may import from a file system that hangs."""
        for pid, name in services.managers():
            identity = services.identity_of(pid)
            if identity is not None:
                self._kills.kill(identity, HELPER, name, "is still starting", "INFO")

    def register(self) -> None:
        """Tell the watchdog of the helpers, which it stops last and knows by name."""
        if not self.are_known:
            return
        for word, role, found in (
            (wire.HELPER, HELPER, services.managers()),
            (wire.TRACKER, SERVICE, services.resource_tracker()),
            (wire.FORK_SERVER, SERVICE, services.fork_server()),
        ):
            for pid, name in found:
                identity = services.identity_of(pid)
                if identity is None:
                    continue
                self._send(word, *identity, name)
                self._journal.registered(identity, role, name)

    def wake(self) -> None:
        """Have stopped services continue, so that they report exits, and exit after main.

        The watchdog has done that when the stop began. Somebody may have stopped one since.
        """
        for pid, _name in (*services.resource_tracker(), *services.fork_server()):
            identity = services.identity_of(pid)
            if identity is not None:
                with suppress(PermissionError):  # main runs as another user now
                    send_to(identity, signal.SIGCONT)

    def shut_down(self, deadline: float) -> None:
        """Shut each SyncManager down in the time that is left, and kill one that does not exit.

        Args:
            deadline: the deadline of the stop, in monotonic time.
        """
        sanic_main.skip_state_query()
        for manager in self._managers:
            left = max(0.0, deadline - time.monotonic())
            if not shut_down(manager, min(SHUTDOWN_TIMEOUT, max(left / 2, left - KILL_TIMEOUT))):
                self._kill(manager)
        self._managers.clear()

    def _kill(self, manager: Any) -> None:
        process = getattr(manager, "_process", None)
        if process is None:
            return  # the watchdog knows it as a child of main, and kills it
        identity = (process.pid, process._popen.start)
        if self._kills.kill(identity, HELPER, process.name, "does not shut down"):
            self._kills.by_us.append(HELPER)
        process.join(KILL_TIMEOUT)
        if process.is_alive():
            # Its fork server is stopped and does not report the exit, or the kernel holds it. The
            # exit of the interpreter would wait for it without a limit.
            process._popen.lose()
