"""What the main process alone touches of the processes that `multiprocessing` runs for itself, and
of how it counts its children. A worker never loads this.
"""

from __future__ import annotations

import atexit
import multiprocessing
import multiprocessing.process
import multiprocessing.resource_tracker
import multiprocessing.util
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import platform
from ..platform import mark_of
from ..tree.process import UNKNOWN, answers, children_of

if TYPE_CHECKING:
    from ..platform.base import Identity


def managers() -> list[tuple[int, str]]:
    """The children of this process that `multiprocessing` started and that are no workers.

    Each SyncManager is one.
    """
    return [
        (child.pid, child.name)
        for child in _children()
        if child.pid is not None and _is_running(child) and not hasattr(child, "reaper_role")
    ]


def _is_running(child: Any) -> bool:
    """Whether nobody has asked for its exit status: its pid may be another process's after that."""
    if not hasattr(child, "_popen"):
        return bool(child.is_alive())  # what is public asks for it itself
    return child._popen is not None and child._popen.returncode is None


def _children() -> list[Any]:
    """What `multiprocessing` has started here and not joined."""
    found = getattr(multiprocessing.process, "_children", None)
    # What is public has the same children, and asks each of them for its exit status.
    return list(multiprocessing.active_children() if found is None else found)


def identity_of(pid: int) -> Identity | None:
    """The identity of a helper that `multiprocessing` knows by its pid alone.

    Returns:
        `None` where the pid belongs to nobody, or to a stranger: something in main may have reaped
        the helper, and `multiprocessing` would not know that.
    """
    row = platform.row(pid)
    if row is None:
        return (pid, UNKNOWN) if answers(pid) else None
    parents = {os.getpid(), *(server for server, _ in fork_server())}
    return row.identity if row.ppid in parents else None


def multiprocessing_children() -> set[int]:
    """Every pid that `multiprocessing` in this process may wait for."""
    children = _children()
    services = [*resource_tracker(), *fork_server()]
    return {child.pid for child in children} | {pid for pid, _ in services}


def at_exit(function: Callable[[], None]) -> None:
    """Have a function called when the interpreter begins to exit, before it joins the threads.

    `atexit` would call it after that, when a thread that does not end has stopped everything.
    """
    register = getattr(threading, "_register_atexit", None) or atexit.register
    register(function)


def resource_tracker() -> list[tuple[int, str]]:
    """What `multiprocessing` runs for itself, and what it is called: it ends when the last process
    that uses it has."""
    tracker = getattr(multiprocessing.resource_tracker, "_resource_tracker", None)
    pid = getattr(tracker, "_pid", _tracker_pid)
    return [(pid, "resource tracker")] if pid else []


def fork_server() -> list[tuple[int, str]]:
    """The same of the process that forks the workers, under that start method."""
    module = sys.modules.get("multiprocessing.forkserver")
    pid = getattr(getattr(module, "_forkserver", None), "_forkserver_pid", None)
    return [(pid, "fork server")] if pid else []


def do_not_wait_for_tracker() -> None:
    """For the interpreter's exit: have it not wait for the resource tracker.

    The tracker exits when nobody has its pipe any more. CPython 3.12.10 to 3.13.14 waits for that
    without a limit in `ResourceTracker.__del__`, and later releases for a second (gh-146313): a
    SyncManager that main could not shut down would hold main up until the watchdog kills it.
    """
    tracker: Any = type(getattr(multiprocessing.resource_tracker, "_resource_tracker", None))
    if "__del__" in vars(tracker):
        del tracker.__del__


def ensure_temporary_directory() -> None:
    """Make the directory for sockets now: a `Process` made later is told where it is.

    Else main, where the fork server listens, and the SyncManager would each have their own, and the
    one that survives a SIGKILL of main could remove only its own.
    """
    make = getattr(multiprocessing.util, "get_temp_dir", None)
    if make is not None:
        make()


def ensure_fork_server() -> None:
    """Start the fork server now, unless it runs: deaf to SIGTERM, and without main's own module.

    CPython 3.13.15, 3.14.8 and 3.15 import the main module in the fork server (gh-126631). There an
    import that hangs would hang main, which waits for its SyncManager, before any limit holds; and
    a reload would fork workers with the old code. What the user preloads by name stays.
    """
    from multiprocessing import forkserver

    wanted = getattr(getattr(forkserver, "_forkserver", None), "_preload_modules", [])
    modules = [name for name in wanted if name not in ("__main__", FORK_SERVER_GUARD)]
    forkserver.set_forkserver_preload([FORK_SERVER_GUARD, *modules])
    forkserver.ensure_running()


FORK_SERVER_GUARD = "sanic_reaper.main.fork_server"
"""What makes a fork server deaf to SIGTERM when it is imported there."""


def ensure_resource_tracker() -> None:
    """Start the resource tracker now, with SIGHUP and SIGQUIT blocked.

    It unblocks the other stop signals when it starts, which is not to happen in the midst of the
    start of another process. A key in the terminal (Ctrl+\\) would leave a core dump of it in the
    working directory; and one that is killed does not clean /dev/shm.

    Where somebody has closed its pipe (`os.closerange`), it is another one that is started. CPython
    would close whatever has the pipe's number, and wait for the tracker to exit: which it does not
    while another process has that pipe.
    """
    global _tracker_mark, _tracker_pid
    tracker: Any = getattr(multiprocessing.resource_tracker, "_resource_tracker", None)
    fd = getattr(tracker, "_fd", None)
    if fd is not None and _tracker_mark is not None and mark_of(fd) != _tracker_mark:
        tracker._fd = tracker._pid = None
    children = set() if hasattr(tracker, "_pid") else set(children_of(os.getpid()))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, signal.SIGQUIT})
    try:
        multiprocessing.resource_tracker.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if not hasattr(tracker, "_pid"):
        _tracker_pid = next((pid for pid, _ in children_of(os.getpid()) - children), _tracker_pid)
    fd = getattr(tracker, "_fd", None)
    _tracker_mark = None if fd is None else mark_of(fd)


_tracker_pid: int | None = None
"""The pid of the resource tracker, where `multiprocessing` does not tell."""

_tracker_mark: tuple[int, int] | None = None
"""What the descriptor of the resource tracker's pipe was when it was last seen."""
