"""One step of a worker's start, as the worker reports it: a start handler, or background work."""

from __future__ import annotations

from ..worker.handlers import Place

HANDLER_GRACE = 1.0
"""Seconds from the limit of a start handler to the kill of its worker, where StartupTimeout had no
effect in the worker."""

BACKGROUND_GRACE = 2.0
"""Seconds from the limit of background work to the kill of its worker. The worker itself gives a
coroutine one of them to end, and then reports that it has failed: main must not be quicker."""


class StartStep:
    """A start handler that runs, or background work.

    Args:
        place: the function, with its file and line.
        limit: seconds that the step may take. 0: no limit.
        source: the setting or the decorator that has set the limit.
        thread: the `ident` of the thread that background work has for itself, else 0.
        event: the event of a handler, such as `before_server_start`. "" for background work.
        began: monotonic time at which the step began.

    Attributes:
        ended: monotonic time at which the step ended. `None`: it still runs.
        has_failed: whether the step raised an exception.
        is_background: whether the step is background work, which is expected to take long.
        is_reported: whether the step was reported as slow.
    """

    def __init__(
        self, place: Place, limit: float, source: str, thread: int, event: str, began: float
    ) -> None:
        self.place, self.limit, self.source = place, limit, source
        self.thread, self.event, self.is_background = thread, event, not event
        self.began = began
        self.ended: float | None = None
        self.has_failed = False
        self.is_reported = False

    @property
    def kill_at(self) -> float:
        """Monotonic time at which the worker is killed because of this step. 0: never."""
        grace = BACKGROUND_GRACE if self.is_background else HANDLER_GRACE
        return self.began + self.limit + grace if self.limit else 0.0

    def exceeds_its_limit(self, now: float) -> bool:
        """Whether the step has taken longer than its limit.

        Args:
            now: monotonic time.
        """
        return bool(self.limit) and now >= self.began + self.limit
