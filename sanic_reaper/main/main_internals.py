"""What main alone touches inside Sanic and `multiprocessing`, with the versions of `internals`."""

from __future__ import annotations

import atexit
import logging
import math
import multiprocessing
import multiprocessing.process
import multiprocessing.resource_tracker
import multiprocessing.spawn
import multiprocessing.util
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from sanic import Sanic
from sanic.http.constants import HTTP
from sanic.log import error_logger

from .. import platform
from ..internals import App
from ..platform import mark_of
from ..tree.process import UNKNOWN, answers

if TYPE_CHECKING:
    from ..platform.base import Identity


def substitute_worker_manager(factory: Callable[..., Any]) -> Callable[..., Any]:
    """`StartupMixin.serve` constructs the global `WorkerManager`, after `main_process_start`.

    Returns:
        What it would have constructed.
    """
    startup = vars(sys.modules["sanic.mixins.startup"])
    replaced: Callable[..., Any] = startup["WorkerManager"]
    startup["WorkerManager"] = factory
    return replaced


def app_being_served() -> App | None:
    """In a call that `Sanic.serve` makes: its primary app, known to a local variable only."""
    frame = _frame_of_serve(sys._getframe())
    return None if frame is None else frame.f_locals.get("primary")


def routes_under(app: App, prefix: str) -> list[str]:
    """The paths of an app's routes that begin with another one."""
    paths = ["/" + route.path.lstrip("/") for route in app.router.routes]
    return [path for path in paths if f"{path}/".startswith(f"{prefix}/")]


def address(app: App) -> str:
    """Where the server listens, as far as the app was told: for people to read."""
    info = app.state.server_info[0].settings if app.state.server_info else {}
    if info.get("unix"):
        return f"unix:{info['unix']}"
    return f"{info.get('host') or app.state.host}:{info.get('port') or app.state.port}"


def addresses() -> list[tuple[str, int]]:
    """Where sockets are to be bound that are not yet: as `serve` will, a moment after this."""
    found = []
    for app in Sanic._app_registry.values():
        for info in app.state.server_info:
            settings = info.settings
            bound = settings.get("sock") or settings.get("unix")
            if not bound and settings.get("version") is not HTTP.VERSION_3 and settings.get("port"):
                found.append((settings.get("host") or "127.0.0.1", settings["port"]))
    return found


def threshold() -> float | None:
    """Seconds that a worker may take to its ack by Sanic's own limit, in tenths of which
    `WorkerManager.THRESHOLD` counts. `None`: nobody has changed it.
    """
    manager = vars(sys.modules["sanic.worker.manager"])["WorkerManager"]
    tenths = getattr(manager, "THRESHOLD", _DEFAULT_THRESHOLD)
    is_number = isinstance(tenths, (int, float)) and not isinstance(tenths, bool)
    if not is_number or tenths == _DEFAULT_THRESHOLD:
        return None
    try:
        return float(tenths) / 10
    except OverflowError:
        return math.inf


_DEFAULT_THRESHOLD = 300


def reloads() -> bool:
    """Whether files are watched, and workers started again when one changes."""
    return any(app.state.auto_reload for app in Sanic._app_registry.values())


def age_of_a_complaint() -> float:
    """Seconds that sanic-ext's HealthMonitor looks back when it asks for a restart."""
    module: Any = sys.modules.get("sanic_ext.extensions.health.monitor")
    if module is None:
        return 0.0
    monitor = module.HealthMonitor
    return float(monitor.MISSED_THRESHHOLD + monitor.REPORT_INTERVAL)


def leave_serve(code: int) -> NoReturn:
    """Have `serve`, which calls us, clean up and end the process with an exit code of our own.

    It knows one, 1, and reports every exception on its way out: that one line is left out.

    Raises:
        SystemExit: always.
    """

    def pass_by(record: logging.LogRecord) -> bool:
        error_logger.removeFilter(pass_by)
        return False

    error_logger.addFilter(pass_by)
    have_no_states()
    raise SystemExit(code)


def have_no_states() -> None:
    """Have `serve` find no worker's state at its end, this once, without asking the SyncManager.

    It asks for each worker's state, up to ten seconds long. The workers have ended by then, and so
    has the SyncManager: 24.12 does not expect that, and its BrokenPipeError would hide why the
    server has ended. Where no worker has been started 24.12 also takes its own first note for a
    worker's, and fails.
    """
    owner: Any = next(cls for cls in Sanic.__mro__ if "_get_process_states" in vars(cls))
    original = vars(owner)["_get_process_states"]
    if hasattr(original, "reaper_replaces"):
        return

    class Replacement(staticmethod):  # type: ignore[type-arg]
        reaper_replaces = original

    def none(worker_state: Any) -> list[Any]:
        owner._get_process_states = original
        return []

    owner._get_process_states = Replacement(none)


def managers() -> list[tuple[int, str]]:
    """The children of this process that `multiprocessing` started and that are no workers.

    Each SyncManager is one.
    """
    return [
        (child.pid, child.name)
        for child in list(multiprocessing.process._children)  # type: ignore[attr-defined]
        if child._popen is not None
        and child._popen.returncode is None  # or the pid may be another process's by now
        and not hasattr(child, "reaper_role")
    ]


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
    children = list(multiprocessing.process._children)  # type: ignore[attr-defined]
    services = [*resource_tracker(), *fork_server()]
    return {child.pid for child in children} | {pid for pid, _ in services}


