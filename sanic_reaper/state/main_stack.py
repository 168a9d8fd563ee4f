"""Asks for the main process's own stack by a signal, which works also while its loop is blocked.

The main process's end is `main/own_stack.py`. If root asks, another user can have forged the file.
So the signal goes only to a process of that user, and only if the process handles the signal: any
other process would die of it.
"""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import time

from .. import platform, state
from ..model.questions import REQUEST
from ..tree.process import Handle
from . import statedir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..platform.base import Identity

PATIENCE = 5.0
"""Seconds to wait for the stacks. C code writes them as soon as the main process gets a core."""

QUIET = 0.2
"""Seconds without a further line after which the stacks are taken to be complete."""

LONGEST = 4 * 1024 * 1024
"""Maximum number of bytes that are read."""


def ask_main(directory: str, uid: int, run: str, main: Identity) -> str:
    """Ask for every thread's stack of a server's main process.

    Args:
        directory: the directory of the run's files.
        uid: the owner of that directory.
        run: the id of the run.
        main: the main process.

    Returns:
        The stacks, the innermost line first.

    Raises:
        OSError: the main process can't be asked, or does not answer. The error says why.
    """
    fd = _open(directory, uid, run)
    try:
        until = time.monotonic() + PATIENCE
        _lock(fd, until)
        handle = Handle.open(*main)
        if handle is None:
            raise OSError("main has exited")
        try:
            _refuse_others(handle, uid)
            os.ftruncate(fd, 0)
            handle.send(REQUEST)
            return _read(fd, until)
        finally:
            handle.close()
    finally:
        os.close(fd)


def _open(directory: str, uid: int, run: str) -> int:
    parent = statedir.open_directory(directory, uid)
    try:
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(run + state.STACK, flags, dir_fd=parent)
    except FileNotFoundError:
        raise OSError("main has no file for its stack: it is starting or stopping") from None
    finally:
        os.close(parent)
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != uid or status.st_nlink != 1:
        os.close(fd)
        raise OSError(f"the file for the stack is not a file of user {uid}")
    return fd


def _lock(fd: int, until: float) -> None:
    """Wait until no other command uses the file: each command empties it."""
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise TimeoutError("another command is asking main just now") from None
            time.sleep(0.05)
        else:
            return


def _refuse_others(handle: Handle, uid: int) -> None:
    row = platform.row(handle.pid)
    if platform.uid(handle.pid) != uid:
        raise OSError(f"process {handle.pid} does not run as user {uid}")
    if row is not None and row.halted:
        raise OSError("main is stopped, by SIGSTOP or by a debugger, and can't be asked")
    if not platform.caught_signals(handle.pid) >> (REQUEST - 1) & 1:
        name = f"SIGRTMAX-{signal.SIGRTMAX - REQUEST}" if hasattr(signal, "SIGRTMAX") else "SIGUSR2"
        raise OSError(f"main does not handle {name}, by which it would be asked")


def _read(fd: int, until: float) -> str:
    size, since = 0, time.monotonic()
    while time.monotonic() < until:
        time.sleep(0.02)
        now = os.fstat(fd).st_size
        if now != size:
            size, since = now, time.monotonic()
        elif size and time.monotonic() - since >= QUIET:
            return os.pread(fd, min(size, LONGEST), 0).decode("utf-8", "replace")
    raise TimeoutError(
        f"main has not answered within {PATIENCE:g} s: it sits in the kernel, or gets no core"
    )
