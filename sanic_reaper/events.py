"""Events: tells users' hooks what happens to a server's processes (`Reaper(on_event=...)`)."""

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
    "request.slow",
    "worker.died",
    "worker.killed",
    "worker.replaced",
    "worker.recycled",
    "worker.crashloop",
    "orphan.killed",
)

KEPT = 1000
"""Maximum number of events that wait for a hook. Beyond it, the oldest are dropped."""

PATIENCE = 1.0
"""Seconds that the stop waits for hooks to receive the events that are still waiting."""

FORK_PATIENCE = 2.0
"""Seconds that main waits for a running hook before it forks a worker. Once for each thread."""


class Event(NamedTuple):
    """Something that has happened to one process. Hooks receive it in the main process."""

    name: str
    """One of `NAMES`."""
    process: str
    """Name of the process: `Sanic-Server-0-0`, or an orphan's name in the process table."""
    pid: int
    time: float
    """Time of the event, in seconds since the epoch."""
    reason: str = ""
    """Why it happened, in the words of the log."""
    exit_code: int | None = None
    """Exit code of a worker that died, negative for a signal. `None` if it is unknown."""
    seconds: float | None = None
    """Seconds that a worker took until it was ready, that its event loop has been blocked, that a
    handler of its start has run, or that a slow request has been in flight."""
    cause: str = ""
    """Why it happened, in one word: for a death, a kill or a replacement."""

    @property
    def exitcode(self) -> int | None:
        """The same as `exit_code`, under the name that `multiprocessing` uses."""
        return self.exit_code


Hook: TypeAlias = Callable[[Event], object]


class Hooks:
    """Calls users' hooks, in a thread, one event after the other.

    A hook that does not return delays other hooks, and nothing else. Calling hooks in main's own
    thread was rejected: a hook that waits for the network would delay the server.

    A worker that is forked while a hook runs inherits each lock that the hook holds, locked for
    ever. So the thread exists only while events wait. It starts when main has nothing left to fork
    (`turn`), and main waits for the running hook before it forks (`parked`).
    """

    def __init__(self, hooks: list[tuple[str | None, Hook]]) -> None:
        self.recorder: Callable[[Event], None] | None = None
        """Is called for each event at once, in main's own thread."""
        self._hooks = hooks
        self._waiting: deque[Event] = deque(maxlen=KEPT)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._parked = 0
        """Number of open `parked` blocks. While there is one, no hook is called."""
        self._running: Hook | None = None
        self._stuck: threading.Thread | None = None
        """A thread that main does not wait for again, because its hook took too long once."""

    def emit(
        self,
        name: str,
        process: str,
        pid: int,
        reason: str = "",
        exit_code: int | None = None,
        seconds: float | None = None,
        cause: str = "",
    ) -> Event:
        """Record an event, and return it. The hooks receive it after the next `turn`."""
        event = Event(name, process, pid, time.time(), reason, exit_code, seconds, cause)
        if self.recorder is not None:
            self.recorder(event)
        if self._hooks:
            with self._lock:
                self._waiting.append(event)
        return event

    def turn(self) -> None:
        """Start the thread if events wait. Called when main has nothing to fork now."""
        with self._lock:
            if not self._waiting or self._parked or self._thread is not None:
                return
            self._thread = threading.Thread(target=self._run, name="reaper-hooks", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # no more threads for now: the next turn tries again
                self._thread = None

    @contextmanager
    def parked(self) -> Iterator[None]:
        """Keep hooks from running during this block, in which main forks.

        Waits for the running hook, for `FORK_PATIENCE` at most. If the hook takes longer, the
        worker is forked all the same, and can hang on a lock that the hook holds. One warning says
        so.
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
        """The next event. `None` if the thread must exit."""
        with self._lock:
            if self._waiting and not self._parked:
                return self._waiting.popleft()
            self._thread = None
            return None

    def finish(self) -> None:
        """Let the hooks receive the events that wait, for `PATIENCE` at most."""
        self.turn()
        thread = self._thread
        if thread is not None:
            thread.join(PATIENCE)
            if thread.is_alive():
                log.warning(
                    "the hook %r still runs %g s after the stop; %d events are dropped",
                    *(self._running, PATIENCE, len(self._waiting)),
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
