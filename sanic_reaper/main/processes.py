"""The `multiprocessing` processes that main starts and watches, as both sides know them.

They are imported in each worker, for each is unpickled there: what only main needs is elsewhere.
"""

from __future__ import annotations

import gc
import multiprocessing.context
import signal
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

from ..model.roles import WORKER
from ..worker.entry import Orders, enter

if TYPE_CHECKING:
    from ..model.recycling import Limits
    from ..platform.base import Identity
    from .heartbeat import Pulse
    from .interfaces import Watcher
    from .startup import Launch
    from .worker_link import Contact


class WatchedProcess(BaseProcess):
    """A process that is reported to the watchdog, and that guards itself when it runs."""

    reaper_role: str
    reaper_start: int = 0
    """Its creation time, once it has been started."""
    killed_for: str | None = None
    """In main: why the watchdog has killed it, if it has."""
    death_is_told = False
    """In main: whether a line of the log has told of its death."""
    is_dismissed = False
    """In main: whether it has been told to end, while the server goes on."""
    contact: Contact | None = None
    """Of a worker, in main: the line to it,"""
    launch: Launch | None = None
    """what is known of its start,"""
    pulse: Pulse | None = None
    """of its event loop, if anybody wants to know,"""
    limits: Limits | None = None
    """and when it has had its day."""
    _watcher: Watcher | None
    _orders: Orders
    _kwargs: dict[str, Any]

    def start(self) -> None:
        watcher = self._watcher
        assert watcher is not None
        with watcher.starting(self) as self._orders:
            super().start()

    def run(self) -> None:
        leave = enter(self._orders, self._kwargs)
        try:
            super().run()
        except KeyboardInterrupt:
            if self.is_server:
                raise
        finally:
            if self.name.startswith("Sanic-Reloader"):
                # Sanic leaves its event loop open (worker/reloader.py:44). The last collection may
                # end the loop's sockets before the loop, which then complains with a traceback.
                gc.freeze()
            leave()

    def terminate(self) -> None:
        self.is_dismissed = True
        try:
            super().terminate()
            was_asked = True
        except PermissionError:  # main has become another user, and the watchdog has not
            was_asked = False
        if self._watcher is not None:
            self._watcher.replaced(self, was_asked)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_watcher": None}

    @property
    def is_server(self) -> bool:
        return self.reaper_role == WORKER

    @property
    def method(self) -> str:
        """How it is started: `spawn`, `fork` or `forkserver`."""
        method: str = self._start_method  # type: ignore[attr-defined]
        return method

    @property
    def status(self) -> int | None:
        """In main: its exit code, if it has ended and somebody knows how."""
        code = self.exitcode
        return None if getattr(self._popen, "is_lost", False) else code  # type: ignore[attr-defined]

    @property
    def died_of_sigkill(self) -> bool:
        """In main, of a process that has ended: whether SIGKILL, whoever sent it, was the cause.

        Of a process whose exit status is lost, only the watchdog's word is known.
        """
        if self.status is None:
            return self.killed_for is not None
        return self.status == -signal.SIGKILL

    def has_gone(self) -> None:
        """In main: the watchdog has seen its end.

        Main sees it too, unless something else has reaped it and the pid is another child's by now.
        A fork server tells main in its own time.
        """
        if self.exitcode is None and self.method != "forkserver":
            self._popen.lose()  # type: ignore[attr-defined]

    @property
    def identity(self) -> Identity:
        assert self.pid is not None
        return (self.pid, self.reaper_start)


class WatchedSpawnProcess(WatchedProcess, multiprocessing.context.SpawnProcess):
    @staticmethod
    def _Popen(process: BaseProcess) -> Any:
        from multiprocessing.popen_spawn_posix import Popen

        from .popen import keeping

        return keeping(Popen)(process)


class WatchedForkProcess(WatchedProcess, multiprocessing.context.ForkProcess):
    @staticmethod
    def _Popen(process: BaseProcess) -> Any:
        from multiprocessing.popen_fork import Popen

        from .popen import keeping

        return keeping(Popen)(process)

    def run(self) -> None:
        # Or the first collection in a worker writes to every object that it has from main, and the
        # kernel copies all their pages: more than 250 KB a worker for the Reaper's own alone.
        gc.freeze()
        super().run()


class WatchedForkServerProcess(WatchedProcess, multiprocessing.context.ForkServerProcess):
    @staticmethod
    def _Popen(process: BaseProcess) -> Any:
        from multiprocessing.popen_forkserver import Popen

        from .popen import keeping

        return keeping(Popen)(process)
