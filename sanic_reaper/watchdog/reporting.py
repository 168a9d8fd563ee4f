"""What the watch tells, and whom: the main process, or standard error and the run's files.

Guarantees: a line for the log is not lost when the main process dies before it has read the line.
"""

from __future__ import annotations

import time

from .. import state
from ..model.kills import sentence
from ..protocol import watchdog as wire
from ..state import statedir
from .progress import FINISHED, STOPPING, WATCHING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Set
    from typing import Any

    from ..platform.base import Identity
    from ..protocol.channel import Channel
    from .progress import Progress


class Reporter:
    """Sends lines and events to the main process, or writes them down itself.

    Args:
        run: the id of the run.
        channel: the channel to the main process.
        log: takes a line that the main process can't log any more: its level, its text.
        progress: says whether the main process lives.

    Attributes:
        directory: where the run's files are. Empty: nowhere.
    """

    def __init__(
        self, run: str, channel: Channel, log: Callable[[str, str], None], progress: Progress
    ) -> None:
        self.directory = ""
        self._run = run
        self._channel = channel
        self._log = log
        self._progress = progress
        self._unseen: list[tuple[Any, ...]] = []
        self._descendants: set[Identity] = set()
        self._descendants_file: tuple[int, int] | None = None

    # -- lines for the log ------------------------------------------------------------------------

    def line(self, level: str, text: str) -> None:
        """A line for the log, through the main process's own while that lives: it knows the user's
        format and place."""
        self._report(wire.LOG, level, text)

    def signal(
        self,
        level: str,
        signum: int,
        who: tuple[str, str, int],
        evidence: str,
        why: str = "",
        since: tuple[float, str] | None = None,
    ) -> None:
        """A signal that was sent, or refused: its fields, which are worded where they are logged.

        Args:
            who: role, name and pid.
            evidence, why: as `kills.sentence` has them.
            since: a moment and its cause, to measure from while the server goes on.
        """
        progress = self._progress
        if since is None or progress.phase != WATCHING:
            since = (progress.began, progress.cause)
        seconds = time.monotonic() - since[0]
        self._report(wire.SIGNALLED, level, signum, *who, evidence, why, seconds, since[1])

    def _report(self, *message: Any) -> None:
        if self._progress.main_lives:
            self._channel.send(*message)
            # Main has it, or will have it when it has read what came before.
            if self._channel.open:
                self._unseen.append(message)
                return
        self._write(message, is_told=True)

    def _write(self, message: tuple[Any, ...], is_told: bool) -> None:
        word, level, *fields = message
        text = fields[0] if word == wire.LOG else sentence(*fields)
        self._log(level, text)
        if is_told:
            self.event("log", level=level, text=text)

    def confirm(self, lines: int) -> None:
        """The main process has read so many lines, the oldest first."""
        del self._unseen[:lines]

    def confirm_all(self) -> None:
        """Whoever is told logs each line at once."""
        self._unseen.clear()

    def write_unseen(self) -> None:
        """The main process is gone: write what it may not have read."""
        unseen, self._unseen = self._unseen, []
        for message in unseen:
            self._write(message, is_told=self._progress.phase != FINISHED)

    # -- events -----------------------------------------------------------------------------------

    def killed(self, identity: Identity, name: str, cause: str, evidence: str) -> None:
        """Report a process that is killed: the main process tells its user's hooks.

        Args:
            cause: one of `kills.KILLS`. "": the process is a leftover.
            evidence: why the process belongs to the server.
        """
        if self._progress.main_lives:
            self._channel.send(wire.KILLED, *identity, name, cause, evidence)

    def leftover_killed(self, identity: Identity, name: str, evidence: str) -> None:
        """Report a leftover that is killed."""
        self.killed(identity, name, "", evidence)

    def event(self, kind: str, **fields: object) -> None:
        """Write an event to the run's files, for `report`: what happened after the main process."""
        if self.directory:
            record = state.line(kind, time=time.monotonic(), **fields)
            try:
                statedir.append(self.directory, self._run + state.END, state.encode(record))
            except OSError:
                pass

    def write_descendants(self, known: Set[Identity], preexisting: Set[Identity]) -> None:
        """Write down which processes are the server's, for a later start or a sweep that finds
        neither the main process nor the watchdog. A process that was forked without exec, and whose
        parent is gone too, is known by nothing else.

        Args:
            preexisting: those of them that descend from children which the main process had before.
        """
        found, name = set(known), self._run + state.KIN
        if self._progress.phase in (STOPPING, FINISHED):
            found -= preexisting  # no later start may kill what is the script's own
        if not self.directory or not (found or self._descendants):
            return
        # Somebody may have removed the file.
        is_there = self._descendants_file == statedir.file_id(self.directory, name)
        if found != self._descendants or not is_there:
            lines = [state.line("kin", pid=pid, start=start) for pid, start in sorted(found)]
            try:
                content = state.encode("".join(lines))
                self._descendants_file = statedir.write(self.directory, name, content)
                self._descendants = found
            except OSError:
                pass  # the main process logs it
