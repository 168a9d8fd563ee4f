"""The process of a SyncManager: it ignores the terminal, does not import the user's module, and
exits with main.

This module is unpickled in that process, so it imports neither Sanic nor main's other modules.
"""

from __future__ import annotations

import multiprocessing.context
import multiprocessing.spawn
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from ..worker.guard import TERMINAL_SIGNALS, alarm_in, arm, main_lives

if TYPE_CHECKING:
    from ..platform.base import Identity

_CHECK_INTERVAL = 0.05
"""Seconds between two checks of an orphaned SyncManager whether anybody still talks to it."""


class ManagerProcess(BaseProcess):
    """A process that starts with the signals of the terminal blocked (`inheritance.quiet_start`),
    and without the import of main's module."""

    method: str
    """How it is started: `spawn`, `fork` or `forkserver`."""

    def start(self) -> None:
        from ..compat.spawning import spawning_without_main
        from .inheritance import quiet_start  # main's alone

        with quiet_start(self.method, tied=True), spawning_without_main():
            super().start()


class SpawnManagerProcess(ManagerProcess, multiprocessing.context.SpawnProcess):
    method = "spawn"

    @staticmethod
    def _Popen(process: BaseProcess) -> Any:
        from multiprocessing.popen_spawn_posix import Popen

        from .popen import keeping  # main's alone

        return keeping(Popen)(process)


class ForkManagerProcess(ManagerProcess, multiprocessing.context.ForkProcess):
    method = "fork"

    @staticmethod
    def _Popen(process: BaseProcess) -> Any:
        from multiprocessing.popen_fork import Popen

        from .popen import keeping

        return keeping(Popen)(process)


class ForkServerManagerProcess(ManagerProcess, multiprocessing.context.ForkServerProcess):
    method = "forkserver"

    @staticmethod
    def _Popen(process: BaseProcess) -> Any:
        from multiprocessing.popen_forkserver import Popen

        from .popen import keeping

        return keeping(Popen)(process)


_CLASSES: Mapping[str, type[ManagerProcess]] = {
    "spawn": SpawnManagerProcess,
    "fork": ForkManagerProcess,
    "forkserver": ForkServerManagerProcess,
}


class ManagerContext:
    """A `multiprocessing` context for a manager's own process."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self.Process = _CLASSES[context.get_start_method()]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


class ManagerConfig(NamedTuple):
    """What main tells a SyncManager.

    Attributes:
        main: pid and creation time of the main process.
        grace: seconds for which the SyncManager serves workers when main has died.
        module: how main's own module is found: the key of `multiprocessing`'s preparation data, and
            the name or the path. Empty: there is none.
    """

    main: Identity
    grace: float
    module: tuple[str, ...]


def enter_manager(config: ManagerConfig) -> None:
    """Set up the process of a SyncManager: it exits after main, and after the workers.

    SIGTERM counts only when main has died: a service manager that signals every process at once
    must not end the SyncManager while workers still talk to it. When main has died, the watchdog
    sends SIGTERM. Without a watchdog the SyncManager exits when nobody talks to it any more, or
    after the grace period.
    """
    idle_threads = threading.active_count() + 1  # one more accepts connections
    last_moment = float("inf")

    def orphaned(signum: int, frame: FrameType | None) -> None:
        nonlocal last_moment
        last_moment = time.monotonic() + config.grace
        alarm_in(_CHECK_INTERVAL)

    def look(signum: int, frame: FrameType | None) -> None:
        if threading.active_count() <= idle_threads or time.monotonic() >= last_moment:
            end(signum, frame)
        alarm_in(_CHECK_INTERVAL)

    def end(signum: int, frame: FrameType | None) -> None:
        if not main_lives(*config.main):
            alarm_in(0)  # an alarm would interrupt what follows
            # The default action would leave the directory in /tmp; a regular exit takes 0.3 s.
            _remove_temporary_directory()
            os._exit(0)

    for terminal in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(terminal, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGUSR2, orphaned)
    signal.signal(signal.SIGALRM, look)
    arm(config.main[0], signal.SIGUSR2)
    if not main_lives(*config.main):
        os._exit(0)
    LazyMainModule.stand_in(config.module)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TERMINAL_SIGNALS | {signal.SIGTERM})


def _remove_temporary_directory() -> None:
    """Remove the directory of the sockets between main and the SyncManager.

    Main's own finalizer has not run, because main has died.
    """
    process: Any = multiprocessing.current_process()
    directory = getattr(process, "_config", {}).get("tempdir")
    if directory:
        shutil.rmtree(directory, ignore_errors=True)


class LazyMainModule(ModuleType):
    """Stands in for main's own module, and imports that module at the first use of an attribute.

    `multiprocessing` imports the module in each process that it spawns. For a SyncManager that is
    half a second, 20 MB and every side effect of the user's module, for nothing. The SyncManager
    needs the module only to unpickle an object of a class that is defined there, which a worker may
    put into the shared state.
    """

    def __init__(self, module: tuple[str, ...]) -> None:
        super().__init__("__main__")
        self.__reaper_module__ = module
        self.__reaper_lock__ = threading.RLock()

    @classmethod
    def stand_in(cls, module: tuple[str, ...]) -> None:
        """Install the stand-in, if this process was started without main's module.

        Args:
            module: as `ManagerConfig.module`.
        """
        # Without main's module `__mp_main__` is the interpreter's own. (A fork server may preload.)
        if module and sys.modules["__mp_main__"].__name__ == "__main__":
            late = cls(module)
            sys.modules["__main__"] = sys.modules["__mp_main__"] = late

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # the import system asks each module for these
            raise AttributeError(name)
        with self.__reaper_lock__:  # each client of a SyncManager has a thread here
            module, self.__reaper_module__ = self.__reaper_module__, ()
            if module:
                way, where = module
                multiprocessing.spawn.prepare({way: where})
        real = sys.modules["__mp_main__"]
        if real is self:  # `multiprocessing` can't import it, or this is that import
            raise AttributeError(name)
        return getattr(real, name)
