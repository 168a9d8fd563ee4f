"""What Linux says of processes in /proc.

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
    """The whole of a small file below /proc, with three system calls and no buffer of Python's.

    Args:
        in_pieces: whether a read may return less than was asked for and than there is: the kernel
            writes a long list entry by entry, and never half of one (seq_file).
        at: a descriptor of the directory that the path begins in.
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
    """What others read in /proc of this process.

    An emulator (qemu-user) makes up some files of a process for that process itself, with a
    creation time that can be a tick off. It looks at the path, and not at a descriptor.
    """
    directory = _sparingly(os.open, "/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _read(f"{os.getpid()}/stat", at=directory)
    except OSError as error:
        if error.errno not in SCARCE:
            raise
    finally:
        os.close(directory)
    # That was the last descriptor of all, and one alone reads it as well.
    return _read(f"/proc/{os.getpid()}/stat")


def keep_reserve() -> None:
    """Keep a descriptor for the time when this process has no other: /proc can still be read."""
    try:
        _reserve.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        pass


_reserve: list[int] = []


def _sparingly(call: Callable[..., T], *arguments: object, **options: object) -> T:
    """Call what needs a descriptor, with the last one if need be."""
    try:
        return call(*arguments, **options)
    except OSError as error:
        if error.errno != errno.EMFILE or not _reserve:
            raise
    os.close(_reserve.pop())
    return call(*arguments, **options)


def _has_ended(error: OSError) -> None:
    """Nothing can be read of a process: it has ended, or is hidden from us.

    Raises:
        OSError: it is we who can't read. Whoever took that for an end would forget a process.
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
        _has_ended(error)
        return None
    # The name may itself hold blanks and parentheses: the last one closes it (proc(5)).
    opening, closing = stat.find(b"("), stat.rfind(b")")
    if closing < 0:
        return None
    name = stat[opening + 1 : closing].decode("utf-8", "replace")
    field = stat[closing + 2 :].split()
    state = field[0].decode()
    if state == "Z" and int(field[17]) > 1:
        state = "S"  # only its first thread has ended: it runs on, and can't be reaped
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
    """Walk down from `roots` through the kernel's lists of children.

    A list may miss a child while its siblings come and go (proc(5)), so this is for watching; what
    decides that nothing is left reads the whole table. Without CONFIG_PROC_CHILDREN there is none.
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
    """The kernel's own list of a process's children, zombies included."""
    if "children" in WITHOUT or not _has_children_files:
        return None
    return _children(pid)


def _children(pid: int) -> list[int]:
    """The kernel keeps one list per thread: a child belongs to the thread that forked it."""
    found: list[int] = []
    try:
        threads = _sparingly(os.listdir, f"/proc/{pid}/task")
    except OSError as error:
        _has_ended(error)
        return found
    for thread in threads:
        try:
            children = _read(f"/proc/{pid}/task/{thread}/children", in_pieces=True)
        except OSError as error:  # the thread alone, perhaps
            _has_ended(error)
        else:
            found.extend(map(int, children.split()))
    return found


_has_children_files = os.path.exists(f"/proc/self/task/{os.getpid()}/children")


def environ(pid: int) -> bytes:
    """The environment with which the process was *executed*, not what it has made of it since."""
    try:
        return _read(f"/proc/{pid}/environ")
    except OSError as error:
        _has_ended(error)
        return b""


def command(pid: int) -> list[bytes]:
    """The arguments with which the process was executed."""
    try:
        return _read(f"/proc/{pid}/cmdline").split(b"\0")[:-1]
    except OSError as error:
        _has_ended(error)
        return []


def channel(pid: int, fd: int) -> str:
    try:
        kind = os.readlink(f"/proc/{pid}/fd/{fd}").partition(":")[0]
    except OSError:
        return ""
    return kind if kind in ("pipe", "socket") else ""


def is_exiting(pid: int) -> bool:
    """Its memory and its descriptors are gone by then, or about to be: PF_EXITING in the flags of
    proc(5), field 9 (include/linux/sched.h)."""
    try:
        return bool(int(_read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[6]) & 0x4)
    except (OSError, IndexError):
        return False


def uid(pid: int) -> int | None:
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None


def ignored_signals(pid: int) -> int:
    """`SigIgn` of /proc/PID/status (proc(5)). The kernel keeps it until the process is reaped."""
    return _signals(pid, b"\nSigIgn:")


def caught_signals(pid: int) -> int:
    """`SigCgt` of /proc/PID/status (proc(5))."""
    return _signals(pid, b"\nSigCgt:")


def _signals(pid: int, heading: bytes) -> int:
    if is_hidden(pid):
        return 0
    try:
        _, found, rest = _read(f"/proc/{pid}/status").partition(heading)
    except OSError as error:
        _has_ended(error)
        return 0
    return int(rest.split(None, 1)[0], 16) if found else 0


def resident(pid: int) -> int:
    """Bytes of resident memory: the second field of statm, in pages (proc(5))."""
    try:
        return int(_read(f"/proc/{pid}/statm").split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def cpu_seconds(pid: int) -> float:
    """Its user and system time, with that of the children which it has waited for not among it.

    By its CPU clock, which counts nanoseconds; the number of that is made as in
    include/linux/posix-timers_types.h (CPUCLOCK_SCHED, for a whole process). /proc counts in
    hundredths, too coarse for a look at the last tenth of a second.
    """
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except (OSError, OverflowError):
        pass  # it has ended, or the kernel has no such clock
    try:
        field = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        return (int(field[11]) + int(field[12])) / _TICKS
    except (OSError, IndexError):
        return 0.0


def age(start: int) -> float:
    """Seconds since the creation time of a row, which counts ticks since the machine's boot."""
    try:
        return max(0.0, float(_read("/proc/uptime").split()[0]) - start / _TICKS)
    except (OSError, IndexError):
        return 0.0


_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def oom_kills() -> int | None:
    """How many processes of our cgroup the kernel's OOM killer has ended so far.

    `oom_kill` of memory.events (cgroup v2) or of memory.oom_control (v1): see the kernel's
    Documentation/admin-guide/cgroup-v2.rst.
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
