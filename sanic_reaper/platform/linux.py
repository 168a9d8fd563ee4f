"""The backend for Linux: pidfds, prctl and signals, and what `linux_proc` reads from /proc.

Sources: pidfd_open(2), pidfd_send_signal(2), prctl(2), fcntl(2), sigtimedwait(2).
"""

from __future__ import annotations

import errno
import os
import signal
import sys

from .base import WITHOUT, Arrival
from .linux_proc import (
    age,
    caught_signals,
    channel,
    children,
    command,
    cpu_seconds,
    environ,
    ignored_signals,
    is_exiting,
    keep_reserve,
    oom_kills,
    resident,
    row,
    subtree,
    table,
    uid,
)

__all__ = [
    "NEEDS_SITE_PACKAGES",
    "SUPPORTED",
    "age",
    "become_no_subreaper",
    "become_subreaper",
    "caught_signals",
    "channel",
    "check_parent_death_signal",
    "children",
    "command",
    "cpu_seconds",
    "early_death_signal",
    "environ",
    "exit_fd",
    "forbid_core_dump",
    "give_back_memory",
    "ignored_signals",
    "is_exiting",
    "keep_reserve",
    "name_process",
    "next_signal",
    "oom_kills",
    "parent_death_signal",
    "reader_signal",
    "resident",
    "row",
    "send",
    "subtree",
    "table",
    "uid",
]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

SUPPORTED = True
NEEDS_SITE_PACKAGES = False

_PR_SET_PDEATHSIG = 1
_PR_GET_PDEATHSIG = 2
_PR_SET_CHILD_SUBREAPER = 36


def exit_fd(pid: int) -> int:
    """Open a pidfd: it becomes readable when the process exits, and never names another process.

    Raises:
        ProcessLookupError: no process has this pid.
        OSError: the kernel is older than Linux 5.3, or no descriptor is free.
    """
    if "pidfd" in WITHOUT or not hasattr(os, "pidfd_open"):
        raise OSError(errno.ENOSYS, "no pidfd on this system")
    return os.pidfd_open(pid)


def send(pid: int, fd: int | None, signum: int) -> None:
    """Send a signal to a process.

    Args:
        fd: a pidfd of the process. `None`: the signal goes to whichever process has the pid now.

    Raises:
        ProcessLookupError: the process has been reaped, or no process has the pid.
        PermissionError: the process runs as a user whom this process may not signal.
        OSError: a sandbox denies the system call.
    """
    if fd is None:
        os.kill(pid, signum)
    else:
        signal.pidfd_send_signal(fd, signum)


def _prctl(option: int, argument: int) -> None:
    if "prctl" in WITHOUT:
        raise OSError(errno.ENOSYS, "no prctl on this system")
    if _call_in_libc("prctl", option, argument) == 0:
        return
    try:
        import ctypes  # here, not above: the watchdog never calls this, and it costs 1 MB there
    except ImportError as error:  # a Python built without libffi
        raise OSError(errno.ENOSYS, "no ctypes in this Python") from error

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(argument), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}, {argument}): {os.strerror(code)}")


def _call_in_libc(name: str, *arguments: int | bytes) -> int | None:
    """Call a function of the C library through `_ctypes`, which costs 120 KB less than `ctypes`.

    `_ctypes` does not tell `errno`. So a call that fails must be repeated through `ctypes` to find
    out why.

    Returns:
        What the function returned. `None`: this Python has no `_ctypes`, which is private, in the
        form that CPython 3.10 to 3.13 have.
    """
    try:
        import _ctypes

        libc = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]  # the program itself
        result: int = _ctypes.call_function(_ctypes.dlsym(libc, name), (*arguments, 0, 0, 0))
    except (ImportError, AttributeError, OSError, TypeError):
        return None
    return result


def parent_death_signal(signum: int) -> None:
    """Have the kernel send `signum` when the *thread* that forked this process exits.

    If the parent has died before, no signal comes. So ask first, and check the parent afterwards. A
    fork clears the setting, and so does a change of credentials (prctl(2), PR_SET_PDEATHSIG).

    Args:
        signum: the signal. 0: none.

    Raises:
        OSError: the kernel, or a sandbox, refuses.
    """
    _prctl(_PR_SET_PDEATHSIG, signum)


