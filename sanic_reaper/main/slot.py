"""One worker name: who has it now, who had it before, and when it is started again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sanic.worker.constants import ProcessState
from sanic.worker.process import WorkerProcess

from ..model.backoff import Respawns, Retries

if TYPE_CHECKING:
    from ..config import Settings
    from .processes import WatchedProcess


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

    Args:
        process: Sanic's object for this name. It stays the same for all workers of the name.
    """

    __slots__ = (
        "is_initial",
        "is_quarantined",
        "outgoing",
        "pending",
        "process",
        "respawns",
        "restart_at",
        "retries",
    )

    def __init__(self, process: WorkerProcess, settings: Settings) -> None:
        self.process = process
        self.outgoing: WatchedProcess | None = None
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
    def name(self) -> str:
        name: str = self.process.name
        return name

    @property
    def current(self) -> WatchedProcess:
        """The process that was started last, or is about to be started."""
        current: WatchedProcess = self.process._current_process
        return current

    @property
    def is_lost(self) -> bool:
        """Whether it has no worker, and gets none by itself."""
        return self.is_quarantined and self.restart_at is None

    def take_outgoing(self) -> WatchedProcess | None:
        """Let go of the outgoing worker, and return it."""
        outgoing, self.outgoing = self.outgoing, None
        return outgoing

    def publish(self, state: ProcessState, **more: Any) -> None:
        """Write what Sanic, its Inspector and the workers are to know of this slot."""
        self.process.set_state(state, force=True)
        shared = self.process.worker_state
        shared[self.name] = {**shared[self.name], **more}
