"""The `multiprocessing` contexts that main starts processes from.

Sanic asks its context for a `Process` and for nothing else, for each start, restart and scaling. A
context that hands out guarded ones is therefore the one place to stand; wrapping the processes that
a manager has made already would miss those that it makes later.
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
"""A `multiprocessing` context; its stubs know no `Process` of the base class."""

_CLASSES: Mapping[str, type[WatchedProcess]] = {
    "spawn": WatchedSpawnProcess,
    "fork": WatchedForkProcess,
    "forkserver": WatchedForkServerProcess,
}


class WatchedContext:
    """A context whose processes are watched; in all else the one that it stands for.

    Args:
        watcher: who is told of each process.
        serve: the function that a worker runs. Every other process is the user's, or an
            extension's.
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
