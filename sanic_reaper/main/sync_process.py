"""A SyncManager's own process: it starts deaf to the terminal, without the user's module, and ends
with main.

It has to be unpickled there, so this imports neither Sanic nor what main has of ours.
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

_LOOK_EVERY = 0.05
"""Seconds between two looks of an orphaned SyncManager at who still talks to it."""


class ManagerProcess(BaseProcess):
    """A process that starts deaf to the terminal (`inheritance.quiet_start`), and at once."""

    def start(self) -> None:
        from ..compat.spawning import spawning_without_main
        from .inheritance import quiet_start  # main's alone

        method: str = self._start_method  # type: ignore[attr-defined]
        with quiet_start(method, tied=True), spawning_without_main():
            super().start()


class SpawnManagerProcess(ManagerProcess, multiprocessing.context.SpawnProcess):
    @staticmethod
    def _Popen(process: BaseProcess) -> Any:
        from multiprocessing.popen_spawn_posix import Popen

        from .popen import keeping  # main's alone

        return keeping(Popen)(process)


class ForkManagerProcess(ManagerProcess, multiprocessing.context.ForkProcess):
    @staticmethod
    def _Popen(process: BaseProcess) -> Any:
        from multiprocessing.popen_fork import Popen

        from .popen import keeping

        return keeping(Popen)(process)


class ForkServerManagerProcess(ManagerProcess, multiprocessing.context.ForkServerProcess):
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


class Charge(NamedTuple):
    """What a SyncManager has to know of main.

    Attributes:
        main: the process that it ends with.
        grace: seconds that it may live on for workers that still talk to it.
        module: how main's own module is found: `multiprocessing`'s word for the way, and the name
            or the path. Empty: there is none.
    """

    main: Identity
    grace: float
    module: tuple[str, ...]


def enter_manager(charge: Charge) -> None:
    """The initializer of a SyncManager: it ends after main, and after the workers.

    A service manager that signals every process at once must not take it from under workers that
    still tell it how they end: SIGTERM counts only when main is gone. The watchdog sends it then;
    where there is none the SyncManager ends when nobody talks to it any more, or after the grace.
    """
    alone = threading.active_count() + 1  # and the thread that accepts connections
    last_moment = float("inf")

    def orphaned(signum: int, frame: FrameType | None) -> None:
        nonlocal last_moment
        last_moment = time.monotonic() + charge.grace
        alarm_in(_LOOK_EVERY)

    def look(signum: int, frame: FrameType | None) -> None:
        if threading.active_count() <= alone or time.monotonic() >= last_moment:
            end(signum, frame)
        alarm_in(_LOOK_EVERY)

    def end(signum: int, frame: FrameType | None) -> None:
        if not main_lives(*charge.main):
            alarm_in(0)  # or it interrupts what follows
            # By default its directory would stay in /tmp; its own way out takes 0.3 s.
            _remove_temporary_directory()
            os._exit(0)

    for terminal in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(terminal, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGUSR2, orphaned)
    signal.signal(signal.SIGALRM, look)
    arm(charge.main[0], signal.SIGUSR2)
    if not main_lives(*charge.main):
        os._exit(0)
    LateModule.stand_in(charge.module)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TERMINAL_SIGNALS | {signal.SIGTERM})


def _remove_temporary_directory() -> None:
    """Where main and a SyncManager have their sockets; main's own finalizer is gone with main."""
    process: Any = multiprocessing.current_process()
    directory = process._config.get("tempdir")
    if directory:
        shutil.rmtree(directory, ignore_errors=True)


class LateModule(ModuleType):
    """Stands for main's own module, which is imported when somebody wants something of it.

    `multiprocessing` imports it in each process that it spawns: for a SyncManager that is half a
    second and 20 MB, and whatever else the user's module does, for nothing. It needs the module
    only to unpickle an object of a class that is defined there, which a worker may put into the
    shared state: and then it is imported here, as `multiprocessing` would have done.
    """

    def __init__(self, module: tuple[str, ...]) -> None:
        super().__init__("__main__")
        self.__reaper_module__ = module
        self.__reaper_lock__ = threading.RLock()

    @classmethod
    def stand_in(cls, module: tuple[str, ...]) -> None:
        """For a process that was started without main's module; `module` is empty in others."""
        # Without it `multiprocessing` calls the interpreter's own so. A fork server may preload it.
        if module and sys.modules["__mp_main__"].__name__ == "__main__":
            late = cls(module)
            sys.modules["__main__"] = sys.modules["__mp_main__"] = late

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what the import system asks of each module
            raise AttributeError(name)
        with self.__reaper_lock__:  # each who talks to a SyncManager has a thread of it
            module, self.__reaper_module__ = self.__reaper_module__, ()
            if module:
                way, where = module
                multiprocessing.spawn.prepare({way: where})
        real = sys.modules["__mp_main__"]
        if real is self:  # not for `multiprocessing` to import, or in the midst of that
            raise AttributeError(name)
        return getattr(real, name)
