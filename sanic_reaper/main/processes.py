"""The `multiprocessing` processes that main starts and watches, as both sides know them.

They are imported in each worker, for each is unpickled there: what only main needs is elsewhere.
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

    What the main process knows of it besides is in `worker.SupervisedProcess`, not here.

    Args:
        watcher: who wants to know of its start and of its end.
        role: `worker` or `process`. By the name a process of the user's could be taken for a
            worker.
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
        """In main: its exit code, if it has ended and somebody knows how."""
        code = self.exitcode
        return None if getattr(self._popen, "is_lost", False) else code  # type: ignore[attr-defined]

    def has_gone(self) -> None:
        """In main: the watchdog has seen its end.

        Main sees it too, unless something else has reaped it and the pid is another child's by now.
        A fork server tells main in its own time.
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
        # Or the first collection in a worker writes to every object that it has from main, and the
        # kernel copies all their pages: more than 250 KB a worker for the Reaper's own alone.
        gc.freeze()
        super().run()


class WatchedForkServerProcess(WatchedProcess, multiprocessing.context.ForkServerProcess):
    method = "forkserver"

    @staticmethod
    def _Popen(process: BaseProcess) -> Any:
        from multiprocessing.popen_forkserver import Popen

        from .popen import keeping

        return keeping(Popen)(process)
