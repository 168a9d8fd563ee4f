"""Reports of the watch: to the main process or, after its death, to standard error and files.

Guarantees that a line for the log is not lost if the main process dies before it has read the line.
"""

from __future__ import annotations

import time

from .. import state
from ..model import kills
from ..protocol import watchdog as wire
from ..state import statedir
from .progress import FINISHED, STOPPING, WATCHING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Set
    from typing import Any

    from ..platform.base import Identity
    from ..protocol.channel import Channel
    from .progress import Progress

NO_FIELDS: Mapping[str, object] = {}


class Reporter:
    """Sends lines and events to the main process, or writes them down itself.

    Args:
        run: the id of the run.
        channel: the channel to the main process.
        log: takes a line that the main process can't log any more: its level, its text and, if the
            line is a JSON object, its other fields.
        progress: says whether the main process lives.

    Attributes:
        directory: the directory of the run's files. "": there is none.
        writes_json: whether the lines that the watchdog writes itself are JSON objects.
    """

    def __init__(
        self, run: str, channel: Channel, log: Callable[..., None], progress: Progress
    ) -> None:
        self.directory = ""
        self.writes_json = False
        self._run = run
        self._channel = channel
        self._log = log
        self._progress = progress
        self._unseen: list[tuple[Any, ...]] = []
        self._descendants: set[Identity] = set()
        self._descendants_file: tuple[int, int] | None = None

    # -- lines for the log ------------------------------------------------------------------------

    def line(self, level: str, text: str) -> None:
        """Log a line, through the main process while that lives: it knows the user's log.

        Args:
            level: name of a level, such as `ERROR`.
            text: the line.
        """
        self._report(wire.LOG, level, text)

    def signal(
        self,
        level: str,
        signum: int,
        who: tuple[str, str, int],
        evidence: str,
        why: str = "",
        since: tuple[float, str] | None = None,
        cause: str = "",
    ) -> None:
        """Log a signal that was sent or refused. Its fields are worded by whoever logs them.

        Args:
            level: name of a level, such as `WARNING`.
            signum: the signal, or `kills.NO_SIGNAL`.
            who: role, name and pid of the process.
            evidence, why: as `kills.sentence` has them.
            since: a moment and its cause, to measure from while the server runs.
            cause: one of `kills.KILLS`. "": none of them.
        """
        progress = self._progress
        if since is None or progress.phase != WATCHING:
            since = (progress.began, progress.cause)
        seconds = time.monotonic() - since[0]
        self._report(wire.SIGNALLED, level, signum, *who, evidence, why, seconds, since[1], cause)

    def _report(self, *message: Any) -> None:
        if self._progress.main_lives:
            self._channel.send(*message)
            # Main has the line, or will have it once it has read those before.
            if self._channel.open:
                self._unseen.append(message)
                return
        self._write(message, is_told=True)

    def _write(self, message: tuple[Any, ...], is_told: bool) -> None:
        word, level, *facts = message
        if word == wire.LOG:
            text, fields = facts[0], {}
        else:
            text, fields = kills.sentence(*facts[:-1]), kills.fields(*facts)
        self.write(level, text, fields)
        if is_told:
            self.event("log", level=level, text=text)

    def write(self, level: str, text: str, fields: Mapping[str, object] = NO_FIELDS) -> None:
        """Write a line to standard error, without the main process.

        Args:
            level: name of a level, such as `ERROR`.
            text: the line.
            fields: what the line says, for a log of JSON objects.
        """
        if self.writes_json:
            self._log(level, text, fields)
        else:
            self._log(level, text)

    def confirm(self, lines: int) -> None:
        """Forget the oldest lines, which the main process has read.

        Args:
            lines: how many.
        """
        del self._unseen[:lines]

    def confirm_all(self) -> None:
        """Forget all lines: they were logged at once."""
        self._unseen.clear()

    def write_unseen(self) -> None:
        """Write the lines that the main process may not have read. It has died."""
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
        """Write an event after the main process's death to the run's files, for `report`."""
        if self.directory:
            record = state.line(kind, time=time.monotonic(), **fields)
            try:
                statedir.append(self.directory, self._run + state.END, state.encode(record))
            except OSError:
                pass

    def write_descendants(self, known: Set[Identity], preexisting: Set[Identity]) -> None:
        """Write down which processes are descendants of the server.

        A later start or a sweep reads this if it finds neither the main process nor the watchdog.
        There is no other evidence for a process that was forked without exec, and whose parent has
        exited.

        Args:
            known: the descendants.
            preexisting: those of them that descend from children which the main process had before
                the server.
        """
        found, name = set(known), self._run + state.KIN
        if self._progress.phase in (STOPPING, FINISHED):
            found -= preexisting  # they are the script's: no later start may kill them
        if not self.directory or not (found or self._descendants):
            return
        # Somebody else can have removed the file.
        is_there = self._descendants_file == statedir.file_id(self.directory, name)
        if found != self._descendants or not is_there:
            lines = [state.line("kin", pid=pid, start=start) for pid, start in sorted(found)]
            try:
                content = state.encode("".join(lines))
                self._descendants_file = statedir.write(self.directory, name, content)
                self._descendants = found
            except OSError:
                pass  # the main process logs it
