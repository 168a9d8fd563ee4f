"""Reads from /proc what Linux tells of processes.

Sources: proc(5); the kernel's Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import errno
import os
import time

from .base import SCARCE, WITHOUT, Row, is_hidden

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    T = TypeVar("T")


def _read(path: str, in_pieces: bool = False, at: int | None = None) -> bytes:
    """Read a small file below /proc, with three system calls and none of Python's buffers.

    Args:
        in_pieces: whether a read can return less than was asked for before the end of the file: the
            kernel writes a long list entry by entry, and never half an entry (seq_file).
        at: a descriptor of the directory that a relative path begins in.

    Raises:
        OSError: the file can't be opened or read.
    """
    where = {} if at is None else {"dir_fd": at}
    fd = _sparingly(os.open, path, os.O_RDONLY | os.O_CLOEXEC, **where)
    try:
        content = os.read(fd, 4096)
        while content and (in_pieces or len(content) % 4096 == 0):
            more = os.read(fd, 65536)
            if not more:
                break
            content += more
        return content
    finally:
        os.close(fd)


def _read_own_stat() -> bytes:
    """Read this process's `stat` file as other processes see it.

    An emulator (qemu-user) makes up some of a process's files for that process itself, with a
    creation time that can be wrong by a tick. It recognises the path, and not a descriptor. So the
    file is opened relative to a descriptor of /proc.
    """
    directory = _sparingly(os.open, "/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _read(f"{os.getpid()}/stat", at=directory)
    except OSError as error:
        if error.errno not in SCARCE:
            raise
    finally:
        os.close(directory)
    # /proc took the last free descriptor. The plain path needs one descriptor only.
    return _read(f"/proc/{os.getpid()}/stat")


def keep_reserve() -> None:
    """Keep one descriptor in reserve: /proc can then be read when no other descriptor is free."""
    try:
        _reserve.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        pass


_reserve: list[int] = []


def _sparingly(call: Callable[..., T], *arguments: object, **options: object) -> T:
    """Call a function that needs a descriptor. If none is free, give up the reserve for it.

    Raises:
        OSError: as the function.
    """
    try:
        return call(*arguments, **options)
    except OSError as error:
        if error.errno != errno.EMFILE or not _reserve:
            raise
    os.close(_reserve.pop())
    return call(*arguments, **options)


def _raise_if_scarce(error: OSError) -> None:
    """Tell a process that has exited, or is hidden, from a reader without descriptors.

    Raises:
        OSError: descriptors or memory are used up. A caller that took this for an exit would forget
            a process.
    """
    if error.errno in SCARCE:
        raise error


def row(pid: int) -> Row | None:
    try:
        return _row(pid)
    except OSError:
        return None


def _row(pid: int) -> Row | None:
    if is_hidden(pid):
        return None
    try:
        stat = _read_own_stat() if pid == os.getpid() else _read(f"/proc/{pid}/stat")
    except OSError as error:
        _raise_if_scarce(error)
        return None
    # The name can contain blanks and parentheses: the last parenthesis closes it (proc(5)).
    opening, closing = stat.find(b"("), stat.rfind(b")")
    if closing < 0:
        return None
    name = stat[opening + 1 : closing].decode("utf-8", "replace")
    field = stat[closing + 2 :].split()
    state = field[0].decode()
    if state == "Z" and int(field[17]) > 1:
        state = "S"  # only its first thread has exited: the process runs on, and can't be reaped
    return Row(pid, int(field[1]), int(field[19]), state, name)


def table() -> dict[int, Row]:
    rows = {}
    for entry in _sparingly(os.listdir, "/proc"):
        if entry.isdigit():
            found = _row(int(entry))
            if found is not None:
                rows[found.pid] = found
    return rows


def subtree(roots: Iterable[int]) -> dict[int, Row] | None:
    """Read the roots and their descendants, by the kernel's lists of children.

    A list can miss a child while its siblings come and go (proc(5)). So this is good enough to
    watch a server. Whoever decides that no process is left must read the whole table.

    Returns:
        The rows by pid. `None`: the kernel was built without CONFIG_PROC_CHILDREN.

    Raises:
        OSError: no descriptor is free.
    """
    if "children" in WITHOUT or not _has_children_files:
        return None
    rows: dict[int, Row] = {}
    pending = list(roots)
    while pending:
        pid = pending.pop()
        if pid in rows:
            continue
        found = _row(pid)
        if found is None:
            continue
        rows[pid] = found
        if found.alive:
            pending.extend(_children(pid))
    return rows


def children(pid: int) -> list[int] | None:
    """List the pids of a process's children, zombies included, as the kernel has them.

    Returns:
        The pids. `None`: the kernel was built without CONFIG_PROC_CHILDREN.

    Raises:
        OSError: no descriptor is free.
    """
    if "children" in WITHOUT or not _has_children_files:
        return None
    return _children(pid)


def _children(pid: int) -> list[int]:
    """Join the lists of all threads: each has the children that it has forked (proc(5))."""
    found: list[int] = []
    try:
        threads = _sparingly(os.listdir, f"/proc/{pid}/task")
    except OSError as error:
        _raise_if_scarce(error)
        return found
    for thread in threads:
        try:
            children = _read(f"/proc/{pid}/task/{thread}/children", in_pieces=True)
        except OSError as error:  # perhaps only the thread has exited
            _raise_if_scarce(error)
        else:
            found.extend(map(int, children.split()))
    return found


_has_children_files = os.path.exists(f"/proc/self/task/{os.getpid()}/children")


def environ(pid: int) -> bytes:
    """The environment with which a process was *executed*, without its changes since then."""
    try:
        return _read(f"/proc/{pid}/environ")
    except OSError as error:
        _raise_if_scarce(error)
        return b""


def command(pid: int) -> list[bytes]:
    """The arguments with which a process was executed."""
    try:
        return _read(f"/proc/{pid}/cmdline").split(b"\0")[:-1]
    except OSError as error:
        _raise_if_scarce(error)
        return []


def channel(pid: int, fd: int) -> str:
    """The kind of a process's descriptor: `pipe`, `socket`, or "" for any other, and for none."""
    try:
        kind = os.readlink(f"/proc/{pid}/fd/{fd}").partition(":")[0]
    except OSError:
        return ""
    return kind if kind in ("pipe", "socket") else ""


