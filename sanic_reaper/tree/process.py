"""One process: who it is, whether it lives, and how to signal it and nobody else."""

from __future__ import annotations

import os

from .. import platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..platform.base import Identity


RESERVE = 16
"""Descriptors that no handle takes: somebody has to read the process table to the end."""


class Handle:
    """A hold on one process, proof against the reuse of its pid.

    Where the system has pidfds (Linux 5.3), `fd` is one: it turns readable when the process ends,
    and a signal through it reaches this process or nobody. Elsewhere `fd` is `None`, and the
    creation time is compared right before each signal.
    """

    __slots__ = ("fd", "pid", "start")

    def __init__(self, pid: int, start: int, fd: int | None) -> None:
        self.pid = pid
        self.start = start
        self.fd = fd

    @classmethod
    def open(cls, pid: int, start: int) -> Handle | None:
        """Take hold of the process `pid` that was created at `start`.

        Returns:
            `None` where it has ended, or where the pid belongs to another process by now.
        """
        try:
            fd: int | None = _spared(platform.exit_fd(pid))
        except ProcessLookupError:
            return None
        except OSError:
            fd = None
        handle = cls(pid, start, fd)
        # Only now: what was true before the descriptor was opened may have been of somebody else.
        if not handle.alive():
            handle.close()
            return None
        return handle

    @property
    def identity(self) -> Identity:
        return (self.pid, self.start)

    def alive(self) -> bool:
        """Whether it has not ended.

        Where the process table says nothing of it, that may be because it is denied to us: under
        `hidepid` what is another user's looks as if it were not there. Then it is the pid that
        counts: whoever has it by now is another user's too, whom we could hardly signal.
        """
        row = platform.row(self.pid)
        if row is None:
            return answers(self.pid)
        return row.start == self.start and row.alive

    def send(self, signum: int) -> bool:
        """Send a signal.

        Returns:
            `False` where the process has ended meanwhile.

        Raises:
            PermissionError: it runs as a user whom we may not signal.
        """
        if self.fd is not None:
            try:
                platform.send(self.pid, self.fd, signum)
                return True
            except ProcessLookupError:
                return False
            except OSError:
                # It runs as another user, or a sandbox denies this very call: kill(2) tells.
                pass
        if not self.alive():
            return False
        try:
            platform.send(self.pid, None, signum)
        except ProcessLookupError:
            return False
        return True

    def close(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


def send_to(identity: Identity, signum: int) -> bool:
    """Send a signal to this process and to nobody else, whoever has its pid by now.

    Returns:
        `False` where the process has ended.

    Raises:
        PermissionError: the process runs as a user whom we may not signal.
    """
    handle = Handle.open(*identity)
    if handle is None:
        return False
    try:
        return handle.send(signum)
    finally:
        handle.close()


def _spared(fd: int) -> int | None:
    """The descriptor, unless it is one of the last: there may be more processes than those."""
    limit = os.sysconf("SC_OPEN_MAX")
    if limit < 0 or fd < limit - RESERVE:
        return fd
    os.close(fd)
    return None


UNKNOWN = 0
"""The creation time of a process that the process table says nothing of: it can't be read at all,
or not by us."""


def start_of(pid: int) -> int:
    """The creation time of a process that is known to exist, or `UNKNOWN`."""
    row = platform.row(pid)
    return UNKNOWN if row is None else row.start


def children_of(pid: int) -> set[Identity]:
    """Those that the process has now."""
    table = platform.subtree([pid])
    rows = (platform.table() if table is None else table).values()
    return {row.identity for row in rows if row.ppid == pid}


def answers(pid: int) -> bool:
    """Whether the pid belongs to anybody, zombies included."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
