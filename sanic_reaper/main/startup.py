"""The start of one worker, from what the worker reports: which handler runs, since when, and by
when the handler and the start as a whole must be over.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from ..compat import contracts
from ..config import Settings
from ..log import log
from ..model.stacks import frames_of, other_threads
from ..protocol import worker as words
from ..worker.explanations import (
    AWAITING,
    BESIDE,
    BLOCKING,
    EXITED,
    Frame,
    advice,
    is_ours,
    report,
)
from ..worker.handlers import Place
from .slow import SlowHandlers
from .worker_link import WorkerLink

EXIT_GRACE = 1.0
"""Seconds that a worker whose start has failed may take to exit. It might wait for a child."""

HARD = 1.0
"""Seconds between a handler's own limit and its end from outside, where the limit had no effect."""

HARD_BESIDE = 2.0
"""The same for background work. The worker itself gives a coroutine one of them to end, and then
says that it has failed: main must not be quicker."""

MAX_KEPT_STEPS = 50
"""How many handlers' times are kept. Nobody reads a list of more."""


class Step:
    """A handler that runs now, or background work, as the worker has told of it.

    Args:
        limit: seconds that it may take. 0: no limit.
        source: who has set the limit.
        thread: for background work in a thread of its own, that thread's `ident`; else 0.
        event: of a handler: whose it is. "" for background work.
        began: when, on the monotonic clock.

    Attributes:
        is_beside: whether it is background work: it is meant to take long, so nobody warns of it.
    """

    def __init__(
        self, place: Place, limit: float, source: str, thread: int, event: str, began: float
    ) -> None:
        self.place, self.limit, self.source = place, limit, source
        self.thread, self.event, self.is_beside = thread, event, not event
        self.began = began
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


