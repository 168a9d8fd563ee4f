"""How far the life of a server is, as the watchdog sees it: the phase, and the deadlines of a stop.

Every moment is monotonic, in seconds. The modules of the watch share one object of this kind.
"""

from __future__ import annotations

import time

NEVER = float("inf")

WATCHING = "watching"
"""The main process runs, and so do its workers."""
STOPPING = "stopping"
"""The main process stops: workers drain."""
FINISHING = "finishing"
"""The main process has done its part: what workers left behind is killed."""
FINISHED = "finished"
"""Nothing is left but the main process and its helpers."""
DRAINING = "draining"
"""The main process is gone: workers drain."""
CLEARING = "clearing"
"""The main process and the workers are gone: everything else is killed."""
GONE = "gone"
"""Nothing is left."""

_MAIN_LIVES = (WATCHING, STOPPING, FINISHING, FINISHED)


class Progress:
    """The phase of a server, and its deadlines.

    Attributes:
        phase: one of the constants above.
        drain_by: when registered processes must have exited.
        deadline: when the main process must have exited; after its death: everything else.
        is_forced: whether processes are killed without a grace period.
        is_over: whether the main process has stopped its server and has no deadline any more.
        is_orderly: whether the main process died only after all was done.
        began: when the cause of what is done now happened.
        cause: that cause, in the words of the log.
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
        """Measure from now on how long something took since `cause`."""
        self.began, self.cause = time.monotonic(), cause
