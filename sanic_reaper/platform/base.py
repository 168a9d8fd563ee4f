"""The types that every platform backend shares: a process identity, a row of the process table, a
received signal.

Written without `dataclasses`, `typing` and `enum`: the watchdog keeps this module in memory for as
long as the server runs, and those three cost more memory than all of the watchdog's own code.
"""

from __future__ import annotations

import errno
import os

from ..untrusted import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

Identity: TypeAlias = "tuple[int, int]"
"""Names one process for good: its pid and its creation time, in the units of the backend.

A pid alone names whichever process has the number now. The pair never names a second process.
"""

WITHOUT = frozenset(os.environ.get("SANIC_REAPER_WITHOUT", "").split(","))
"""Mechanisms that the Reaper does without, so that tests can force each fallback on any machine.

Any of `pidfd`, `prctl`, `children`, `proc`, `watchdog`, `state` (a directory for the run's files),
and `denied`: each process can read the data of no process but itself, as under the mount option
`hidepid` (proc(5)) after a process has given up root.
"""

SCARCE = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM))
"""Error numbers for descriptors or memory that are used up for now: a later call can succeed."""


def mark_of(fd: int) -> tuple[int, int] | None:
    """Identify the open file behind a descriptor, by device and inode.

    User code can close descriptors that are not its own (`os.closerange`). The number then goes to
    the next file that is opened. Device and inode tell that file from the one before.

    Returns:
        Device and inode. `None`: the descriptor is closed.
    """
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_hidden(pid: int) -> bool:
    """Whether a test has hidden this process from the process table (`WITHOUT`)."""
    return "denied" in WITHOUT and pid != os.getpid()


class Arrival:
    """A signal that this process has received.

    Attributes:
        signum: number of the signal.
        from_kernel: whether the kernel itself sent the signal, as for a key pressed at the
            terminal. `None`: unknown.
        sender: pid of the process that sent the signal. 0: no process that is visible from here.
    """

    __slots__ = ("from_kernel", "sender", "signum")

    def __init__(self, signum: int, from_kernel: bool | None, sender: int) -> None:
        self.signum = signum
        self.from_kernel = from_kernel
        self.sender = sender


class Row:
    """One process, as the process table shows it at one moment.

    Attributes:
        pid: its pid.
        ppid: the pid of its parent. 0: its parent is outside of this PID namespace.
        start: its creation time, in the units of the backend (Linux: clock ticks since the boot).
        state: one letter, as proc(5) has it: `R` runs, `S` sleeps, `T` is stopped, `Z` is a zombie.
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
        """Whether the process has not exited. A zombie has exited: it holds no memory and no port,
        and no signal reaches it."""
        return self.state not in "ZX"

    @property
    def stopped(self) -> bool:
        """Whether SIGSTOP or a key at the terminal has stopped the process."""
        return self.state == "T"

    @property
    def halted(self) -> bool:
        """Whether the process is stopped, by a signal or by a debugger that traces it."""
        return self.state in "Tt"

    def __repr__(self) -> str:
        return f"<{self.name} [{self.pid}] {self.state} parent={self.ppid} start={self.start}>"
