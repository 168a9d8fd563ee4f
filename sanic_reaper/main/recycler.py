"""Decides which worker is recycled, and measures what each worker has used.

Guarantees that at most one worker is recycled at a time, and none while another one is missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter

from .. import platform
from .slot import Reason, Slot
from .worker import Worker

CHECK_EVERY = 1.0
"""Seconds between two checks of what the workers have used."""

PAUSE_AFTER_FAILURE = 30.0
"""Seconds for which no worker is recycled after a replacement that did not start."""


def _age(worker: Worker) -> float:
    return time.monotonic() - worker.began


def _requests(worker: Worker) -> float:
    return worker.heartbeat.requests if worker.heartbeat is not None else 0


def _memory(worker: Worker) -> float:
    return platform.resident(worker.pid)


MEASURES: Mapping[str, Callable[[Worker], float]] = {
    "lifetime": _age,
    "requests": _requests,
    "memory": _memory,
}
"""What a worker has used, by the cause of `model.recycling.WAYS` that limits it."""


class Recycler:
    """Picks the worker to recycle."""

    def __init__(self) -> None:
        self._next_check = 0.0
        self._draining: Worker | None = None
        """The worker that was replaced last. It may still finish its requests."""

    def on_replaced(self, outgoing: Worker) -> None:
        """Recycle no worker until this one has exited, which its replacement has made obsolete."""
        self._draining = outgoing

    def on_failure(self) -> None:
        """Recycle no worker for a while, because a replacement did not start."""
        self._next_check = time.monotonic() + PAUSE_AFTER_FAILURE

    def pick(self, slots: Iterable[Slot], all_serve: bool) -> tuple[Slot, Worker, Reason] | None:
        """The worker to recycle now, with its slot and the limit that it has reached.

        Args:
            all_serve: whether each worker serves. If not, no worker is recycled.
        """
        now = time.monotonic()
        if now < self._next_check:
            return None
        self._next_check = now + CHECK_EVERY
        if not all_serve or (self._draining is not None and self._draining.exitcode is None):
            return None
        # The oldest first: if even a fresh worker exceeds a limit, each worker has its turn.
        workers = [(slot.current.began, slot.current, slot) for slot in slots if slot.current]
        for _, worker, slot in sorted(workers, key=itemgetter(0)):
            if reason := _reason_to_recycle(worker):
                return slot, worker, reason
        return None


def _reason_to_recycle(worker: Worker) -> Reason | None:
    exceeded = worker.limits.exceeded(lambda cause: MEASURES[cause](worker))
    if exceeded is None:
        return None
    cause, words = exceeded
    return Reason("worker.recycled", words, cause)
