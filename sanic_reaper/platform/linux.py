"""Linux: pidfds, prctl and signals, and what `linux_proc` reads in /proc.

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
    """A pidfd (Linux 5.3): readable once the process is a zombie, and never another process's."""
    if "pidfd" in WITHOUT or not hasattr(os, "pidfd_open"):
        raise OSError(errno.ENOSYS, "no pidfd on this system")
    return os.pidfd_open(pid)


def send(pid: int, fd: int | None, signum: int) -> None:
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
    """Call a function by what `ctypes` itself is made of: 120 KB less in each worker.

    Returns:
        `None` where this Python's `_ctypes` is another than that of CPython 3.10 to 3.13: it is
        private. It also tells no `errno`, so a failure has to be repeated to be understood.
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

    It is not retroactive: a parent that died before sends nothing, so arm first and then look. A
    fork clears it, and so does a change of credentials (prctl(2), PR_SET_PDEATHSIG).
    """
    _prctl(_PR_SET_PDEATHSIG, signum)


def check_parent_death_signal() -> None:
    """Find out whether this process may ask for such a signal, without changing what it has asked.

    Raises:
        OSError: it may not, or the kernel has none.
    """
    asked = bytes(bytearray(4))  # the kernel writes into it: not one that others may share
    result = _call_in_libc("prctl", _PR_GET_PDEATHSIG, asked)
    if result == 0 or "prctl" in WITHOUT:
        parent_death_signal(int.from_bytes(asked, sys.byteorder))
    elif result is not None:
        raise OSError(errno.EPERM, "prctl is denied")


def early_death_signal(parent: int, signum: int) -> str:
    """Python that arms the signal of `parent_death_signal`, and ends where it has come too late.

    For the command line of an interpreter: so no module of ours, which may not be on its path yet,
    but `_ctypes`, which `_call_in_libc` would load later in any case.
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
    """Descendants whose parent dies become children of this process (PR_SET_CHILD_SUBREAPER)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def become_no_subreaper() -> None:
    """They become children of whoever would adopt them without this process."""
    try:
        _prctl(_PR_SET_CHILD_SUBREAPER, 0)
    except OSError:
        pass  # it never was one


def next_signal(signums: Iterable[int], seconds: float | None) -> Arrival | None:
    """sigtimedwait(2): a blocked signal is kept until it is asked for, also for PID 1, and also one
    that is ignored (`sig_ignored`, kernel/signal.c)."""
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
    """Have the kernel send `signum` when the last writer of the pipe `fd` is gone (or writes).

    Needs no thread and no GIL: the pipe's own SIGIO (`O_ASYNC`) under another number (`F_SETSIG`).
    It belongs to the open file, so for as long as any process has that.

    Args:
        pid: to whom. 0: to this process.
    """
    import fcntl

    fcntl.fcntl(fd, fcntl.F_SETOWN, pid or os.getpid())
    fcntl.fcntl(fd, fcntl.F_SETSIG, signum)
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)


def give_back_memory() -> None:
    """Return to the kernel what `free` has only put aside: glibc's malloc_trim(3), else nothing."""
    _call_in_libc("malloc_trim", 0)


def forbid_core_dump(pid: int) -> None:
    import resource

    resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))


def name_process(name: str) -> None:
    """The kernel cuts it after 15 bytes (proc(5), comm)."""
    with open("/proc/self/comm", "w") as comm:
        comm.write(name)
