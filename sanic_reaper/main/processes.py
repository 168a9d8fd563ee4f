"""The `multiprocessing` classes of the processes that main starts and watches.

Each worker imports this module to unpickle its own process. What only main needs is elsewhere.
"""

from __future__ import annotations

import gc
import multiprocessing.context
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

from ..model.roles import RELOADER, WORKER
from ..worker.entry import ProcessConfig, enter

if TYPE_CHECKING:
    from .interfaces import Watcher


class WatchedProcess(BaseProcess):
    """A process that is reported to the watchdog, and that guards itself when it runs.

    What only the main process knows of it is in `worker.SupervisedProcess`.

    Args:
        watcher: the launcher, which starts it.
        role: `worker` or `process`. The name can't tell: a process of the user's may have any.
    """

    method: str
    """How it is started: `spawn`, `fork` or `forkserver`."""
    reaper_role: str
    _watcher: Watcher | None
    _process_config: ProcessConfig
    _kwargs: dict[str, Any]

    def __init__(self, *args: Any, watcher: Watcher, role: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._watcher = watcher
        self.reaper_role = role

    def start(self) -> None:
        watcher = self._watcher
        assert watcher is not None
        with watcher.starting(self) as self._process_config:
            super().start()

    def run(self) -> None:
        leave = enter(self._process_config, self._kwargs)
        try:
            super().run()
        except KeyboardInterrupt:
            if self.is_server:
                raise
        finally:
            if self.name.startswith(RELOADER):
                # Sanic leaves its event loop open (worker/reloader.py:44). The last collection may
                # end the loop's sockets before the loop, which then complains with a traceback.
                gc.freeze()
            leave()

    def terminate(self) -> None:
        try:
            super().terminate()
            was_asked = True
        except PermissionError:  # main has become another user, and the watchdog has not
            was_asked = False
        if self._watcher is not None:
            self._watcher.on_terminate(self, was_asked)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_watcher": None}

    @property
    def is_server(self) -> bool:
        return self.reaper_role == WORKER

    @property
    def status(self) -> int | None:
        """The exit code, for main. `None`: the process lives, or something else has reaped it."""
        code = self.exitcode
        return None if getattr(self._popen, "is_lost", False) else code  # type: ignore[attr-defined]

    def on_exit_seen(self) -> None:
        """Note, in main, that the watchdog has seen the exit of the process.

        Main sees the exit too, unless something else has reaped the process and the pid belongs to
        another child by now. Under forkserver the fork server reports it.
        """
        if self.exitcode is None and self.method != "forkserver":
            self._popen.lose()  # type: ignore[attr-defined]


class WatchedSpawnProcess(WatchedProcess, multiprocessing.context.SpawnProcess):
    method = "spawn"

    @staticmethod
    def _Popen(process: BaseProcess) -> Any:
        from multiprocessing.popen_spawn_posix import Popen

        from .popen import keeping

        return keeping(Popen)(process)


class WatchedForkProcess(WatchedProcess, multiprocessing.context.ForkProcess):
    method = "fork"

    @staticmethod
    def _Popen(process: BaseProcess) -> Any:
        from multiprocessing.popen_fork import Popen

        from .popen import keeping

        return keeping(Popen)(process)

    def run(self) -> None:
        # Otherwise the first collection in a worker writes to every object that it has from main,
        # and the kernel copies their pages: over 250 KB a worker for the Reaper's objects alone.
        gc.freeze()
        super().run()


class WatchedForkServerProcess(WatchedProcess, multiprocessing.context.ForkServerProcess):
    method = "forkserver"

    @staticmethod
    def _Popen(process: BaseProcess) -> Any:
        from multiprocessing.popen_forkserver import Popen

        from .popen import keeping

        return keeping(Popen)(process)
