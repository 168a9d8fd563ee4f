"""The command line of a watchdog: how it is started, and what it tells to whoever reads it."""

from __future__ import annotations

from ..untrusted import whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "reaper-watchdog"
"""What `ps -o comm` shows."""

PROGRAM = "from sanic_reaper.watchdog.entry import main; main(sys.argv[1:])"


class Watchdog:
    """Args: what its command line says after the program, in this order."""

    def __init__(self, main: int, start: int, channel: int, run: str) -> None:
        self.main, self.start = main, start
        self.channel = channel
        """The number of its descriptor to main."""
        self.run = run


def watchdog_of(command: Sequence[bytes]) -> Watchdog | None:
    """What a command line says, if it is a watchdog's."""
    try:
        at = command.index(b"-c")
        program, main, start, channel, run = command[at + 1 : at + 6]
        if not program.endswith(PROGRAM.encode()):
            return None
        pid, since, fd = (whole(word.decode("ascii")) for word in (main, start, channel))
        return Watchdog(pid, since, fd, run.decode("ascii"))
    except ValueError:  # also what can't be unpacked, or decoded
        return None
