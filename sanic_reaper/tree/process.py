"""One process: its identity, whether it is alive, and how to signal this process and no other."""

from __future__ import annotations

import os

from .. import platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..platform.base import Identity


RESERVE = 16
"""Descriptors that handles leave free, so that the process table can still be read."""


class Handle:
    """A reference to one process that stays right when the kernel reuses its pid.

    Where the system has pidfds (Linux 5.3), `fd` is one: it becomes readable when the process
    exits, and a signal sent through it reaches this process or none. Elsewhere `fd` is `None`, and
    the creation time is compared immediately before each signal.
    """

    __slots__ = ("fd", "pid", "start")

    def __init__(self, pid: int, start: int, fd: int | None) -> None:
        self.pid = pid
        self.start = start
        self.fd = fd

    @classmethod
    def open(cls, pid: int, start: int) -> Handle | None:
        """Open a handle of the process `pid` that was created at `start`.

        Returns:
            `None` if the process has exited, or if the pid belongs to another process now.
        """
        try:
            fd: int | None = _unless_reserved(platform.exit_fd(pid))
        except ProcessLookupError:
            return None
        except OSError:
            fd = None
        handle = cls(pid, start, fd)
        # Only now: before the descriptor was opened, the pid can have belonged to another process.
        if not handle.alive():
            handle.close()
            return None
        return handle

    @property
    def identity(self) -> Identity:
        return (self.pid, self.start)

    def alive(self) -> bool:
        """Whether the process has not exited.

        A process can be missing from the process table because the kernel hides it: with the mount
        option `hidepid`, a process of another user looks as if it did not exist (proc(5)). Then the
        pid alone decides. If another process has that pid now, it is another user's as well, and
        the kernel refuses the signal.
        """
        row = platform.row(self.pid)
        if row is None:
            return answers(self.pid)
        return row.start == self.start and row.alive

    def send(self, signum: int) -> bool:
        """Send a signal to the process.

        Returns:
            `False` if the process has exited.

        Raises:
            PermissionError: the process runs as a user whom this process may not signal.
        """
        if self.fd is not None:
            try:
                platform.send(self.pid, self.fd, signum)
                return True
            except ProcessLookupError:
                return False
            except OSError:
                # The process runs as another user, or a sandbox denies pidfd_send_signal: kill(2)
                # tells which.
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
    """Send a signal to this process, and never to another one that has got its pid.

    Returns:
        `False` if the process has exited.

    Raises:
        PermissionError: the process runs as a user whom this process may not signal.
    """
    handle = Handle.open(*identity)
    if handle is None:
        return False
    try:
        return handle.send(signum)
    finally:
        handle.close()


def may_signal(handle: Handle) -> bool:
    """Whether this process may signal a process. Also true if the process has exited: then a signal
    does no harm."""
    try:
        handle.send(0)
    except PermissionError:
        return False
    return True


def _unless_reserved(fd: int) -> int | None:
    """The descriptor, unless it is among the last `RESERVE`, which stay free. Then it is closed."""
    limit = os.sysconf("SC_OPEN_MAX")
    if limit < 0 or fd < limit - RESERVE:
        return fd
    os.close(fd)
    return None


UNKNOWN = 0
"""The creation time of a process of which the process table cannot be read."""


def start_of(pid: int) -> int:
    """The creation time of a process that is known to exist, or `UNKNOWN`."""
    row = platform.row(pid)
    return UNKNOWN if row is None else row.start


def children_of(pid: int) -> set[Identity]:
    """The children that the process has now."""
    table = platform.subtree([pid])
    rows = (platform.table() if table is None else table).values()
    return {row.identity for row in rows if row.ppid == pid}


def answers(pid: int) -> bool:
    """Whether any process has this pid, zombies included."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
