"""What every platform backend speaks of: one row of the process table.

Written without `dataclasses`, `typing` or `enum`: the watchdog keeps this in memory for as long as
the server lives, and those three cost more than all of its own code.
"""

from __future__ import annotations

import errno
import os

from ..untrusted import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

Identity: TypeAlias = "tuple[int, int]"
"""A process for good: its pid and the time at which it was created, as the kernel gives it.

A bare pid names whoever holds the number now; the pair never names a second process.
"""

WITHOUT = frozenset(os.environ.get("SANIC_REAPER_WITHOUT", "").split(","))
"""Mechanisms to do without, so that tests can force each fallback on any machine.

Any of `pidfd`, `prctl`, `children`, `proc`, `watchdog`, `state` (a place to leave word in); and
`denied`, under which each process can read of nobody but itself, as under `hidepid` for one that
has given up being root.
"""

SCARCE = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM))
"""Errors of a process, or a machine, that has used up what a call needs, and may have it again."""


def mark_of(fd: int) -> tuple[int, int] | None:
    """What tells an open file from another one that has got its descriptor's number.

    Code of the user's may close descriptors that are not its own (`os.closerange`). The number
    goes to whatever is opened next.

    Returns:
        `None` where the descriptor is closed.
    """
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_hidden(pid: int) -> bool:
    """Whether the process table is to say nothing of this process."""
    return "denied" in WITHOUT and pid != os.getpid()


class Arrival:
    """A signal that has come for this process."""

    __slots__ = ("from_kernel", "sender", "signum")

    def __init__(self, signum: int, from_kernel: bool | None, sender: int) -> None:
        self.signum = signum
        self.from_kernel = from_kernel
        """Whether the kernel itself has sent it, as it does for a key at the terminal; `None`: not
        known."""
        self.sender = sender
        """The process that did, by its pid; 0: nobody that can be seen from here."""


class Row:
    """One process as the process table shows it at one moment.

    Attributes:
        name: what the process calls itself, made printable: it goes into logs and to terminals.
    """

    __slots__ = ("name", "pid", "ppid", "start", "state")

    def __init__(self, pid: int, ppid: int, start: int, state: str, name: str = "") -> None:
        self.pid = pid
        self.ppid = ppid
        self.start = start
        self.state = state
        self.name = printable(name)

    @property
    def identity(self) -> Identity:
        return (self.pid, self.start)

    @property
    def alive(self) -> bool:
        """A zombie has ended: it holds no memory, no port, and no signal reaches it."""
        return self.state not in "ZX"

    @property
    def stopped(self) -> bool:
        return self.state == "T"

    @property
    def halted(self) -> bool:
        """Stopped, or stopped by a debugger that traces it."""
        return self.state in "Tt"

    def __repr__(self) -> str:
        return f"<{self.name} [{self.pid}] {self.state} parent={self.ppid} start={self.start}>"
