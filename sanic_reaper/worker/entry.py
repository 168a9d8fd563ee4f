"""Sets up a process that main starts, before the process's own work begins.

`enter` runs first in that process. Under spawn, only the import of the user's main module comes
before it. What `enter` sets up must hold in every later state of the process. So it relies on the
kernel where possible, and never on the event loop.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, TypeVar

from .. import marks
from ..compat import sanic_requests, sanic_server
from ..log import log
from ..model.roles import INSPECTOR, WORKER
from ..tree import birthmark
from ..tree.process import start_of
from . import hooks, starts
from .guard import TERMINAL_SIGNALS, arm, main_lives
from .in_flight import InFlight
from .reports import Reports
from .startup import Startup
from .stopping import ProcessStop, ServerStop, ignore_signal
from .summary import worker

T = TypeVar("T")

INSPECTOR_STOP_TIMEOUT = 1.0
"""Seconds that the Inspector gets to stop. It has nothing to finish. Under fork it also runs the
app's listeners, and then Sanic's `shutdown_tasks` never returns (app.py:1903: a float that never
becomes exactly 0)."""


class ProcessConfig(NamedTuple):
    """What main tells a process that it starts. Pickled under spawn and forkserver.

    Main can come from an earlier release than this process (`protocol/worker.py`): a later release
    adds fields at the end alone, each with a default.
    """

    role: str
    """`worker`, or `process` for any other one."""
    main_pid: int
    """Pid of the main process."""
    main_start: int
    """Creation time of the main process, as the kernel gives it."""
    pdeathsig: int
    """Number of the signal that the kernel sends to this process when main dies. 0: none."""
    orphan_grace: float
    """Seconds that this process gets to stop after main has died."""
    ignored_signals: tuple[int, ...]
    """Stop signals that main handles for this process, which ignores them."""
    import_variables: tuple[str, ...]
    """Environment variables that were set for the import of the main module only."""
    report_pipe: Connection | None
    """The pipe through which a worker reports to main. `None`: this process is no worker."""
    handler_timeout: float
    """Limit in seconds of a start handler that has none of its own. 0: no limit."""
    heartbeat_interval: float
    """Seconds between two heartbeats of the event loop. 0: no heartbeats are sent."""
    started_at: float
    """Monotonic time at which main started this process."""
    environment: dict[str, str]
    """Environment variables to set. Under forkserver the environment is that of the fork server,
    which lacks the worker's name."""
    endpoint: str
    """Prefix of the paths on which a worker answers for the whole server. "": there are none."""
    state_directory: str
    """Directory in which main writes the state of the server. "": there is none."""
    run_id: str
    """Id of the server's run."""
    shows_paths: bool = True
    """Whether the path of a request in flight is shown (`REAPER_REQUEST_PATHS`)."""
    slow_request: float = 0.0
    """Seconds after which a request that is still in flight is reported. 0: never."""
    question_pipe: Connection | None = None
    """The pipe in which main says what its next question is for. `None`: for a stack alone."""


def enter(config: ProcessConfig, arguments: dict[str, Any]) -> Callable[[], None]:
    """Tie this process to main, and set up its stop signals.

    Must run in the main thread of the new process. Exits with code 0 if main has died meanwhile.

    Args:
        config: what main tells this process.
        arguments: the arguments of the process's target. A worker's request counter is added.

    Returns:
        A function to be called when the target has returned and the interpreter begins to exit.
    """
    os.environ.update(config.environment)
    for name in config.import_variables:
        os.environ.pop(name, None)
    os.environ[marks.OWNER] = f"{os.getpid()}:{start_of(os.getpid())}"
    birthmark.take()
    stop = _stop_for(config)
    for signum in config.ignored_signals:
        if signum != config.pdeathsig and signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, ignore_signal)
    stop.install()
    arm(config.main_pid, stop.first_pdeathsig)
    if not main_lives(config.main_pid, config.main_start):
        os._exit(0)  # main died before the kernel was asked for a signal
    _show_stack_on_abort()
    if config.report_pipe is not None:
        connections = _attempt("find its requests", sanic_requests.share_connections, arguments)
        in_flight = InFlight(connections or [], config.shows_paths)
        stop.start, reports = _report_to_main(config.report_pipe, config, in_flight)
        stop.start.has_signals = stop.has_signals
        hooks.instrument()
        if config.heartbeat_interval:
            counted = _attempt("count requests", sanic_server.count_requests, arguments)
            stop.on_loop.append(partial(reports.beat, counted or {}, config.heartbeat_interval))
        if config.slow_request:
            _attempt("watch slow requests", _watch_requests, stop, in_flight, reports, config)
    if config.endpoint:
        _attempt("answer at REAPER_ENDPOINT", _install_endpoint, config)
    # Also the signals that a launcher may have blocked.
    unblocked = {signal.SIGTERM, signal.SIGCONT, signal.SIGALRM, signal.SIGABRT}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TERMINAL_SIGNALS | unblocked)
    return stop.on_exit


def _attempt(what: str, function: Callable[..., T], *arguments: object) -> T | None:
    """Call a function that the worker can do without. A failure is logged, and `None` returned."""
    try:
        return function(*arguments)
    except Exception as error:
        log.warning("%s [%d] cannot %s: %r", *worker(), what, error)
        return None


def _watch_requests(
    stop: ProcessStop, in_flight: InFlight, reports: Reports, config: ProcessConfig
) -> None:
    from .slow_requests import SlowRequests  # most servers have no such limit

    stop.on_loop.append(SlowRequests(in_flight, config.slow_request, reports.send).check)


def _install_endpoint(config: ProcessConfig) -> None:
    from .endpoint import install  # most servers have none

    install(config.endpoint, config.state_directory, config.run_id)


def _report_to_main(
    connection: Connection, config: ProcessConfig, in_flight: InFlight
) -> tuple[Startup, Reports]:
    start = Startup(config.handler_timeout, config.started_at)
    reports = Reports(connection, start.where, in_flight, config.question_pipe)
    start.send = reports.send
    starts.take_over(start)
    _attempt("say why its app fails to load", sanic_server.on_early_end, start.fail_early)
    return start, reports


def _show_stack_on_abort() -> None:
    """Have SIGABRT print the Python stack of every thread, even if C code holds the GIL."""
    if not faulthandler.is_enabled() and sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError, RuntimeError, AttributeError):
            faulthandler.enable()


def _stop_for(config: ProcessConfig) -> ProcessStop:
    """The way in which this process handles its stop signals.

    An Inspector stops like a worker. Sanic would log a KeyboardInterrupt in it as a failure.
    """
    if config.role == WORKER:
        return ServerStop(config)
    if config.environment.get("SANIC_WORKER_NAME", "").startswith(INSPECTOR):
        return ServerStop(config, INSPECTOR_STOP_TIMEOUT)
    from .helper_stop import HelperStop  # a worker has no use for it

    return HelperStop(config)