def _frame_of_serve(frame: FrameType | None) -> FrameType | None:
    function: Any = Sanic.serve.__func__  # type: ignore[attr-defined]
    serve = getattr(function, "reaper_original", function).__code__
    while frame is not None and frame.f_code is not serve:
        frame = frame.f_back
    return frame


def at_exit(function: Callable[[], None]) -> None:
    """Have a function called when the interpreter begins to exit, before it joins the threads.

    `atexit` would call it after that, when a thread that does not end has stopped everything.
    """
    register = getattr(threading, "_register_atexit", None) or atexit.register
    register(function)


def resource_tracker() -> list[tuple[int, str]]:
    """What `multiprocessing` runs for itself, and what it is called: it ends when the last process
    that uses it has."""
    pid = getattr(multiprocessing.resource_tracker._resource_tracker, "_pid", None)
    return [(pid, "resource tracker")] if pid else []


def fork_server() -> list[tuple[int, str]]:
    """The same of the process that forks the workers, under that start method."""
    module = sys.modules.get("multiprocessing.forkserver")
    pid = None if module is None else getattr(module._forkserver, "_forkserver_pid", None)
    return [(pid, "fork server")] if pid else []


def do_not_wait_for_tracker() -> None:
    """For the interpreter's exit: have it not wait for the resource tracker.

    The tracker exits when nobody has its pipe any more. CPython 3.12.10 to 3.13.14 waits for that
    without a limit in `ResourceTracker.__del__`, and later releases for a second (gh-146313): a
    SyncManager that main could not shut down would hold main up until the watchdog kills it.
    """
    tracker = type(multiprocessing.resource_tracker._resource_tracker)
    if "__del__" in vars(tracker):
        del tracker.__del__  # type: ignore[attr-defined,unused-ignore]


def ensure_temporary_directory() -> None:
    """Make the directory for sockets now: a `Process` made later is told where it is.

    Else main, where the fork server listens, and the SyncManager would each have their own, and the
    one that survives a SIGKILL of main could remove only its own.
    """
    multiprocessing.util.get_temp_dir()


@contextmanager
def _changing(name: str, change: Callable[[Any], Any]) -> Iterator[None]:
    """In this, what a function of `multiprocessing.spawn` returns to this thread is changed.

    Both ways to launch look such functions up in their module. Classes of ours instead of theirs
    would have to repeat all of their `_launch`, which also writes what the process is to run.
    """
    spawn: Any = multiprocessing.spawn
    original, thread = getattr(spawn, name), threading.get_ident()

    def function(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        return change(result) if threading.get_ident() == thread else result

    setattr(spawn, name, function)
    try:
        yield
    finally:
        setattr(spawn, name, original)


def spawning_with(program: str) -> AbstractContextManager[None]:
    """In this, what this thread spawns runs a program before it learns what it is for.

    The command is `from multiprocessing.spawn import spawn_main; spawn_main(...)`, and still begins
    so: that is what `ps` shows.
    """

    def change(command: list[str]) -> list[str]:
        imported, separator, call = command[-2].partition("; ")  # a frozen program has neither
        if separator:
            command[-2] = f"{imported}\n{program}\n{call}"
        return command

    return _changing("get_command_line", change)


def main_module(method: str) -> tuple[str, ...]:
    """How a process that is started in this way would be told to find main's own module: the word
    for it, and the name or the path. Empty: not at all. A forked one has it already.
    """
    data = {} if method == "fork" else multiprocessing.spawn.get_preparation_data("")
    return next(((way, data[way]) for way in _WAYS if way in data), ())


_WAYS = ("init_main_from_name", "init_main_from_path")


def spawning_without_main() -> AbstractContextManager[None]:
    """In this, what this thread starts does not import main's own module."""
    return _changing(
        "get_preparation_data",
        lambda data: {key: value for key, value in data.items() if key not in _WAYS},
    )


def ensure_fork_server() -> None:
    """Start the fork server now, unless it runs: deaf to SIGTERM, and without main's own module.

    CPython 3.13.15, 3.14.8 and 3.15 import the main module in the fork server (gh-126631). There an
    import that hangs would hang main, which waits for its SyncManager, before any limit holds; and
    a reload would fork workers with the old code. What the user preloads by name stays.
    """
    from multiprocessing import forkserver

    wanted = getattr(forkserver._forkserver, "_preload_modules", [])
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
    global _tracker_mark
    tracker: Any = multiprocessing.resource_tracker._resource_tracker
    fd = getattr(tracker, "_fd", None)
    if fd is not None and _tracker_mark is not None and mark_of(fd) != _tracker_mark:
        tracker._fd = tracker._pid = None
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, signal.SIGQUIT})
    try:
        multiprocessing.resource_tracker.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    fd = getattr(tracker, "_fd", None)
    _tracker_mark = None if fd is None else mark_of(fd)


_tracker_mark: tuple[int, int] | None = None
"""What the descriptor of the resource tracker's pipe was when it was last seen."""
