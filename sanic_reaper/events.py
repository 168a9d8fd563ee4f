"""What happens to the processes of a server, for users' code to hear: `Reaper(on_event=...)`."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from .log import log

NAMES = (
    "worker.started",
    "worker.ready",
    "worker.slow",
    "worker.blocked",
    "worker.died",
    "worker.killed",
    "worker.replaced",
    "worker.recycled",
    "worker.crashloop",
    "orphan.killed",
)

KEPT = 1000
"""Events that wait for a hook that does not return. Then the oldest are forgotten."""

PATIENCE = 1.0
"""Seconds that hooks have at the server's end for what they have not heard yet."""


class Event(NamedTuple):
    """Something that has happened to one process. Hooks hear it in the main process."""

    name: str
    """One of `NAMES`."""
    process: str
    """Whose it is: `Sanic-Server-0-0`; of an orphan, what the process table calls it."""
    pid: int
    time: float
    """Seconds since the epoch."""
    reason: str = ""
    """Why, in the words of the log."""
    exitcode: int | None = None
    """Of a worker that died: negative where a signal has ended it. `None`: nobody knows."""
    seconds: float | None = None
    """How long a worker took until it was ready."""
    cause: str = ""
    """Why, in one word of `causes`: of a death, a kill, a replacement."""


Hook: TypeAlias = Callable[[Event], object]


class Hooks:
    """Calls users' code, and is not hurt by it.

    It runs in a thread that ends when there is nothing more to tell, so that main is not forked
    while a thread runs; one that does not return holds up the hooks, and nobody else. In main's own
    thread was the alternative: a hook that waits for the network would hold up the server.
    """

    def __init__(self, hooks: list[tuple[str | None, Hook]]) -> None:
        self.recorder: Callable[[Event], None] | None = None
        """Is told at once, in main's own thread."""
        self._hooks = hooks
        self._untold: deque[Event] = deque(maxlen=KEPT)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def tell(
        self,
        name: str,
        process: str,
        pid: int,
        reason: str = "",
        exitcode: int | None = None,
        seconds: float | None = None,
        cause: str = "",
    ) -> None:
        event = Event(name, process, pid, time.time(), reason, exitcode, seconds, cause)
        if self.recorder is not None:
            self.recorder(event)
        if not self._hooks:
            return
        with self._lock:
            self._untold.append(event)
            self._have_it_told()

    def _have_it_told(self) -> None:
        """By a thread, unless one is at it."""
        if self._thread is not None:
            return
        self._thread = threading.Thread(target=self._run, name="reaper-hooks", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no more threads for now: it is told along with the next event
            self._thread = None

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._untold:
                    self._thread = None
                    return
                event = self._untold.popleft()
            for name, hook in self._hooks:
                if name in (None, event.name):
                    _call(hook, event)

    def finish(self) -> None:
        """Let what is untold be told, for as long as `PATIENCE` allows."""
        thread = self._thread
        if thread is not None:
            thread.join(PATIENCE)
            if thread.is_alive():
                log.warning("a hook does not return; %d events are not told", len(self._untold))


def _call(hook: Hook, event: Event) -> None:
    try:
        hook(event)
    except Exception as error:
        log.exception("the hook %r has failed for %s: %r", hook, event.name, error)
