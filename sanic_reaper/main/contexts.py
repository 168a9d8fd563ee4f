"""The `multiprocessing` context from which Sanic's manager starts processes.

For each start, restart and scaling Sanic asks its context for a `Process`, and for nothing else. So
a context that returns guarded processes covers all of them. Wrapping the processes that a manager
has made already would miss later ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..model.roles import PROCESS, WORKER
from .processes import (
    WatchedForkProcess,
    WatchedForkServerProcess,
    WatchedProcess,
    WatchedSpawnProcess,
)

if TYPE_CHECKING:
    from .interfaces import Watcher

Context = Any
"""A `multiprocessing` context. (Its stubs have no `Process` in the base class.)"""

_CLASSES: Mapping[str, type[WatchedProcess]] = {
    "spawn": WatchedSpawnProcess,
    "fork": WatchedForkProcess,
    "forkserver": WatchedForkServerProcess,
}


class WatchedContext:
    """A context whose processes are watched. In all else it is the original context.

    Args:
        context: the original context.
        watcher: the launcher, which starts each process.
        serve: the function that a worker runs. A process that runs another function belongs to the
            user or to an extension.
    """

    def __init__(self, context: Context, watcher: Watcher, serve: Any) -> None:
        self._context = context
        self._class = _CLASSES[context.get_start_method()]
        self._watcher = watcher
        self._serve = serve

    def Process(self, *args: Any, **kwargs: Any) -> WatchedProcess:
        role = WORKER if kwargs.get("target") is self._serve else PROCESS
        return self._class(*args, watcher=self._watcher, role=role, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)
