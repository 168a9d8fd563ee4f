"""Writes the state file of a server, and moves it if its directory disappears.

A runtime directory can disappear: `/run/user/UID` is removed when its user logs out, a cleaner
empties /tmp, a disk fills, main gives up being root. Readers look into each possible directory. So
a move must be announced only to others who write there (`StateFile.moved`).
"""

from __future__ import annotations

from .. import state
from ..log import log
from ..state import statedir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence


BIGGEST = statedir.LONGEST // 2
"""Maximum size of the state file in bytes. Readers accept twice as many."""


class StateFile:
    """The state file and the beat file of one run.

    Args:
        run: id of the run.

    Attributes:
        path: directory of the files. "" if there is none.
        moved: called with the new directory when the files have moved.
    """

    def __init__(self, run: str) -> None:
        self.path = ""
        self.moved: Callable[[str], None] = lambda path: None
        self._run = run
        self._written = b""
        self._file: tuple[int, int] | None = None
        """Device and inode of the state file when it was last written."""
        self._reported: set[str] = set()

    def write(self, now: float, content: bytes) -> None:
        """Write the files, in this directory or in the next one that accepts them.

        If no directory does, the next call tries again. Until then `sanic-reaper ps` does not show
        the server, and nothing else is affected.

        Args:
            now: monotonic time in seconds.
            content: content of the state file.
        """
        try:
            self._write(now, content)
        except OSError as error:
            self._write_elsewhere(now, content, error)

    def _write(self, now: float, content: bytes) -> None:
        name = self._run + state.STATE
        if content != self._written or self._file != statedir.file_id(self.path, name):
            self._file = statedir.write(self.path, name, content)
            self._written = content
        # After the state file: a beat file alone would describe a run without a state.
        statedir.write(self.path, self._run + state.BEAT, b"%.3f\n" % now)

    def _write_elsewhere(self, now: float, content: bytes, error: OSError) -> None:
        was, tried = self.path, list[str]()
        while True:
            try:
                self.path = statedir.make(tried)
                self._write(now, content)
            except OSError as refusal:
                if self.path in tried or not self.path:
                    self.path = was
                    self._warn_once(
                        "the server can't be seen by `sanic-reaper ps` and others: %s", refusal
                    )
                    return
                tried.append(self.path)
            else:
                break
        if not was:
            return
        if was == self.path:
            self._warn_once("the state directory %s was missing, and has been created again", was)
        else:
            self._warn_once(
                "the state directory %s can't be written to (%s): the server's state is now in %s",
                was,
                error,
                self.path,
            )
            statedir.remove(was, *(self._run + end for end in state.ALL))
            self.moved(self.path)

    def _warn_once(self, words: str, *arguments: object) -> None:
        if words not in self._reported:
            self._reported.add(words)
            log.warning(words, *arguments)


def fitting(
    present: Iterable[bytes], past: Sequence[tuple[float, bytes]], room: int = BIGGEST
) -> Iterator[bytes]:
    """The parts that fit into a file of limited size.

    Args:
        present: parts about the present, the most important first.
        past: parts about the past, each with its time. The latest are kept, in their order.
        room: size of the file in bytes.
    """
    for part in present:
        room -= len(part)
        if room >= 0:
            yield part
        else:
            room += len(part)
    if sum(len(part) for _, part in past) > room:
        kept = set()
        for at in sorted(range(len(past)), key=lambda at: past[at][0], reverse=True):
            room -= len(past[at][1])
            if room < 0:
                break
            kept.add(at)
        past = [past[at] for at in sorted(kept)]
    yield from (part for _, part in past)
