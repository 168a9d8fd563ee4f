"""The terminal that controls `run`, if there is one, and who is in its foreground.

The command leads a process group of its own, and that group is in the *background*. Our own stays
where the shell has put it. So a key is a signal to our group: to us, who pass it on to the
command's group, where it arrives once; and to whoever else is in the shell's job, a pipe's other
end or a script, as if `run` were not there. A kill of the whole job (`kill %1`, timeout(1)) reaches
us alone, and the command gets it once too.

A command that reads the terminal, or sets it up, is stopped for that by the kernel (SIGTTIN,
SIGTTOU). We see it stop, put its group into the foreground, and continue it.

Rejected:

- *The same group*: what is sent to the group reaches the command directly, and once more through
  us. A key could be told from the rest (the kernel sends it); `kill %1` could not, and a server
  takes a second SIGTERM for an order to drop everything.
- *The foreground for the command from the start*: simple, and most inits do it. But then
  `run -- CMD | less` stops less, and Ctrl+C does not reach the script that `run` is a line of,
  which goes on with its next line.
- *A session of its own* (setsid): no job control, no /dev/tty for the command.
"""

from __future__ import annotations

import os
import signal

from .. import platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def in_foreground() -> bool:
    """Whether our own group is."""
    return _with_terminal(lambda fd: os.tcgetpgrp(fd) == os.getpgrp())


def is_held_by(group: int) -> bool:
    """Whether this group is in the foreground."""
    return _with_terminal(lambda fd: os.tcgetpgrp(fd) == group)


def hand_over(group: int) -> bool:
    """Put a group into the foreground in the place of our own; `False` where ours is not there."""

    def put(fd: int) -> bool:
        if os.tcgetpgrp(fd) == os.getpgrp():
            os.tcsetpgrp(fd, group)  # not stopped for it: SIGTTOU is blocked (tcsetpgrp(3))
        return os.tcgetpgrp(fd) == group

    return _with_terminal(put)


def take_back(group: int) -> None:
    """Put our own group there again, if it is this one that is there, or one that has ended.

    A shell with job control does this by itself when we end; a script is a shell without.
    """

    def put(fd: int) -> bool:
        holder = os.tcgetpgrp(fd)
        if holder == group or (holder > 0 and not _exists(holder)):
            os.tcsetpgrp(fd, os.getpgrp())
        return True

    _with_terminal(put)


def is_resumable() -> bool:
    """Whether somebody could continue our job once it is suspended: a shell at a terminal, in our
    session but in another group, that is the parent of somebody in ours (setpgid(2), orphaned
    process groups)."""
    if not _with_terminal(lambda fd: True):
        return False
    pid = os.getpid()
    try:
        while os.getpgid(pid) == os.getpgrp():
            row = platform.row(pid)
            pid = os.getppid() if pid == os.getpid() else (row.ppid if row is not None else 0)
            if pid == 0:  # beyond our PID namespace, or not to be seen
                return False
        return os.getsid(pid) == os.getsid(0)
    except OSError:
        return False


def suspend_job() -> None:
    """Stop our own group, as Ctrl+Z does, and return when it is continued.

    Unless it has just been: that SIGCONT is waiting for us, and a stop would cancel it.
    """
    if signal.SIGCONT in signal.sigpending():
        return
    os.kill(0, signal.SIGTSTP)
    os.kill(os.getpid(), signal.SIGSTOP)


def _with_terminal(work: Callable[[int], bool]) -> bool:
    try:
        fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return work(fd)
    except OSError:  # hung up meanwhile
        return False
    finally:
        os.close(fd)


def _exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
