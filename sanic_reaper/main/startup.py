"""The start of one worker, from what the worker reports: which handler runs, since when, and by
when the handler and the start as a whole must be over.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from ..compat import contracts
from ..config import Settings
from ..log import log
from ..protocol import worker as words
from ..worker.explanations import EXITED, Frame
from ..worker.handlers import Place
from . import start_reports
from .fields import extra_of, note
from .slow import SlowHandlers
from .start_step import StartStep
from .worker_link import WorkerLink

if TYPE_CHECKING:
    from ..events import Event

EXIT_GRACE = 1.0
"""Seconds that a worker whose start has failed may take to exit. It may wait for a child."""

MAX_KEPT_STEPS = 50
"""Maximum number of steps that are kept for the report. A longer list would not be read."""


class StartupTracker:
    """The start of one worker, from what the worker reports of it.

    Args:
        title: what the log calls the worker.
        link: main's end of the worker's pipe.
        settings: of the server.
        began: monotonic time at which the worker was started.
        on_slow: called when a handler is slow, with the text of the report and the seconds for
            which the handler has run. Returns the event.
        others: the slow handlers of all workers, so that a handler that is slow in each worker is
            shown once.
    """

    def __init__(
        self,
        title: str,
        link: WorkerLink,
        settings: Settings,
        began: float,
        on_slow: Callable[[str, float], Event | None],
        others: SlowHandlers,
    ) -> None:
        self.began = began
        self.failure: str | None = None
        """Why the worker can't start, in the words that it has reported. `None`: it can."""
        self.has_expired = False
        """Whether a deadline of the start has passed, so that the worker will be killed."""
        self.has_acked = False
        """Whether Sanic has received the worker's ack, after the `before_server_start` handlers."""
        self.imported: float | None = None
        """Monotonic time at which the import of the app ended, as the worker reports it."""
        self.listens: float | None = None
        """Monotonic time at which the worker listened, before its `after_server_start` handlers."""
        self.up: float | None = None
        """Monotonic time at which the `after_server_start` handlers had all returned."""
        self.ready: float | None = None
        """Monotonic time at which the start was complete, background work included."""
        self.done: list[StartStep] = []
        """The steps that have ended, at most `MAX_KEPT_STEPS`."""
        self._title, self._link, self._settings = title, link, settings
        self._on_slow, self._others = on_slow, others
        self._ready_by = began + settings.startup_timeout if settings.startup_timeout else 0.0
        self.deadline = self._ready_by
        """Monotonic time at which the worker is killed unless it gets on before. 0: never."""
        self._steps: dict[int, StartStep] = {}
        """The steps that run now, by the worker's number for each.

        Several steps run at once if the worker has several apps, or background work."""
        self._culprit: StartStep | None = None
        """The step that had exceeded its own limit when the start expired."""
        self._failed_at = 0.0
        link.listen(self._handlers())

    def _handlers(self) -> dict[str, Callable[..., None]]:
        """What is called with the fields of a report, by its word."""
        return {
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

    def fail(self, why: str) -> None:
        """Note that the start has failed.

        Args:
            why: the reason, in the words of the log.
        """
        self.failure, self._failed_at = why, time.monotonic()

    def expire(self) -> None:
        """Note that a deadline has passed, and the step that is to blame, while it still runs."""
        now = time.monotonic()
        self.has_expired = True
        steps = self._steps.values()
        self._culprit = next((step for step in steps if step.exceeds_its_limit(now)), None)

    @property
    def is_unfinished(self) -> bool:
        """Whether the worker listens while its `after_server_start` handlers still run."""
        return self.up is None and (self.has_acked or self.listens is not None)

    @property
    def lingers(self) -> bool:
        """Whether the worker has reported a failure, and has not exited within `EXIT_GRACE`."""
        return self.failure is not None and time.monotonic() - self._failed_at >= EXIT_GRACE

    @property
    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        return 0.0 < self.deadline <= time.monotonic()

    def _find_deadline(self) -> None:
        deadlines = [step.kill_at for step in self._steps.values() if step.kill_at]
        if self._ready_by and self.up is None:
            deadlines.append(self._ready_by)
        self.deadline = min(deadlines, default=0.0)

    @property
    def doing(self) -> StartStep | None:
        """The step that has been running for longest."""
        return next(iter(self._steps.values()), None)

    @property
    def running(self) -> list[StartStep]:
        """The steps that run now, in the order in which they began."""
        return list(self._steps.values())

    # -- what the worker reports ------------------------------------------------------------------

    def turn(self, now: float) -> None:
        """Ask the worker for its stack if one of its handlers is slow.

        Args:
            now: monotonic time.
        """
        slow = self._settings.slow_handler
        if not slow:
            return
        self._others.turn(now)
        for number, step in self._steps.items():
            if not step.is_reported and not step.is_background and now - step.began >= slow:
                step.is_reported = True
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
        self._steps[number] = StartStep(
            Place(name, file, line), limit, source, thread, event, began
        )
        self._find_deadline()

    def _on_end(self, number: int, has_failed: int, ended: float) -> None:
        self._note_end(self._steps.pop(number, None), bool(has_failed), ended)
        self._find_deadline()

    def _on_failed(self, reason: str) -> None:
        self.fail(reason)
        for step in self._steps.values():
            self._note_end(step, True, time.monotonic())
        self._steps.clear()  # the failure is known: no step needs a report of its own
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

    def _note_end(self, step: StartStep | None, has_failed: bool, ended: float) -> None:
        if step is not None and len(self.done) < MAX_KEPT_STEPS:
            step.ended, step.has_failed = ended, has_failed
            self.done.append(step)

    # -- what the log says of it ------------------------------------------------------------------

    def _warn(self, number: int, frames: list[Frame], how: str) -> None:
        step = self._steps.get(number)
        if step is None or how == EXITED:
            return
        text = start_reports.slow(self._title, step, frames, how)
        now = time.monotonic()
        event = self._on_slow(text, now - step.began)
        if self._others.is_new(step.place, self._title, now):
            log.warning("%s", text, extra=extra_of(event))
        else:
            note(event)

    @property
    def late(self) -> str:
        """Why the worker is killed where it can't be asked for its stack."""
        return start_reports.late_unasked(self._settings.startup_timeout, self._link.imports)

    def overdue(self, frames: list[Frame], how: str) -> str:
        """Why the worker is killed now, and the stacks of all its threads."""
        step, stack = self._culprit, self._link.stack
        if step is None:
            limit, listens = self._settings.startup_timeout, self.is_unfinished
            text = start_reports.start_overdue(self.doing, limit, listens, frames, how)
        elif step.is_background:
            text = start_reports.work_overdue(step, frames, how, stack)
        else:
            text = start_reports.handler_overdue(step, frames, how)
        return start_reports.with_threads(text, frames, stack)
