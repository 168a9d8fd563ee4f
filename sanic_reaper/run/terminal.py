"""The controlling terminal of `run`, if there is one, and its foreground group.

The command leads a process group of its own, in the *background*. Our own group stays where the
shell has put it. So a key sends a signal to our group. We pass it on to the command's group, where
it arrives once. It also reaches the other processes of the shell's job (the other end of a pipe, a
script), as if `run` were not there. A signal to the whole job (`kill %1`, timeout(1)) reaches only
us, and so the command gets it once too.

The kernel stops a command that reads the terminal or changes its settings (SIGTTIN, SIGTTOU). Then
we put the command's group into the foreground and continue it.

Rejected:

- *The same group*: a signal to the group reaches the command directly, and once more through us. A
  key can be recognised (the kernel sends it), but `kill %1` cannot, and a server drops all requests
  at a second SIGTERM.
- *The foreground for the command from the start*: simple, and most inits do it. But then
  `run -- CMD | less` stops less, and Ctrl+C does not reach a script that calls `run`: it goes on
  with its next line.
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
    """Whether our own group is in the foreground."""
    return _with_terminal(lambda fd: os.tcgetpgrp(fd) == os.getpgrp())


def is_held_by(group: int) -> bool:
    """Whether a process group is in the foreground."""
    return _with_terminal(lambda fd: os.tcgetpgrp(fd) == group)


def hand_over(group: int) -> bool:
    """Put a group into the foreground in the place of our own.

    Returns:
        Whether the group is in the foreground now. `False` if our own was not.
    """

    def put(fd: int) -> bool:
        if os.tcgetpgrp(fd) == os.getpgrp():
            os.tcsetpgrp(fd, group)  # not stopped for it: SIGTTOU is blocked (tcsetpgrp(3))
        return os.tcgetpgrp(fd) == group

    return _with_terminal(put)


def take_back(group: int) -> None:
    """Put our own group into the foreground again, if this group or one without processes is there.

    A shell with job control does this by itself when we exit. A shell that runs a script does not.
    """

    def put(fd: int) -> bool:
        holder = os.tcgetpgrp(fd)
        if holder == group or (holder > 0 and not _exists(holder)):
            os.tcsetpgrp(fd, os.getpgrp())
        return True

    _with_terminal(put)


def is_resumable() -> bool:
    """Whether a shell could continue our job once it is suspended.

    Such a shell is at a terminal, in our session but in another group, and is the parent of a
    process of our group (setpgid(2), orphaned process groups).
    """
    if not _with_terminal(lambda fd: True):
        return False
    pid = os.getpid()
    try:
        while os.getpgid(pid) == os.getpgrp():
            row = platform.row(pid)
            pid = os.getppid() if pid == os.getpid() else (row.ppid if row is not None else 0)
            if pid == 0:  # outside of our PID namespace, or hidden
                return False
        return os.getsid(pid) == os.getsid(0)
    except OSError:
        return False


def suspend_job() -> None:
    """Stop our own group, as Ctrl+Z does, and return when it is continued.

    If a SIGCONT is pending, the group has just been continued, and is not stopped: a stop would
    cancel that signal.
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
