"""Main's view of one worker's start: which handler runs, since when, and where it sits."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from ..config import Settings
from ..log import log
from ..worker.explanations import ADVICE, AWAITING, BESIDE, BLOCKING, Frame, is_ours, report
from ..worker.handlers import Place
from .contact import Contact
from .reader import frames_of, other_threads

LINGER = 1.0
"""Seconds that a worker whose start has failed may take to end. It might wait for a child."""

HARD = 1.0
"""Seconds between a handler's own limit and its end from outside, where the limit had no effect."""

HARD_BESIDE = 2.0
"""The same for background work. The worker itself gives a coroutine one of them to end, and then
says that it has failed: main must not be quicker."""


NOTED = 50
"""Handlers whose times are kept. Nobody reads a list of more."""


class Step:
    """A handler that runs now, or background work, as the worker has told of it.

    Args:
        limit: seconds that it may take. 0: no limit.
        source: who has set the limit.
        thread: for background work in a thread of its own, that thread's `ident`; else 0.
        is_beside: whether it is background work: it is meant to take long, so nobody warns of it.
    """

    def __init__(
        self, place: Place, limit: float, source: str, thread: int, is_beside: bool
    ) -> None:
        self.place, self.limit, self.source = place, limit, source
        self.thread, self.is_beside = thread, is_beside
        self.began = time.monotonic()
        self.ended: float | None = None
        self.has_failed = False
        self.is_told = False

    @property
    def by(self) -> float:
        """When it is ended from outside, on the monotonic clock. 0: never."""
        hard = HARD_BESIDE if self.is_beside else HARD
        return self.began + self.limit + hard if self.limit else 0.0

    def is_over_its_limit(self, now: float) -> bool:
        return bool(self.limit) and now >= self.began + self.limit


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
        self.is_open = False
        """Whether it answers requests, though it has more to do."""
        self.ready_since: float | None = None
        """Since when main has acted on that."""
        self.imported: float | None = None
        """When it had imported the app, or was forked,"""
        self.ready: float | None = None
        """and when it said that it is ready."""
        self.done: list[Step] = []
        """What of its start has ended."""
        self._title = title
        self._contact = contact
        self._settings = settings
        self._on_due = on_due
        self._on_slow = on_slow
        self._ready_by = began + settings.startup_timeout if settings.startup_timeout else 0.0
        self._steps: dict[int, Step] = {}
        """What runs now, by the number that the worker has given it. Several at once, where it has
        several apps, or background work."""
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
        """When it is to be ended if nothing changes, on the monotonic clock. 0: never."""
        deadlines = [step.by for step in self._steps.values() if step.by]
        if self._ready_by and not self.has_acked:
            deadlines.append(self._ready_by)
        return min(deadlines, default=0.0)

    @property
    def doing(self) -> Step | None:
        """What has been running for longest."""
        return next(iter(self._steps.values()), None)

    @property
    def running(self) -> list[Step]:
        return list(self._steps.values())

    # -- hearing it -------------------------------------------------------------------------------

    def turn(self) -> None:
        """See whether something is to be said."""
        slow, now = self._settings.slow_handler, time.monotonic()
        if not slow:
            return
        for number, step in self._steps.items():
            if not step.is_told and not step.is_beside and now - step.began >= slow:
                step.is_told = True
                self._contact.ask(partial(self._warn, number))
                return  # one question at a time

    def _heed(self, word: str, rest: list[Any]) -> None:
        if word in ("begin", "work"):
            number, name, file, line, limit, source, thread = rest
            place = Place(name, file, line)
            self._steps[number] = Step(place, limit, source, thread, word == "work")
            self._on_due()
        elif word == "end":
            self._note_end(self._steps.pop(rest[0], None), has_failed=any(rest[1:]))
            self._on_due()
        elif word == "failed":
            self.fail(rest[0])
            for step in self._steps.values():
                self._note_end(step, has_failed=True)
            self._steps.clear()  # what is known need not be found out once more
            self._on_due()
        elif word == "ready":
            self.is_ready, self.ready = True, time.monotonic()
        elif word == "open":
            self.is_open = True
        elif word == "hello":
            self.imported = time.monotonic()

    def _note_end(self, step: Step | None, has_failed: bool) -> None:
        if step is not None and len(self.done) < NOTED:
            step.ended, step.has_failed = time.monotonic(), has_failed
            self.done.append(step)

    # -- what is said of it -----------------------------------------------------------------------

    def _warn(self, number: int, frames: list[Frame], how: str) -> None:
        step = self._steps.get(number)
        if step is None:
            return
        seconds = time.monotonic() - step.began
        what = f"{self._title} is slow to start: {step.place.name} still runs"
        text = report(what, step.place, seconds, how, frames, ADVICE)
        text = "\n".join([text, *stack_of(frames)])
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
        steps = list(self._steps.values())
        step = next((step for step in steps if step.is_over_its_limit(now)), None)
        if step is not None and step.is_beside:
            text = self._overdue_beside(step, frames, how)
        elif step is not None:
            what = (
                f"its before_server_start handler {step.place.name} took longer than "
                f"{step.limit:g} s, and StartupTimeout did not end it"
            )
            remedy = f"a larger limit ({step.source}); or {ADVICE}"
            text = report(what, step.place, now - step.began, how, frames, remedy)
        else:
            what = f"it has not started within {self._limit_of_all}"
            remedy = f"a larger limit ({self._limit_of_all}); or {ADVICE}"
            place, began = (steps[0].place, steps[0].began) if steps else (None, now)
            text = report(what, place, now - began, how, frames, remedy)
        return whole(text, frames, self._contact.stack)

    def _overdue_beside(self, step: Step, frames: list[Frame], how: str) -> str:
        what = (
            f"its background work {step.place.name} took longer than {step.limit:g} s, "
            f"and could not be ended from inside"
        )
        own = frames_of(self._contact.stack, step.thread) if step.thread else []
        if own:  # the main thread blocks nothing: it waits for the GIL, or for requests
            how = BESIDE + how.removeprefix(BLOCKING).removeprefix(AWAITING)
        seconds, remedy = time.monotonic() - step.began, f"a larger limit ({step.source})"
        return report(what, step.place, seconds, how, own or frames, remedy)


def whole(text: str, frames: list[Frame], stack: str) -> str:
    """A report of a worker that is about to be killed, and all of its threads."""
    return "\n".join([text, *stack_of(frames), *other_threads(stack)])


def stack_of(frames: list[Frame]) -> list[str]:
    """Down to where we called the handler: how Sanic came to call us is no news."""
    ours = next((at for at, frame in enumerate(frames) if is_ours(frame[0])), len(frames))
    shown = [frame for frame in frames[:ours] if frame[2] != "_listener"] or frames
    return [f'  File "{file}", line {line} in {name}' for file, line, name in shown]
