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
    """Why a worker is replaced. Users' hooks receive it once the replacement serves."""

    event: str
    """Name of the event: `worker.replaced` or `worker.recycled`."""
    words: str
    """The reason, in the words of the log."""
    cause: str
    """The cause, one of `tree.causes.RESTARTS`."""


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
        """The worker that was started last. `None`: the system has refused to start one."""
        self.outgoing: Worker | None = None
        """The worker that serves until its replacement is ready. `None`: nothing is replaced."""
        self.restart_at: float | None = None
        """Monotonic time of the next start. `None`: the slot waits for none."""
        self.retries = Retries(settings.startup_retries)
        self.respawns = Respawns(settings.respawn_limit, settings.respawn_window)
        self.pending: Reason | None = None
        """The reason that hooks receive once the current worker is ready. `None`: there is none."""
        self.is_initial = False
        """Whether the current worker is one of the first, and has never been ready.

        If its start fails, the start of the server fails. An ack does not change that, because
        background work begins after the ack."""
        self.is_quarantined = False
        """Whether the slot stays without a worker: it is in a crash loop, or respawning is off."""

    @property
    def is_lost(self) -> bool:
        """Whether the slot has no worker, and gets none by itself."""
        return self.is_quarantined and self.restart_at is None

    @property
    def is_settled(self) -> bool:
        """Whether the worker is ready, and none is being replaced or awaited."""
        is_alone = self.restart_at is None and self.outgoing is None
        return is_alone and self.current is not None and self.current.is_ready

    def who_serves(self, now: float) -> Worker | None:
        """The worker of the slot that serves. `None`: none does.

        Args:
            now: monotonic time.
        """
        candidates = self.current, self.outgoing
        return next((one for one in candidates if one is not None and one.serves(now)), None)

    def take_outgoing(self) -> Worker | None:
        """Remove the outgoing worker from the slot, and return it."""
        outgoing, self.outgoing = self.outgoing, None
        return outgoing

    def publish(self, state: ProcessState, **more: Any) -> None:
        """Write the state of the slot where Sanic, its Inspector and the workers read it.

        Args:
            state: the state, in Sanic's terms.
            more: further keys of Sanic's `worker_state`.
        """
        self.process.set_state(state, force=True)
        shared = self.process.worker_state
        shared[self.name] = {**shared[self.name], **more}
