"""The backend for any system that psutil supports: the process table by polling, signals by pid.

Assumes no help of the kernel. A caller compares the creation time immediately before it sends a
signal. That leaves a window of microseconds, which only pidfds close.
"""

from __future__ import annotations

import errno
import os
import signal
import time

import psutil

from .base import Arrival, Row, is_hidden

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import NoReturn

SUPPORTED = os.name == "posix"
NEEDS_SITE_PACKAGES = True

_STATES = {psutil.STATUS_ZOMBIE: "Z", psutil.STATUS_DEAD: "X", psutil.STATUS_STOPPED: "T"}


def row(pid: int) -> Row | None:
    try:
        return _row(psutil.Process(pid))
    except psutil.Error:
        return None


def _row(process: psutil.Process) -> Row | None:
    try:
        if is_hidden(process.pid):
            raise psutil.AccessDenied(process.pid)
        with process.oneshot():
            return Row(
                process.pid,
                process.ppid(),
                # In hundredths of a second, as Linux counts: coarse enough for two processes that
                # ask psutil to get the same answer.
                round(process.create_time() * 100),
                _STATES.get(process.status(), "S"),
                process.name(),
            )
    except psutil.Error:
        return None


def table() -> dict[int, Row]:
    rows = (_row(process) for process in psutil.process_iter())
    return {found.pid: found for found in rows if found is not None}


def children(pid: int) -> list[int] | None:
    return None


def subtree(roots: Iterable[int]) -> dict[int, Row] | None:
    return None


def keep_reserve() -> None:
    """Does nothing: one descriptor is too few for psutil, which opens several files at a time."""


def environ(pid: int) -> bytes:
    try:
        variables = psutil.Process(pid).environ()
    except (psutil.Error, OSError):
        return b""
    return b"\0".join(f"{key}={value}".encode() for key, value in variables.items())


def command(pid: int) -> list[bytes]:
    try:
        return [word.encode() for word in psutil.Process(pid).cmdline()]
    except (psutil.Error, OSError):
        return []


def channel(pid: int, fd: int) -> str:
    return "?"


def is_exiting(pid: int) -> bool:
    return False


def uid(pid: int) -> int | None:
    try:
        return psutil.Process(pid).uids().effective
    except psutil.Error:
        return None


def ignored_signals(pid: int) -> int:
    return 0


def caught_signals(pid: int) -> int:
    return 0


def _absent(what: str) -> NoReturn:
    raise OSError(errno.ENOSYS, f"no {what} on this system")


def exit_fd(pid: int) -> int:
    _absent("descriptor for a process")


def send(pid: int, fd: int | None, signum: int) -> None:
    os.kill(pid, signum)


def parent_death_signal(signum: int) -> None:
    _absent("parent death signal")


def check_parent_death_signal() -> None:
    _absent("parent death signal")


def early_death_signal(parent: int, signum: int) -> str:
    return ""


def become_subreaper() -> None:
    _absent("subreaper")


def become_no_subreaper() -> None:
    pass


def next_signal(signums: Iterable[int], seconds: float | None) -> Arrival | None:
    """Take the next of these signals by polling: not every system has sigtimedwait(2).

    Returns:
        The signal, without its sender. `None`: no signal has come in time.
    """
    wanted = set(signums)
    deadline = None if seconds is None else time.monotonic() + seconds
    while not (pending := signal.sigpending() & wanted):
        if deadline is not None and time.monotonic() >= deadline:
            return None
        time.sleep(_POLL)
    return Arrival(int(signal.sigwait(pending)), None, 0)


_POLL = 0.02
"""Seconds between two checks for a signal."""


def reader_signal(fd: int, signum: int, pid: int = 0) -> None:
    _absent("signal from a pipe")


def resident(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def cpu_seconds(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)
    except psutil.Error:
        return 0.0


def age(start: int) -> float:
    return max(0.0, time.time() - start / 100)


def oom_kills() -> int | None:
    return None


def give_back_memory() -> None:
    """Does nothing: only glibc offers this."""


def forbid_core_dump(pid: int) -> None:
    """Does nothing: only Linux can set another process's limits (prlimit(2))."""


def name_process(name: str) -> None:
    """Does nothing: only Linux lets a process set its name through a file."""
