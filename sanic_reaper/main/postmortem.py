"""Finds out why a process has ended."""

from __future__ import annotations

from collections.abc import Callable

from .. import platform
from ..tree import causes, deaths
from .worker import SupervisedProcess


class Postmortem:
    """Finds out why processes have ended. One for each server.

    Args:
        hear: reads what the watchdog has sent by now.
    """

    def __init__(self, hear: Callable[[], None]) -> None:
        self._hear = hear
        self._oom_kills = platform.oom_kills()

    def of(self, process: SupervisedProcess) -> tuple[str, str]:
        """Why a process has ended: in the words of the log, and as one of `causes.DEATHS`."""
        assert process.exitcode is not None
        # The watchdog says whom it kills before it does; it may have done both since it was heard.
        self._hear()
        before, self._oom_kills = self._oom_kills, platform.oom_kills()
        more = None
        if before is not None and self._oom_kills is not None:
            more = self._oom_kills - before
        known = process.status, more
        words = deaths.cause(*known, process.killed_for)
        return words, causes.of_death(*known, process.kill_cause)
