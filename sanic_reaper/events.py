"""What happens to the processes of a server, for users' code to hear: `Reaper(on_event=...)`."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
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

FORK_PATIENCE = 2.0
"""Seconds that main waits for a hook before it forks a worker, once for each hook."""


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
    exit_code: int | None = None
    """Of a worker that died: negative where a signal has ended it. `None`: nobody knows."""
    seconds: float | None = None
    """How long a worker took until it was ready."""
    cause: str = ""
    """Why, in one word of `causes`: of a death, a kill, a replacement."""

    @property
    def exitcode(self) -> int | None:
        """Another name for `exit_code`: the one that `multiprocessing` has for it."""
        return self.exit_code


Hook: TypeAlias = Callable[[Event], object]


class Hooks:
    """Calls users' code, and is not hurt by it.

    The hooks run in a thread, one event after the other. A hook that does not return holds up the
    hooks, and nobody else. In main's own thread was the alternative: a hook that waits for the
    network would hold up the server.

    A worker that is forked while a hook runs inherits each lock that the hook holds, for good. So
    the thread exists only while there is something to tell; it begins when main has forked what it
    had to (`turn`), and main waits for the hook that runs before it forks (`parked`).
    """

    def __init__(self, hooks: list[tuple[str | None, Hook]]) -> None:
        self.recorder: Callable[[Event], None] | None = None
        """Is told at once, in main's own thread."""
        self._hooks = hooks
        self._untold: deque[Event] = deque(maxlen=KEPT)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._parked = 0
        """How many forks there are before which no hook may begin."""
        self._running: Hook | None = None
        self._stuck: threading.Thread | None = None
        """A thread that nobody waits for any more: its hook has taken too long once."""

    def tell(
        self,
        name: str,
        process: str,
        pid: int,
        reason: str = "",
        exit_code: int | None = None,
        seconds: float | None = None,
        cause: str = "",
    ) -> None:
        """Record an event, and have the hooks told of it at the next `turn`."""
        event = Event(name, process, pid, time.time(), reason, exit_code, seconds, cause)
        if self.recorder is not None:
            self.recorder(event)
        if self._hooks:
            with self._lock:
                self._untold.append(event)

    def turn(self) -> None:
        """Have what is untold be told, by a thread. Called when main has nothing to fork now."""
        with self._lock:
            if not self._untold or self._parked or self._thread is not None:
                return
            self._thread = threading.Thread(target=self._run, name="reaper-hooks", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # no more threads for now: the next turn tries again
                self._thread = None

    @contextmanager
    def parked(self) -> Iterator[None]:
        """Within this block no hook runs: for a fork.

        Waits for the hook that runs, `FORK_PATIENCE` at most. A worker that is forked beside a hook
        that takes longer may hang, if it needs what that hook holds: one warning says so.
        """
        with self._lock:
            self._parked += 1
            thread = self._thread
        try:
            if thread is not None and thread is not self._stuck:
                thread.join(FORK_PATIENCE)
                if thread.is_alive():
                    self._stuck = thread
                    log.warning(
                        "the hook %r runs for more than %g s: workers are forked beside it, and "
                        "hang if they need a lock that it holds (spawn has no such trouble)",
                        self._running,
                        FORK_PATIENCE,
                    )
            yield
        finally:
            with self._lock:
                self._parked -= 1

    def _run(self) -> None:
        try:
            while (event := self._next()) is not None:
                for name, hook in self._hooks:
                    if name in (None, event.name):
                        self._running = hook
                        _call(hook, event)
        finally:
            if self._thread is threading.current_thread():  # it has failed: the next one goes on
                self._thread = None

    def _next(self) -> Event | None:
        """What the thread is to tell next; `None` where it has to end."""
        with self._lock:
            if self._untold and not self._parked:
                return self._untold.popleft()
            self._thread = None
            return None

    def finish(self) -> None:
        """Let what is untold be told, for as long as `PATIENCE` allows."""
        self.turn()
        thread = self._thread
        if thread is not None:
            thread.join(PATIENCE)
            if thread.is_alive():
                log.warning(
                    "the hook %r still runs %g s after the stop; %d events are not told",
                    *(self._running, PATIENCE, len(self._untold)),
                )


def _call(hook: Hook, event: Event) -> None:
    try:
        result = hook(event)
        if isinstance(result, Coroutine):  # of a function around a coroutine function
            result.close()
            raise TypeError("it returns a coroutine, which nobody awaits: use asyncio.run()")
    except BaseException as error:  # `sys.exit()` too: the next hook is to be called all the same
        with suppress(Exception):
            log.exception("the hook %r has failed for %s: %r", hook, event.name, error)