def is_exiting(pid: int) -> bool:
    """Whether a process has begun to exit, and releases its memory and its descriptors.

    The kernel sets PF_EXITING (include/linux/sched.h) in field 9 of the `stat` file (proc(5)).
    """
    try:
        return bool(int(_read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[6]) & 0x4)
    except (OSError, IndexError):
        return False


def uid(pid: int) -> int | None:
    """The user that a process runs as. `None`: the process has been reaped, or is hidden."""
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None


def ignored_signals(pid: int) -> int:
    """The signals that a process ignores: bit N - 1 for signal N. 0 if unknown.

    `SigIgn` of /proc/PID/status (proc(5)). The kernel keeps it until the process is reaped.
    """
    return _signals(pid, b"\nSigIgn:")


def caught_signals(pid: int) -> int:
    """The signals that a process has handlers for: bit N - 1 for signal N. 0 if unknown.

    `SigCgt` of /proc/PID/status (proc(5)).
    """
    return _signals(pid, b"\nSigCgt:")


def _signals(pid: int, heading: bytes) -> int:
    if is_hidden(pid):
        return 0
    try:
        _, found, rest = _read(f"/proc/{pid}/status").partition(heading)
    except OSError as error:
        _raise_if_scarce(error)
        return 0
    return int(rest.split(None, 1)[0], 16) if found else 0


def resident(pid: int) -> int:
    """Resident memory of a process in bytes: the second field of statm (proc(5)). 0: unknown."""
    try:
        return int(_read(f"/proc/{pid}/statm").split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def cpu_seconds(pid: int) -> float:
    """The user and system time of a process in seconds, without that of its children. 0 if unknown.

    Read from the CPU clock of the process, which counts nanoseconds. The clock's number is made as
    in include/linux/posix-timers_types.h (CPUCLOCK_SCHED, for a whole process). /proc counts in
    hundredths of a second, which is too coarse to judge the last tenth of a second.
    """
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except (OSError, OverflowError):
        pass  # the process has been reaped, or the kernel has no such clock
    try:
        field = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        return (int(field[11]) + int(field[12])) / _TICKS
    except (OSError, IndexError):
        return 0.0


def age(start: int) -> float:
    """Seconds since a creation time, which is in clock ticks since the boot. 0 if unknown."""
    try:
        return max(0.0, float(_read("/proc/uptime").split()[0]) - start / _TICKS)
    except (OSError, IndexError):
        return 0.0


_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def oom_kills() -> int | None:
    """How many processes of this process's cgroup the kernel's OOM killer has killed so far.

    `oom_kill` of memory.events (cgroup v2) or of memory.oom_control (v1): see the kernel's
    Documentation/admin-guide/cgroup-v2.rst.

    Returns:
        The number. `None`: unknown.
    """
    try:
        for line in _read("/proc/self/cgroup").decode().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                file = f"/sys/fs/cgroup{path}/memory.events"
            elif controllers == "memory":
                file = f"/sys/fs/cgroup/memory{path}/memory.oom_control"
            else:
                continue
            for field in _read(file).splitlines():
                if field.startswith(b"oom_kill "):
                    return int(field.split()[1])
    except (OSError, ValueError):
        pass
    return None
