"""Puts what there is to be told of the server in its place, and finds another where that goes away.

A runtime directory is not for ever: `/run/user/UID` is removed when its user logs out, something
tidies /tmp up, a disk fills, main gives up being root. Readers look at every place, so nobody has
to be told of another one but those who write there too.
"""

from __future__ import annotations

from .. import state
from ..log import log
from ..state import statedir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence


BIGGEST = statedir.LONGEST // 2
"""Bytes of the state file, of which readers take twice as many."""


class StateFile:
    """The state and beat files of one run.

    Args:
        run: its id.

    Attributes:
        path: the directory in which they are. "": there is none.
        moved: called when that is another one from now on.
    """

    def __init__(self, run: str) -> None:
        self.path = ""
        self.moved: Callable[[str], None] = lambda path: None
        self._run = run
        self._written = b""
        self._file: tuple[int, int] | None = None
        """Device and inode of the state file, when it was written."""
        self._told: set[str] = set()

    def write(self, now: float, content: bytes) -> None:
        """Write what is new, there or in the next place that takes it. If none does, the next call
        tries again: it costs the view, and nothing else.

        Args:
            now: on the monotonic clock.
            content: of the state file.
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
        # Not before the state: a beat alone is a run of which nobody knows anything.
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
                    self._tell_once(
                        "the server can't be seen by `sanic-reaper ps` and its like: %s", refusal
                    )
                    return
                tried.append(self.path)
            else:
                break
        if not was:
            return
        if was == self.path:
            self._tell_once("the state directory %s was gone; it is made again", was)
        else:
            self._tell_once(
                "the state directory %s can't be written to (%s): the server's state is now in %s",
                was,
                error,
                self.path,
            )
            statedir.remove(was, *(self._run + end for end in state.ALL))
            self.moved(self.path)

    def _tell_once(self, words: str, *arguments: object) -> None:
        if words not in self._told:
            self._told.add(words)
            log.warning(words, *arguments)


def fitting(
    present: Iterable[bytes], past: Sequence[tuple[float, bytes]], room: int = BIGGEST
) -> Iterator[bytes]:
    """The parts of a file that fit into it: readers take no longer one.

    Args:
        present: the most important part first.
        past: each with its moment; the latest are kept, and stay in their order.
        room: bytes.
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
