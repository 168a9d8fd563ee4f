"""The command line of a watchdog: how it is started, and how it is read from a process table."""

from __future__ import annotations

from ..untrusted import whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "reaper-watchdog"
"""Name of the watchdog process, as `ps -o comm` shows it."""

PROGRAM = "from sanic_reaper.watchdog.entry import main; main(sys.argv[1:])"


class Watchdog:
    """The arguments on a watchdog's command line.

    Args:
        main: pid of the main process.
        start: creation time of the main process.
        channel: number of the watchdog's descriptor of its channel to main.
        run: id of the run.
    """

    def __init__(self, main: int, start: int, channel: int, run: str) -> None:
        self.main, self.start = main, start
        self.channel = channel
        self.run = run


def watchdog_of(command: Sequence[bytes]) -> Watchdog | None:
    """The arguments of a watchdog. `None` if the command line is not a watchdog's."""
    try:
        at = command.index(b"-c")
        program, main, start, channel, run = command[at + 1 : at + 6]
        if not program.endswith(PROGRAM.encode()):
            return None
        pid, since, fd = (whole(word.decode("ascii")) for word in (main, start, channel))
        return Watchdog(pid, since, fd, run.decode("ascii"))
    except ValueError:  # too few words, or words that cannot be decoded
        return None