def check_parent_death_signal() -> None:
    """Find out whether `parent_death_signal` works here, without changing the current setting.

    Raises:
        OSError: the kernel, or a sandbox, refuses.
    """
    asked = bytes(bytearray(4))  # the kernel writes into it, so no object that is shared
    result = _call_in_libc("prctl", _PR_GET_PDEATHSIG, asked)
    if result == 0 or "prctl" in WITHOUT:
        parent_death_signal(int.from_bytes(asked, sys.byteorder))
    elif result is not None:
        raise OSError(errno.EPERM, "prctl is denied")


def early_death_signal(parent: int, signum: int) -> str:
    """Python code that asks for the parent death signal, and exits if the parent has already died.

    For the command line of an interpreter, which cannot import this package yet. The code uses
    `_ctypes`, which `_call_in_libc` loads later in any case.

    Args:
        parent: pid of the parent.
        signum: the signal.

    Returns:
        The code. "": this system has no such signal.
    """
    if "prctl" in WITHOUT:
        return ""
    return _EARLY % (_PR_SET_PDEATHSIG, signum, parent)


_EARLY = """\
try:
    import _ctypes as c, os
    c.call_function(c.dlsym(c.dlopen(None, 0), "prctl"), (%d, %d, 0, 0, 0))
    os.getppid() == %d or os._exit(0)
except Exception: pass"""


def become_subreaper() -> None:
    """Have descendants whose parent dies become children of this process.

    Source: prctl(2), PR_SET_CHILD_SUBREAPER.

    Raises:
        OSError: the kernel, or a sandbox, refuses.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def become_no_subreaper() -> None:
    """Have orphans adopted again by the process that would adopt them without this one."""
    try:
        _prctl(_PR_SET_CHILD_SUBREAPER, 0)
    except OSError:
        pass  # this process never was a subreaper


def next_signal(signums: Iterable[int], seconds: float | None) -> Arrival | None:
    """Take the next of these signals, by sigtimedwait(2).

    The kernel keeps a blocked signal until it is taken, also for PID 1, and also if the signal is
    ignored (`sig_ignored`, kernel/signal.c).

    Args:
        signums: the signals, which must be blocked.
        seconds: how long to wait. `None`: without end.

    Returns:
        `None`: no signal has come in time.
    """
    if seconds is None:
        info: signal.struct_siginfo | None = signal.sigwaitinfo(signums)
    else:
        info = signal.sigtimedwait(signums, max(0.0, seconds))
    if info is None:
        return None
    from_kernel = info.si_code == _SI_KERNEL
    return Arrival(info.si_signo, from_kernel, 0 if from_kernel else info.si_pid)


_SI_KERNEL = 0x80


def reader_signal(fd: int, signum: int, pid: int = 0) -> None:
    """Have the kernel send a signal when the last writer of a pipe closes it, or when one writes.

    This needs no thread and no GIL. It is the pipe's SIGIO (`O_ASYNC`) with another number
    (`F_SETSIG`, fcntl(2)). The setting belongs to the open file, and lasts as long as any process
    has that file open.

    Args:
        fd: the end of the pipe that is read.
        signum: the signal.
        pid: the process that gets the signal. 0: this process.
    """
    import fcntl

    fcntl.fcntl(fd, fcntl.F_SETOWN, pid or os.getpid())
    fcntl.fcntl(fd, fcntl.F_SETSIG, signum)
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)


def give_back_memory() -> None:
    """Return free memory to the kernel, by glibc's malloc_trim(3). Does nothing without glibc."""
    _call_in_libc("malloc_trim", 0)


def forbid_core_dump(pid: int) -> None:
    """Set a process's limit of core dumps to 0: a SIGABRT that the Reaper sends must fill no disk.

    Raises:
        OSError: the process has exited, or runs as another user.
    """
    import resource

    resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))


def name_process(name: str) -> None:
    """Set the name that `ps -o comm` shows. The kernel keeps 15 bytes of it (proc(5), comm).

    Raises:
        OSError: /proc can't be written to.
    """
    with open("/proc/self/comm", "w") as comm:
        comm.write(name)
