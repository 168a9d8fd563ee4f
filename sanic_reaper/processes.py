"""The `multiprocessing` processes that main starts, reported and guarded.

Sanic asks its context for a `Process` and for nothing else, for each start, restart and scaling. A
context that hands out guarded ones is therefore the one place to stand; wrapping the processes that
a manager has made already would miss those that it makes later.
"""

from __future__ import annotations

import gc
import multiprocessing
import multiprocessing.context
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

from . import environment, internals, worker

if TYPE_CHECKING:
    from .interfaces import Watcher
    from .launch import Launch
    from .platform.base import Identity

Context = Any
"""A `multiprocessing` context; its stubs know no `Process` of the base class."""


class QuietProcess(BaseProcess):
    """A process that starts deaf to the terminal (`_quiet_terminal`)."""

    def start(self) -> None:
        method = self._start_method  # type: ignore[attr-defined]
        if method != "fork":
            internals.ensure_resource_tracker()
        with _quiet_terminal(method):
            super().start()


class WatchedProcess(QuietProcess):
    """A process that is reported to the watchdog, and that guards itself when it runs."""

    reaper_role: str
    reaper_start: int = 0
    """Its creation time, once it has been started."""
    launch: Launch | None = None
    """Of a worker, in main: what is known of its start."""
    _watcher: Watcher | None
    _orders: worker.Orders

    def start(self) -> None:
        watcher = self._watcher
        assert watcher is not None
        with watcher.starting(self) as self._orders:
            super().start()

    def run(self) -> None:
        worker.enter(self._orders)
        try:
            super().run()
        except KeyboardInterrupt:
            if self.is_server:
                raise

    def terminate(self) -> None:
        super().terminate()
        if self._watcher is not None:
            self._watcher.replaced(self)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_watcher": None}

    @property
    def is_server(self) -> bool:
        return self.reaper_role == "worker"

    @property
    def identity(self) -> Identity:
        assert self.pid is not None
        return (self.pid, self.reaper_start)


class WatchedSpawnProcess(WatchedProcess, multiprocessing.context.SpawnProcess):
    pass


class WatchedForkProcess(WatchedProcess, multiprocessing.context.ForkProcess):
    def run(self) -> None:
        # Or the first collection in a worker writes to every object that it has from main, and the
        # kernel copies all their pages: more than 250 KB a worker for the Reaper's own alone.
        gc.freeze()
        super().run()


class WatchedForkServerProcess(WatchedProcess, multiprocessing.context.ForkServerProcess):
    pass


class QuietSpawnProcess(QuietProcess, multiprocessing.context.SpawnProcess):
    pass


class QuietForkProcess(QuietProcess, multiprocessing.context.ForkProcess):
    pass


class QuietForkServerProcess(QuietProcess, multiprocessing.context.ForkServerProcess):
    pass


_QUIET: Mapping[str, type[QuietProcess]] = {
    "spawn": QuietSpawnProcess,
    "fork": QuietForkProcess,
    "forkserver": QuietForkServerProcess,
}

_CLASSES: Mapping[str, type[WatchedProcess]] = {
    "spawn": WatchedSpawnProcess,
    "fork": WatchedForkProcess,
    "forkserver": WatchedForkServerProcess,
}


class WatchedContext:
    """A context whose processes are watched; in all else the one that it stands for."""

    def __init__(self, context: Context, watcher: Watcher) -> None:
        self._context = context
        self._class = _CLASSES[context.get_start_method()]
        self._watcher = watcher

    def Process(self, *args: Any, **kwargs: Any) -> WatchedProcess:
        process = self._class(*args, **kwargs)
        process._watcher = self._watcher
        process.reaper_role = "worker" if process.name.startswith("Sanic-Server-") else "process"
        return process

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


class QuietContext:
    """A context whose processes start deaf to the terminal: for a manager's own process."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.Process = _QUIET[context.get_start_method()]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


def guarded_manager(main: Identity, grace: float, watchdog: Identity) -> Any:
    """`multiprocessing.Manager()`, with a manager process that ends with main."""
    from multiprocessing.managers import SyncManager

    internals.ensure_temporary_directory()
    context: Any = QuietContext(multiprocessing.get_context())
    manager = SyncManager(ctx=context)
    manager.start(worker.enter_manager, (*main, grace, watchdog))
    return manager


@contextmanager
def _quiet_terminal(method: str) -> Iterator[None]:
    """Let a process start deaf to Ctrl+C, until it has set up what to do about it.

    A signal mask is inherited over fork and exec. Without this a Ctrl+C during the import of the
    user's module prints one traceback a worker, and under fork main's own handler runs in the
    worker: there SIGTERM is held back too, for the moment until `worker.enter`. Under spawn that
    moment is the whole import, and SIGTERM must be able to end it.
    """
    blocked = set(worker.TERMINAL_SIGNALS)
    if method == "fork":
        blocked.add(signal.SIGTERM)
    with _environment(IMPORT_VARIABLES if method != "fork" else {}):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


IMPORT_VARIABLES = {"PYTHONFAULTHANDLER": "1"}
"""With it, an import that hangs can show its stack, before any code of ours has run. The fork
server needs it for the workers that it forks."""


@contextmanager
def _environment(added: Mapping[str, str]) -> Iterator[None]:
    absent = [name for name in added if name not in os.environ]
    os.environ.update({name: added[name] for name in absent})
    try:
        yield
    finally:
        for name in absent:
            os.environ.pop(name, None)


def child_environment() -> dict[str, str]:
    """What a child must have in its environment and might not get by inheritance."""
    names = (*environment.WORKER_MARKS, environment.RUN)
    return {name: os.environ[name] for name in names if name in os.environ}
