"""Asks workers that stop for their requests in flight: the log says what a stop waits for, and
which requests were lost with a worker that had to be killed.

The watchdog kills, at a deadline that main knows too. So main asks each worker a moment before.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial

from ..log import log
from ..model.requests import InFlight, lost, waiting_for
from ..platform.base import Identity
from ..worker.explanations import EXITED
from .journal import Journal
from .stop import Stop
from .worker import SupervisedProcess, Worker

TELL_AFTER = 2.0
"""Seconds of a stop after which the log says what it waits for."""

RECENT = 5.0
"""Seconds for which an answer is good. Later, the requests that it names may be answered."""

ASK_BEFORE = 1.0
"""Seconds before a worker's deadline at which it is asked. Its answer takes `LATEST` at most."""


class LastRequests:
    """The requests of the workers that stop.

    Args:
        living: the living processes that main has started.
        stop: the server's stop.
        journal: keeps the lines for the report of the run.
    """

    def __init__(self, living: Iterable[SupervisedProcess], stop: Stop, journal: Journal) -> None:
        self._living = living
        self._stop = stop
        self._journal = journal
        self._asked: set[Identity] = set()
        """The workers that were asked before their deadline."""
        self._has_told = False
        self._unanswered: set[Identity] = set()
        self._answers: list[InFlight] = []

    def turn(self, now: float) -> None:
        """Ask the workers whose deadline is near, and all of them once when a stop takes long.

        Args:
            now: monotonic time.
        """
        for worker in self._workers():
            if now >= self._ask_at(worker) and worker.identity not in self._asked:
                self._asked.add(worker.identity)
                if _can_be_asked(worker):
                    worker.link.ask(_nothing)
        if self._stop.has_begun and not self._has_told and self._stop.seconds >= TELL_AFTER:
            self._has_told = True
            self._ask_all()

    def _workers(self) -> list[Worker]:
        return [one for one in self._living if isinstance(one, Worker)]

    def _ask_at(self, worker: Worker) -> float:
        """Monotonic time at which the worker is asked. With a short limit it is asked at once."""
        if self._stop.has_begun:
            worker.stop_by = min(worker.stop_by, self._stop.drain_by)
        return worker.stop_by - ASK_BEFORE

    def _ask_all(self) -> None:
        workers, now = self._workers(), time.monotonic()
        asked = [worker for worker in workers if _can_be_asked(worker)]
        self._unanswered = {worker.identity for worker in asked}
        self._answers = [_in_flight(worker, now) for worker in workers if worker not in asked]
        for worker in asked:
            worker.link.ask(partial(self._on_answer, worker))
        if not asked:
            self._tell()

    def _on_answer(self, worker: Worker, frames: object, how: str) -> None:
        self._unanswered.discard(worker.identity)
        if how != EXITED:
            self._answers.append(_in_flight(worker, time.monotonic()))
        if not self._unanswered:
            self._tell()

    def _tell(self) -> None:
        if words := waiting_for(self._answers):
            log.info("%s", words)

    def on_killed(self, worker: Worker) -> None:
        """Log the requests that are lost with a worker that is killed now."""
        from .request_words import waits  # here, for its size: it counts in forked workers too

        lines = lost(_in_flight(worker, time.monotonic()), waits)
        for line in lines:
            log.error("%s: %s", worker, line)
        self._journal.lost(worker.identity, lines)


def _can_be_asked(worker: Worker) -> bool:
    """Whether a worker has a signal for that, and is not stopped: it would continue."""
    return worker.link.can_be_asked and not worker.is_halted()


def _in_flight(worker: Worker, now: float) -> InFlight:
    """The requests of a worker by its latest answer. If that is old, only their number is known."""
    link, heartbeat = worker.link, worker.heartbeat
    if link.answered_at is not None and now - link.answered_at <= RECENT:
        return link.in_flight
    return InFlight(0 if heartbeat is None else heartbeat.in_flight)


def _nothing(*_: object) -> None:
    """The answer is kept by the worker's link."""
