"""Main's view of one worker's start: which handler runs, since when, and where it sits."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from .config import Settings
from .contact import Contact
from .explanations import ADVICE, Frame, is_ours, report
from .handlers import Place
from .log import log
from .reader import other_threads

LINGER = 1.0
"""Seconds that a worker whose start has failed may take to end. It might wait for a child."""

HARD = 1.0
"""Seconds between a handler's own limit and its end from outside, where the limit had no effect."""


class Launch:
    """One worker's start, from what the worker reports of it.

    Args:
        title: what the log calls the worker.
        contact: main's line to it.
        settings: of the server.
        began: when it was started, on the monotonic clock.
        on_due: called when `due` has changed.
        on_slow: called when a handler has been reported as slow, with the words of the report.
    """

    def __init__(
        self,
        title: str,
        contact: Contact,
        settings: Settings,
        began: float,
        on_due: Callable[[], None],
        on_slow: Callable[[str], None],
    ) -> None:
        self.began = began
        self.failure: str | None = None
        """Why the worker can't start, in its own words."""
        self.is_given_up = False
        """Whether its failure has been reported, and nothing more is to be done about it."""
        self.has_expired = False
        self.has_acked = False
        self.is_ready = False
        """Whether it serves and has nothing more to do first."""
        self.ready_since: float | None = None
        """Since when main knows that."""
        self._title = title
        self._contact = contact
        self._settings = settings
        self._on_due = on_due
        self._on_slow = on_slow
        self._ready_by = began + settings.startup_timeout if settings.startup_timeout else 0.0
        self._handler_by = 0.0
        self._place: Place | None = None
        self._handler_began = 0.0
        self._limit = 0.0
        self._source = ""
        self._is_told = False
        self._failed_at = 0.0
        contact.listeners.append(self._heed)

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
        """See whether something is to be said."""
        slow = self._settings.slow_handler
        if self._place is None or self._is_told or not slow:
            return
        if time.monotonic() - self._handler_began >= slow:
            self._is_told = True
            self._contact.ask(self._warn)

    def _heed(self, word: str, rest: list[Any]) -> None:
        if word == "begin":
            self._begin(Place(*rest[:3]), rest[3], rest[4])
        elif word == "end":
            self._place = None
            self._handler_by = 0.0
            self._on_due()
        elif word == "failed":
            self.fail(rest[0])
        elif word == "ready":
            self.is_ready = True

    def _begin(self, place: Place, limit: float, source: str) -> None:
        self._place, self._limit, self._source = place, limit, source
        self._handler_began = time.monotonic()
        self._is_told = False
        self._handler_by = self._handler_began + limit + HARD if limit else 0.0
        self._on_due()

    # -- what is said of it -----------------------------------------------------------------------

    def _warn(self, frames: list[Frame], how: str) -> None:
        if self._place is not None:
            seconds = time.monotonic() - self._handler_began
            what = f"{self._title} is slow to start: {self._place.name} still runs"
            text = report(what, self._place, seconds, how, frames, ADVICE)
            log.warning("%s", text)
            self._on_slow(text)

    @property
    def late(self) -> str:
        """Why it is killed where it can't be asked: its stack stands on stderr."""
        where = "" if self._contact.can_be_asked else ", and has not even imported the app"
        return f"it has not started within {self._limit_of_all}{where}; its stack is above"

    @property
    def _limit_of_all(self) -> str:
        return f"REAPER_STARTUP_TIMEOUT = {self._settings.startup_timeout or 0:g} s"

    def overdue(self, frames: list[Frame], how: str) -> str:
        """Why it is killed now, and its whole stack."""
        now = time.monotonic()
        by_handler = (
            self._place is not None and self._limit and now >= self._handler_began + self._limit
        )
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
        text = report(what, self._place, now - self._handler_began, how, frames, remedy)
        return whole(text, frames, self._contact.stack)


def whole(text: str, frames: list[Frame], stack: str) -> str:
    """A report of a worker that is about to be killed, and all of its threads."""
    return "\n".join([text, *_stack_of(frames), *other_threads(stack)])


def _stack_of(frames: list[Frame]) -> list[str]:
    """Down to where we called the handler: how Sanic came to call us is no news."""
    ours = next((at for at, frame in enumerate(frames) if is_ours(frame[0])), len(frames))
    shown = [frame for frame in frames[:ours] if frame[2] != "_listener"] or frames
    return [f'  File "{file}", line {line} in {name}' for file, line, name in shown]
