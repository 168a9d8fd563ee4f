"""One worker name: its current and its outgoing worker, and when the next one is started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sanic.worker.constants import ProcessState
from sanic.worker.process import WorkerProcess

from ..model.backoff import Respawns, Retries

if TYPE_CHECKING:
    from ..config import Settings
    from .worker import Worker


class Reason(NamedTuple):
    """Why a worker is replaced: what users' hooks are told once its successor serves."""

    event: str
    """`worker.replaced` or `worker.recycled`."""
    words: str
    """The words of the log."""
    cause: str
    """One of `causes.RESTARTS`."""


class Slot:
    """A worker name, such as `Sanic-Server-0-0`. Its workers come and go.

    Attributes:
        process: Sanic's object for this name. It stays the same for all workers of the name.
    """

    process: WorkerProcess
    __slots__ = (
        "current",
        "is_initial",
        "is_quarantined",
        "name",
        "outgoing",
        "pending",
        "process",
        "respawns",
        "restart_at",
        "retries",
    )

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.current: Worker | None = None
        """The worker that was started last. `None`: the system would not start one."""
        self.outgoing: Worker | None = None
        """The worker that serves until its successor does."""
        self.restart_at: float | None = None
        """Monotonic time of the next start, if the slot waits for one."""
        self.retries = Retries(settings.startup_retries)
        self.respawns = Respawns(settings.respawn_limit, settings.respawn_window)
        self.pending: Reason | None = None
        """What is to be told when the current worker serves."""
        self.is_initial = False
        """Whether this is one of the first workers, and has never been ready. An ack is not all:
        background work begins after it. Where such a worker fails, the server's start fails."""
        self.is_quarantined = False
        """Whether the failure of the current worker is reported, and nothing follows from it."""

    @property
    def is_lost(self) -> bool:
        """Whether it has no worker, and gets none by itself."""
        return self.is_quarantined and self.restart_at is None

    @property
    def is_settled(self) -> bool:
        """Whether its worker is ready, and none is to be replaced or awaited."""
        is_alone = self.restart_at is None and self.outgoing is None
        return is_alone and self.current is not None and self.current.is_ready

    def who_serves(self, now: float) -> Worker | None:
        """The worker that serves, if one does.

        Args:
            now: on the monotonic clock.
        """
        candidates = self.current, self.outgoing
        return next((one for one in candidates if one is not None and one.serves(now)), None)

    def take_outgoing(self) -> Worker | None:
        """Let go of the outgoing worker, and return it."""
        outgoing, self.outgoing = self.outgoing, None
        return outgoing

    def publish(self, state: ProcessState, **more: Any) -> None:
        """Write what Sanic, its Inspector and the workers are to know of this slot."""
        self.process.set_state(state, force=True)
        shared = self.process.worker_state
        shared[self.name] = {**shared[self.name], **more}
