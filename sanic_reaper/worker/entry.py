"""What happens in a process that main starts, before and around what it was started for.

`enter` is the first thing that runs there: before it, under spawn, only the import of the user's
main module. What it sets up must hold in every state that the process may be in later on, so it
relies on the kernel where it can and on the event loop nowhere.
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
from ..compat import sanic_server
from ..log import log
from ..model.roles import WORKER
from ..tree import birthmark
from ..tree.process import start_of
from . import hooks, starts
from .guard import TERMINAL_SIGNALS, arm, main_lives
from .reports import Reports
from .startup import Startup
from .stopping import ProcessStop, ServerStop, ignore

T = TypeVar("T")

_INSPECTOR_PATIENCE = 1.0
"""Seconds for the Inspector to stop. It has nothing to finish; under fork, where it runs the app's
listeners too, Sanic's `shutdown_tasks` never returns in it (app.py:1903, a float that misses 0)."""


class Orders(NamedTuple):
    """What main tells a process that it starts. Pickled under spawn and forkserver."""

    role: str
    main_pid: int
    main_start: int
    pdeathsig: int
    orphan_grace: float
    unheard: tuple[int, ...]
    """Stop signals that main handles, so that this process need not hear them."""
    forget: tuple[str, ...]
    """Variables that were for the import of the main module only."""
    report: Connection | None
    """Through it a worker tells main of its start."""
    handler_timeout: float
    beat_every: float
    """Seconds after which its event loop is to say that it turns. 0: nobody wants to know."""
    began: float
    """When main started it, on the monotonic clock that all processes share."""
    environment: dict[str, str]
    """Under forkserver the environment is the fork server's: App's worker name is not in it."""
    endpoint: str
    """The prefix of the paths under which a worker answers for the whole server. "": none."""
    directory: str
    """Where main leaves word of the server, "" for nowhere,"""
    run: str
    """and the id of its run."""


def enter(orders: Orders, arguments: dict[str, Any]) -> Callable[[], None]:
    """Make this process one that ends with main, and only when it is told to.

    Must run in the main thread of the new process.

    Args:
        arguments: of what it was started for; a worker's may be added to.

    Returns:
        What is to be called when that is done: the interpreter begins to exit.
    """
    os.environ.update(orders.environment)
    for name in orders.forget:
        os.environ.pop(name, None)
    os.environ[marks.OWNER] = f"{os.getpid()}:{start_of(os.getpid())}"
    birthmark.take()
    stop = _stop_for(orders)
    for signum in orders.unheard:
        if signum != orders.pdeathsig and signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, ignore)
    stop.install()
    arm(orders.main_pid, stop.first_pdeathsig)
    if not main_lives(orders.main_pid, orders.main_start):
        os._exit(0)  # it died before the kernel knew that we care
    _show_stack_on_abort()
    if orders.report is not None:
        stop.start, reports = _report_to_main(orders.report, orders)
        stop.start.has_signals = stop.has_signals
        hooks.instrument()
        if orders.beat_every:
            counted = _attempt("count requests", sanic_server.count_requests, arguments)
            stop.beat = partial(reports.beat, counted or {}, orders.beat_every)
    if orders.endpoint:
        _attempt("answer at REAPER_ENDPOINT", _install_endpoint, orders)
    # Those that a launcher may have blocked, too.
    heard = {signal.SIGTERM, signal.SIGCONT, signal.SIGALRM, signal.SIGABRT}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TERMINAL_SIGNALS | heard)
    return stop.leave


def _attempt(what: str, function: Callable[..., T], *arguments: object) -> T | None:
    """Do what a worker can do without. `None` if it fails, which is logged."""
    try:
        return function(*arguments)
    except Exception as error:
        log.warning("a worker cannot %s: %r", what, error)
        return None


def _install_endpoint(orders: Orders) -> None:
    from .endpoint import install  # most servers have none

    install(orders.endpoint, orders.directory, orders.run)


def _report_to_main(connection: Connection, orders: Orders) -> tuple[Startup, Reports]:
    start = Startup(orders.handler_timeout, orders.began)
    reports = Reports(connection, start.where)
    start.send = reports.send
    starts.take_over(start)
    _attempt("say why its app fails to load", sanic_server.on_early_end, start.fail_early)
    return start, reports


def _show_stack_on_abort() -> None:
    """SIGABRT prints every thread's Python stack, from C and whoever holds the GIL."""
    if not faulthandler.is_enabled() and sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError, RuntimeError, AttributeError):
            faulthandler.enable()


def _stop_for(orders: Orders) -> ProcessStop:
    """An Inspector is a server too: a KeyboardInterrupt in it would be logged as a failed one."""
    if orders.role == WORKER:
        return ServerStop(orders)
    if orders.environment.get("SANIC_WORKER_NAME", "").startswith("Sanic-Inspector"):
        return ServerStop(orders, _INSPECTOR_PATIENCE)
    from .helper_stop import HelperStop  # a worker has no use for it

    return HelperStop(orders)
