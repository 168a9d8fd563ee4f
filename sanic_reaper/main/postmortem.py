"""Finds out why a process has died."""

from __future__ import annotations

from collections.abc import Callable

from .. import platform
from ..tree import causes, deaths
from .worker import SupervisedProcess


class Postmortem:
    """Finds out why processes have died. A server has one.

    Args:
        receive: reads the messages of the watchdog that have arrived.
    """

    def __init__(self, receive: Callable[[], None]) -> None:
        self._receive = receive
        self._oom_kills = platform.oom_kills()

    def of(self, process: SupervisedProcess) -> tuple[str, str]:
        """Why a process has died: in the words of the log, and as one of `causes.DEATHS`."""
        assert process.exitcode is not None
        # The watchdog reports a kill before it kills. Both may have happened since main last read.
        self._receive()
        before, self._oom_kills = self._oom_kills, platform.oom_kills()
        more = None
        if before is not None and self._oom_kills is not None:
            more = self._oom_kills - before
        known = process.status, more
        words = deaths.cause(*known, process.killed_for)
        return words, causes.of_death(*known, process.kill_cause)