class StartupTracker:
    """The start of one worker, from what the worker reports of it.

    Args:
        title: what the log calls the worker.
        link: main's end of the worker's pipe.
        settings: of the server.
        began: when it was started, on the monotonic clock.
        on_slow: called when a handler is slow, with the words of the report.
        others: the slow handlers of all workers: where one is shown, another is only counted.
    """

    def __init__(
        self,
        title: str,
        link: WorkerLink,
        settings: Settings,
        began: float,
        on_slow: Callable[[str], None],
        others: SlowHandlers,
    ) -> None:
        self.began = began
        self.failure: str | None = None
        """Why the worker can't start, in its own words."""
        self.has_expired = False
        """Whether a deadline has passed, and the worker's stack is awaited."""
        self.has_acked = False
        """Whether Sanic has had its ack: the `before_server_start` handlers are through."""
        self.imported: float | None = None
        """Monotonic time at which the app was imported, by the worker's own word."""
        self.listens: float | None = None
        """Monotonic time at which the worker listened: `after_server_start` handlers began."""
        self.up: float | None = None
        """Monotonic time at which the `after_server_start` handlers were through."""
        self.ready: float | None = None
        """Monotonic time at which nothing of the start was left to do, background work included."""
        self.done: list[Step] = []
        """The handlers that have ended."""
        self._title = title
        self._link = link
        self._settings = settings
        self._on_slow = on_slow
        self._others = others
        self._ready_by = began + settings.startup_timeout if settings.startup_timeout else 0.0
        self.deadline = self._ready_by
        """Monotonic time at which the worker is killed if nothing changes before. 0: never."""
        self._steps: dict[int, Step] = {}
        """What runs now, by the number that the worker has given it. Several at once, where it has
        several apps, or background work."""
        self._culprit: Step | None = None
        """What has exceeded a limit of its own, once the start has expired."""
        self._failed_at = 0.0
        link.listen(
            {
                words.BEGIN: self._on_begin,
                words.WORK: self._on_begin,
                words.END: self._on_end,
                words.FAILED: self._on_failed,
                words.IMPORTED: self._on_imported,
                words.LACKS: self._on_lacks,
                words.LISTENS: self._on_listens,
                words.UP: self._on_up,
                words.READY: self._on_ready,
            }
        )

    def fail(self, why: str) -> None:
        self.failure, self._failed_at = why, time.monotonic()

    def expire(self) -> None:
        """Its time is up: note whose limit it was, before what has exceeded it ends by itself."""
        now = time.monotonic()
        self.has_expired = True
        steps = self._steps.values()
        self._culprit = next((step for step in steps if step.is_over_its_limit(now)), None)

    @property
    def is_unfinished(self) -> bool:
        """Whether the worker listens, and its `after_server_start` handlers are not through."""
        return self.up is None and (self.has_acked or self.listens is not None)

    @property
    def lingers(self) -> bool:
        """Whether the worker should have exited by now, of a failure that it has told."""
        return self.failure is not None and time.monotonic() - self._failed_at >= EXIT_GRACE

    @property
    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        return 0.0 < self.deadline <= time.monotonic()

    def _find_deadline(self) -> None:
        deadlines = [step.by for step in self._steps.values() if step.by]
        if self._ready_by and self.up is None:
            deadlines.append(self._ready_by)
        self.deadline = min(deadlines, default=0.0)

    @property
    def doing(self) -> Step | None:
        """The handler that has been running for longest."""
        return next(iter(self._steps.values()), None)

    @property
    def running(self) -> list[Step]:
        return list(self._steps.values())

    # -- hearing it -------------------------------------------------------------------------------

    def turn(self, now: float) -> None:
        """Ask where the worker is if one of its handlers is slow.

        Args:
            now: on the monotonic clock.
        """
        slow = self._settings.slow_handler
        if not slow:
            return
        self._others.turn(now)
        for number, step in self._steps.items():
            if not step.is_told and not step.is_beside and now - step.began >= slow:
                step.is_told = True
                self._link.ask(partial(self._warn, number))
                return  # one question at a time

    def _on_begin(
        self,
        number: int,
        name: str,
        file: str,
        line: int,
        limit: float,
        source: str,
        thread: int,
        event: str,
        began: float,
    ) -> None:
        self._steps[number] = Step(Place(name, file, line), limit, source, thread, event, began)
        self._find_deadline()

    def _on_end(self, number: int, has_failed: int, ended: float) -> None:
        self._note_end(self._steps.pop(number, None), bool(has_failed), ended)
        self._find_deadline()

    def _on_failed(self, reason: str) -> None:
        self.fail(reason)
        for step in self._steps.values():
            self._note_end(step, True, time.monotonic())
        self._steps.clear()  # what is known need not be found out once more
        self._find_deadline()

    def _on_imported(self, imported: float) -> None:
        self.imported = imported

    def _on_lacks(self, contract: str) -> None:
        if (line := contracts.line_for_unused(contract)) is not None:
            log.error("%s", line)

    def _on_listens(self, listens: float) -> None:
        self.listens = listens

    def _on_up(self, up: float) -> None:
        self.up = up
        self._find_deadline()

    def _on_ready(self, ready: float) -> None:
        self.ready = ready

    def _note_end(self, step: Step | None, has_failed: bool, ended: float) -> None:
        if step is not None and len(self.done) < MAX_KEPT_STEPS:
            step.ended, step.has_failed = ended, has_failed
            self.done.append(step)

    # -- what is said of it -----------------------------------------------------------------------

    def _warn(self, number: int, frames: list[Frame], how: str) -> None:
        step = self._steps.get(number)
        if step is None or how == EXITED:
            return
        seconds = time.monotonic() - step.began
        what = f"{self._title} is slow to start: {step.place.name} still runs"
        text = report(what, step.place, seconds, how, frames, advice(step.event))
        text = "\n".join([text, *stack_of(frames)])
        if self._others.is_new(step.place, self._title, time.monotonic()):
            log.warning("%s", text)
        self._on_slow(text)

    @property
    def late(self) -> str:
        """Why it is killed where it can't be asked: its stack stands on stderr."""
        where = ", and has not even imported the app" if self._link.imports else ""
        return f"it has not started within {self._limit_of_all}{where}; its stack is above"

    @property
    def _limit_of_all(self) -> str:
        return f"REAPER_STARTUP_TIMEOUT = {self._settings.startup_timeout or 0:g} s"

    def overdue(self, frames: list[Frame], how: str) -> str:
        """Why it is killed now, and its whole stack."""
        now = time.monotonic()
        steps = list(self._steps.values())
        step = self._culprit
        if step is not None and step.is_beside:
            text = self._overdue_beside(step, frames, how)
        elif step is not None:
            what = (
                f"its {step.event} handler {step.place.name} took longer than "
                f"{step.limit:g} s, and StartupTimeout did not end it"
            )
            remedy = f"a larger limit ({step.source}); or {advice(step.event)}"
            text = report(what, step.place, now - step.began, how, frames, remedy)
        else:
            text = self._overdue_as_a_whole(steps[0] if steps else None, frames, how)
        return whole(text, frames, self._link.stack)

    def _overdue_as_a_whole(self, step: Step | None, frames: list[Frame], how: str) -> str:
        what = "it has not started"
        if self.is_unfinished:
            what = "it listens, but has not finished its start"
        what = f"{what} within {self._limit_of_all}"
        event = step.event if step is not None else ""
        remedy = f"a larger limit ({self._limit_of_all}); or {advice(event)}"
        now = time.monotonic()
        place, began = (step.place, step.began) if step is not None else (None, now)
        return report(what, place, now - began, how, frames, remedy)

    def _overdue_beside(self, step: Step, frames: list[Frame], how: str) -> str:
        what = (
            f"its background work {step.place.name} took longer than {step.limit:g} s, "
            f"and could not be ended from inside"
        )
        own = frames_of(self._link.stack, step.thread) if step.thread else []
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
