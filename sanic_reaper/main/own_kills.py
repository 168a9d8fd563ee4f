"""Makes the kills of the main process itself, and counts who was killed in a stop."""

from __future__ import annotations

import signal
from collections.abc import Callable

from ..log import LEVELS, log
from ..model import kills
from ..platform.base import Identity
from ..protocol import watchdog as wire
from ..tree.process import send_to
from . import log_format
from .journal import Journal
from .stop import Stop
from .worker import SupervisedProcess


class OwnKills:
    """The kills of the main process, and the counts for the last line of the log.

    Args:
        send: sends a message to the watchdog.
        journal: writes the state file.
        stop: the server's stop, which must have begun.

    Attributes:
        by_us: role of each process that main or the watchdog has killed in the stop.
        by_others: role of each process that somebody else has killed in the stop.
    """

    def __init__(self, send: Callable[..., None], journal: Journal, stop: Stop) -> None:
        self._stop = stop
        self.by_us: list[str] = []
        self.by_others: list[str] = []
        self._send = send
        self._journal = journal
        self._targets: set[Identity] = set()

    def kill(
        self,
        identity: Identity,
        role: str,
        name: str,
        why: str,
        level: str = "WARNING",
        cause: str = "",
    ) -> bool:
        """Kill a process. If main runs as another user by now, the watchdog does it.

        Args:
            identity: pid and creation time of the process.
            role, name: what the log calls it.
            why: why it is killed, in the words of the log.
            level: level of the line in the log.
            cause: one of `kills.KILLS`. "": none of them.

        Returns:
            Whether the process was still alive.
        """
        try:
            was_sent = send_to(identity, signal.SIGKILL)
        except PermissionError:
            self._targets.add(identity)
            self._send(wire.KILL_OTHER, *identity, name, why)
            return True
        if was_sent:
            self._targets.add(identity)
            self._report(role, name, identity[0], why, level, cause)
        return was_sent

    def _report(self, role: str, name: str, pid: int, why: str, level: str, cause: str) -> None:
        """Log the kill in the same words as the watchdog."""
        evidence, seconds = kills.STARTED_BY_MAIN, self._stop.seconds
        facts = signal.SIGKILL, role, name, pid, evidence, why, seconds, "the stop"
        fields = kills.fields(*facts, cause)
        log.log(LEVELS[level], "%s", kills.sentence(*facts), extra=log_format.extra(fields))
        self._journal.killed_by_main(pid, why)

    def count(self, process: SupervisedProcess) -> None:
        """Count a process that has exited in the stop, if SIGKILL was the cause.

        A death from before the stop, which main may handle only now, is not counted: the log has
        reported it.
        """
        if process.died_of_sigkill and not process.death_is_reported:
            is_ours = process.killed_for is not None or process.identity in self._targets
            (self.by_us if is_ours else self.by_others).append(process.role)
