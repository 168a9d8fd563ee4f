"""The helpers that `multiprocessing` starts for itself, and its list of child processes.

Used by the main process only. A worker never loads this module.
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
    """Pid and name of each child of `multiprocessing` that is not ours: the SyncManagers."""
    return [
        (child.pid, child.name)
        for child in _children()
        if child.pid is not None and _is_running(child) and not hasattr(child, "reaper_role")
    ]


def _is_running(child: Any) -> bool:
    """Whether the child has not been reaped. After that, its pid can be another process's."""
    if not hasattr(child, "_popen"):
        return bool(child.is_alive())  # public, but it reaps the child
    return child._popen is not None and child._popen.returncode is None


def _children() -> list[Any]:
    """The processes that `multiprocessing` has started here and not joined."""
    found = getattr(multiprocessing.process, "_children", None)
    # The public function has the same children, but reaps those that have exited.
    return list(multiprocessing.active_children() if found is None else found)


def identity_of(pid: int) -> Identity | None:
    """The identity of a helper of which `multiprocessing` knows only the pid.

    Returns:
        `None` if no process has the pid, or a stranger has it: code in main may have reaped the
        helper without the knowledge of `multiprocessing`.
    """
    row = platform.row(pid)
    if row is None:
        return (pid, UNKNOWN) if answers(pid) else None
    parents = {os.getpid(), *(server for server, _ in fork_server())}
    return row.identity if row.ppid in parents else None


def multiprocessing_children() -> set[int]:
    """Every pid that `multiprocessing` in this process can wait for."""
    children = _children()
    services = [*resource_tracker(), *fork_server()]
    return {child.pid for child in children} | {pid for pid, _ in services}


def at_exit(function: Callable[[], None]) -> None:
    """Have a function called when the interpreter begins to exit, before it joins the threads.

    `atexit` would call it after that. A thread that does not end would prevent the call.
    """
    register = getattr(threading, "_register_atexit", None) or atexit.register
    register(function)


def resource_tracker() -> list[tuple[int, str]]:
    """Pid and name of the resource tracker, if it runs. It exits after the last process that uses
    it."""
    tracker = getattr(multiprocessing.resource_tracker, "_resource_tracker", None)
    pid = getattr(tracker, "_pid", _tracker_pid)
    return [(pid, "resource tracker")] if pid else []


def fork_server() -> list[tuple[int, str]]:
    """Pid and name of the fork server, if it runs."""
    module = sys.modules.get("multiprocessing.forkserver")
    pid = getattr(getattr(module, "_forkserver", None), "_forkserver_pid", None)
    return [(pid, "fork server")] if pid else []


def do_not_wait_for_tracker() -> None:
    """Keep the interpreter from waiting for the resource tracker when it exits.

    The tracker exits when no process has its pipe any more. CPython 3.12.10 to 3.13.14 waits for
    that without a limit in `ResourceTracker.__del__`, and later releases for a second (gh-146313).
    A SyncManager that main could not shut down would delay main until the watchdog kills it.
    """
    tracker: Any = type(getattr(multiprocessing.resource_tracker, "_resource_tracker", None))
    if "__del__" in vars(tracker):
        del tracker.__del__


def ensure_temporary_directory() -> None:
    """Create the directory of the sockets now, so that each `Process` created later inherits it.

    Otherwise main (where the fork server listens) and the SyncManager would each have a directory.
    After a SIGKILL of main the SyncManager could remove only its own.
    """
    make = getattr(multiprocessing.util, "get_temp_dir", None)
    if make is not None:
        make()


def ensure_fork_server() -> None:
    """Start the fork server now, unless it runs. It ignores SIGTERM and does not import the app.

    CPython 3.13.15, 3.14.8 and 3.15 import the main module in the fork server (gh-126631). If that
    import hung, main would wait for its SyncManager before any limit holds. And after a reload,
    workers would be forked with the old code. Modules that the user preloads by name stay.
    """
    from multiprocessing import forkserver

    wanted = getattr(getattr(forkserver, "_forkserver", None), "_preload_modules", [])
    modules = [name for name in wanted if name not in ("__main__", FORK_SERVER_GUARD)]
    forkserver.set_forkserver_preload([FORK_SERVER_GUARD, *modules])
    forkserver.ensure_running()


FORK_SERVER_GUARD = "sanic_reaper.main.fork_server"
"""The module that makes the fork server ignore SIGTERM: the fork server preloads it."""


def ensure_resource_tracker() -> None:
    """Start the resource tracker now, with SIGHUP and SIGQUIT blocked.

    Its start unblocks the other stop signals in main, which must not happen during the start of
    another process. Without the block, a key in the terminal (Ctrl+\\) would leave a core dump of
    the tracker in the working directory, and a killed tracker does not clean /dev/shm.

    If code in main has closed the tracker's pipe (`os.closerange`), another tracker is started.
    CPython itself would close whatever has the pipe's number now, and wait for the tracker to exit.
    The tracker does not exit while another process has that pipe.
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
"""Pid of the resource tracker, if `multiprocessing` does not have it. `None`: not known."""

_tracker_mark: tuple[int, int] | None = None
"""Device and inode of the resource tracker's pipe when its descriptor was last seen."""
