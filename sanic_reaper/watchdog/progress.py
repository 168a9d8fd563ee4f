"""The phase of a server and the deadlines of its stop, as the watchdog knows them.

Every moment is in monotonic seconds. The modules of the watch share one `Progress`.
"""

from __future__ import annotations

import time

NEVER = float("inf")

WATCHING = "watching"
"""The main process runs, and so do its workers."""
STOPPING = "stopping"
"""The main process stops: workers drain."""
FINISHING = "finishing"
"""The workers have exited: what they left behind is killed."""
FINISHED = "finished"
"""No process is left except the main process and its helpers."""
DRAINING = "draining"
"""The main process has died: workers drain."""
CLEARING = "clearing"
"""The main process and the workers have exited: every other process is killed."""
GONE = "gone"
"""No process is left, or there is nothing to watch any more: the watchdog exits."""

_MAIN_LIVES = (WATCHING, STOPPING, FINISHING, FINISHED)


class Progress:
    """The phase of a server, and its deadlines.

    Attributes:
        phase: one of the constants above.
        drain_by: when registered processes must have exited.
        deadline: when the main process must have exited. After its death: when every other process
            must have exited.
        is_forced: whether processes are killed without a grace period.
        is_over: whether the main process has stopped its server and has no deadline any more.
        is_orderly: whether the main process exited only after its server had stopped.
        began: when the `cause` happened. The log measures from then.
        cause: what the watchdog acts on now, in the words of the log: `the stop`.
    """

    __slots__ = (
        "began",
        "cause",
        "deadline",
        "drain_by",
        "is_forced",
        "is_orderly",
        "is_over",
        "phase",
    )

    def __init__(self) -> None:
        self.phase = WATCHING
        self.drain_by = NEVER
        self.deadline = NEVER
        self.is_forced = False
        self.is_over = False
        self.is_orderly = False
        self.begin("the start")

    @property
    def main_lives(self) -> bool:
        """Whether the main process is known to run."""
        return self.phase in _MAIN_LIVES

    def begin(self, cause: str) -> None:
        """Have the log measure from now on, and name this cause.

        Args:
            cause: what happens now, in the words of the log: `the stop`.
        """
        self.began, self.cause = time.monotonic(), cause
