"""Main's view of one worker's start: which handler runs, since when, and where it sits."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

from .config import Settings
from .explanations import ADVICE, AWAITING, BLOCKING, Frame, is_ours, report
from .handlers import Place
from .log import log
from .reader import Reader, frames_of, other_threads
from .reports import REQUEST

ANSWER = 0.3
"""Seconds that a worker has to say what is not on its stack. With the GIL held it never does."""

STACK = 0.8
"""Seconds that its stack may take: the kernel writes it down as soon as the worker gets a core."""

LINGER = 1.0
"""Seconds that a worker whose start has failed may take to end. It might wait for a child."""

HARD = 1.0
"""Seconds between a handler's own limit and its end from outside, where the limit had no effect."""


class Launch:
    """One worker's start, from what the worker reports of it.

    Args:
        name: the worker's.
        pid: its pid; main has not reaped it as long as this is used.
        connection: what it reports through.
        settings: of the server.
        began: when it was started, on the monotonic clock.
        on_due: called when `due` has changed.
    """

    def __init__(
        self,
        name: str,
        pid: int,
        connection: Connection,
        settings: Settings,
        began: float,
        on_due: Callable[[], None],
    ) -> None:
        self.failure: str | None = None
        """Why the worker can't start, in its own words."""
        self.is_given_up = False
        """Whether its failure has been reported, and nothing more is to be done about it."""
        self.has_expired = False
        self.has_acked = False
        self.is_ready = False
        """Whether it serves and has nothing more to do first."""
        self._title = f"{name} [{pid}]"
        self._pid = pid
        self._reader = Reader(connection)
        self._settings = settings
        self._on_due = on_due
        self._ready_by = began + settings.startup_timeout if settings.startup_timeout else 0.0
        self._handler_by = 0.0
        self._answers = False
        self._place: Place | None = None
        self._began = 0.0
        self._limit = 0.0
        self._source = ""
        self._is_told = False
        self._asked: float | None = None
        self._then: Callable[[list[Frame], str], None] | None = None
        self._stack = ""
        self._where: tuple[bool, list[Frame]] | None = None
        self._failed_at = 0.0

    def fail(self, why: str) -> None:
        self.failure, self._failed_at = why, time.monotonic()

    @property
    def lingers(self) -> bool:
        """Whether it should have ended by now, of a failure that it has told."""
        return self.failure is not None and time.monotonic() - self._failed_at >= LINGER

    @property
    def due(self) -> float:
        """When it is to be ended if it is not ready, on the monotonic clock. 0: never."""
        deadlines = [moment for moment in (self._ready_by, self._handler_by) if moment]
        return min(deadlines, default=0.0) if not self.has_acked else 0.0

    # -- hearing it -------------------------------------------------------------------------------

    def turn(self) -> None:
        """Take in what it has reported; see whether something is to be said or done."""
        self.hear()
        now = time.monotonic()
        slow = self._settings.slow_handler
        if self._place is not None and slow and not self._is_told and now - self._began >= slow:
            self._is_told = True
            self.ask(self._warn)
        patience = ANSWER if self._stack else STACK
        if self._asked is not None and (self._where or now - self._asked >= patience):
            self._answer()

    def hear(self) -> None:
        messages, stack = self._reader.read()
        self._stack += stack
        for word, *rest in messages:
            if word == "hello":
                self._answers = True
            elif word == "begin":
                self._begin(Place(*rest[:3]), rest[3], rest[4])
            elif word == "end":
                self._place = None
                self._handler_by = 0.0
                self._on_due()
            elif word == "where" and self._asked is not None:
                awaits, frames = rest
                self._where = (awaits, [(file, line, name) for file, line, name in frames])
            elif word == "failed":
                self.fail(rest[0])
            elif word == "ready":
                self.is_ready = True

    def _begin(self, place: Place, limit: float, source: str) -> None:
        self._place, self._limit, self._source = place, limit, source
        self._began = time.monotonic()
        self._is_told = False
        self._handler_by = self._began + limit + HARD if limit else 0.0
        self._on_due()

    def close(self) -> None:
        self._reader.close()

    # -- asking it --------------------------------------------------------------------------------

    @property
    def can_be_asked(self) -> bool:
        """Not while it imports under spawn or forkserver: the signal would end it."""
        return self._answers

    def ask(self, then: Callable[[list[Frame], str], None]) -> None:
        """Have the worker show where it is, and `then` be called with its frames, and how it is."""
        self._asked, self._then = time.monotonic(), then
        self._stack, self._where = "", None
        for signum in (REQUEST, signal.SIGCONT):
            try:
                os.kill(self._pid, signum)
            except ProcessLookupError:
                pass

    def _answer(self) -> None:
        self._asked, then = None, self._then
        frames, how = frames_of(self._stack), BLOCKING
        if not self._stack:
            how = "and does not answer"
        elif self._where is None:
            how = f"{BLOCKING}, in C code that holds the GIL"
        elif self._where[0]:
            frames, how = self._where[1], AWAITING
        if then is not None:
            then(frames, how)

    # -- what is said of it -----------------------------------------------------------------------

    def _warn(self, frames: list[Frame], how: str) -> None:
        if self._place is not None:
            seconds = time.monotonic() - self._began
            what = f"{self._title} is slow to start: {self._place.name} still runs"
            log.warning("%s", report(what, self._place, seconds, how, frames, ADVICE))

    @property
    def late(self) -> str:
        """Why it is killed where it can't be asked: its stack stands on stderr."""
        where = "" if self.can_be_asked else ", and has not even imported the app"
        return f"it has not started within {self._limit_of_all}{where}; its stack is above"

    @property
    def _limit_of_all(self) -> str:
        return f"REAPER_STARTUP_TIMEOUT = {self._settings.startup_timeout or 0:g} s"

    def overdue(self, frames: list[Frame], how: str) -> str:
        """Why it is killed now, and its whole stack."""
        now = time.monotonic()
        by_handler = self._place is not None and self._limit and now >= self._began + self._limit
        if by_handler and self._place is not None:
            what = (
                f"its before_server_start handler {self._place.name} took longer than "
                f"{self._limit:g} s, and StartupTimeout did not end it"
            )
            remedy = f"a larger limit ({self._source})"
        else:
            what = f"it has not started within {self._limit_of_all}"
            remedy = f"a larger limit ({self._limit_of_all})"
        remedy += f"; or {ADVICE}"
        text = report(what, self._place, now - self._began, how, frames, remedy)
        return "\n".join([text, *_stack_of(frames), *other_threads(self._stack)])


def _stack_of(frames: list[Frame]) -> list[str]:
    """Down to where we called the handler: how Sanic came to call us is no news."""
    ours = next((at for at, frame in enumerate(frames) if is_ours(frame[0])), len(frames))
    shown = [frame for frame in frames[:ours] if frame[2] != "_listener"] or frames
    return [f'  File "{file}", line {line} in {name}' for file, line, name in shown]
