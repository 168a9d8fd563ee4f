"""The watch in the main process itself, in the place of a watchdog that can't be started.

Assumes that the main process's loop turns: deadlines are enforced only then. Only the kernel's
parent death signal covers the death of the main process itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from ..log import LEVELS, log
from ..platform.base import Identity
from ..protocol.channel import text_of
from ..tree.process import Handle
from ..watchdog.progress import FINISHED, GONE
from ..watchdog.watch import Watch
from . import log_format


class InlineWatch:
    """A watch without a process of its own, which turns whenever the main process receives."""

    def __init__(self, main: Identity, run: str, orphan_grace: float) -> None:
        self._inbox: deque[list[str]] = deque()
        self._outbox: deque[list[str]] = deque()
        handle = Handle(*main, None)
        self._watch = Watch(handle, run, orphan_grace, self._Ends(self), _log)  # type: ignore[arg-type]

    class _Ends:
        """The watch's end of a channel that never leaves this process."""

        fd = -1
        open = True
        waits = False

        def __init__(self, inline: InlineWatch) -> None:
            self._inline = inline

        def send(self, *words: object) -> bool:
            self._inline._outbox.append(list(map(text_of, words)))
            return True

        def flush(self) -> bool:
            return True

        def receive(self) -> list[list[str]]:
            inbox = self._inline._inbox
            return [inbox.popleft() for _ in range(len(inbox))]

        def close(self) -> None:
            pass

    def send(self, *words: object) -> bool:
        self._inbox.append(list(map(text_of, words)))
        return True

    def receive(self) -> list[list[str]]:
        if self._watch.phase not in (FINISHED, GONE) or self._inbox:
            self._watch.turn(0.0)
        self._watch.reporter.confirm_all()
        return [self._outbox.popleft() for _ in range(len(self._outbox))]

    def alive(self) -> bool:
        return True

    def fileno(self) -> int:
        return -1

    def dismiss(self) -> None:
        pass

    def close(self) -> None:
        pass


def _log(level: str, text: str, fields: Mapping[str, object] | None = None) -> None:
    log.log(LEVELS.get(level, 20), "%s", text, extra=log_format.extra(fields))
