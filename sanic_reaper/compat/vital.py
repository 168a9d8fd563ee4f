"""The vital contracts: without one of them workers cannot be supervised."""

from __future__ import annotations

import importlib
import multiprocessing

from .contracts import Contract
from .probes import (
    APP,
    MANAGER,
    PROCESS,
    RUNNERS,
    SERVE,
    STARTUP,
    accepts,
    find,
    has,
    is_found,
    stores,
    takes,
    uses,
)

_OVERRIDDEN = {
    "run": 1,
    "wait_for_ack": 1,
    "terminate": 1,
    "shutdown": 1,
    "shutdown_signal": 3,
    "kill": 1,
    "_poll_monitor": 1,
    "_sync_states": 1,
}
"""Methods of Sanic's manager that ours replaces, and how many parameters each has."""


def _members(path: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{path}.{name}" for name in names)


def _popen_module() -> str:
    method = multiprocessing.get_start_method(allow_none=True) or "spawn"
    known = {"spawn": "popen_spawn_posix", "fork": "popen_fork", "forkserver": "popen_forkserver"}
    return f"multiprocessing.{known[method]}"


def _names_of(path: str, *names: str) -> bool:
    """Whether an enumeration has members of these names."""
    return set(names) <= set(find(path).__members__)


VITAL = (
    Contract(
        "worker manager",
        "`Sanic.serve` makes the manager of its workers by calling `WorkerManager`, a global of "
        "its module.",
        (
            has(f"{STARTUP}:WorkerManager"),
            uses(SERVE, "WorkerManager", "run"),
            takes(f"{MANAGER}.__init__", "self", "number", "serve", "server_settings", "context"),
            uses(f"{MANAGER}.__init__", "transient", "restarter", "_serve"),
            stores(f"{MANAGER}.__init__", "self", "worker_state"),
            uses(f"{MANAGER}.__init__", "monitor_publisher", "monitor_subscriber"),
        ),
        "Sanic's own manager starts, restarts and stops the workers.",
        is_vital=True,
    ),
    Contract(
        "methods of the worker manager",
        "`WorkerManager` runs its workers by methods that a subclass can replace.",
        (
            *(takes(f"{MANAGER}.{name}", count=count) for name, count in _OVERRIDDEN.items()),
            has(f"{MANAGER}.start"),
            uses(f"{MANAGER}.monitor", "wait_for_ack", "_poll_monitor", "_sync_states"),
            uses(f"{MANAGER}.manage", "transient", "durable"),
            has(f"{MANAGER}.processes"),
        ),
        "a method of Sanic's would run where ours is expected.",
        is_vital=True,
    ),
    Contract(
        "worker processes",
        "`WorkerProcess` makes each process by its `factory`, the context's `Process`, and keeps "
        "it as `_current_process`.",
        (
            uses(f"{PROCESS}.spawn", "_current_process", "factory", "target"),
            accepts(f"{PROCESS}.set_state", "state", "force"),
            stores(f"{PROCESS}.set_state", "self", "state"),
            accepts(f"{PROCESS}.restart", "restart_order"),
            has(*_members(PROCESS, "start", "is_alive", "pid", "exitcode")),
            uses("sanic.worker.process:Worker.__init__", "processes", "serve", "name"),
            uses("sanic.worker.process:Worker.create_process", "context", "Process"),
        ),
        "the main process does not know which processes are workers.",
        is_vital=True,
    ),
    Contract(
        "words of the worker manager",
        "The states of a process, the orders of a restart and the results of a cycle have the "
        "names that are used here.",
        (
            is_found(
                "ProcessState has other members",
                lambda: _names_of(
                    "sanic.worker.constants:ProcessState",
                    *("ACKED", "TERMINATED", "RESTARTING", "COMPLETED", "FAILED"),
                ),
            ),
            is_found(
                "RestartOrder has other members",
                lambda: _names_of(
                    "sanic.worker.constants:RestartOrder", "SHUTDOWN_FIRST", "STARTUP_FIRST"
                ),
            ),
            has("sanic.worker.manager:MonitorCycle.CONTINUE", "sanic.exceptions:ServerKilled"),
            has("sanic.worker.restarter:Restarter"),
        ),
        "the manager cannot report the state of a worker.",
        is_vital=True,
    ),
    Contract(
        "processes of multiprocessing",
        "A `Process` starts by `_Popen`, has `_kwargs`, and is polled and signalled by a `Popen`.",
        (
            uses("multiprocessing.process:BaseProcess.__init__", "_kwargs", "_popen"),
            uses("multiprocessing.process:BaseProcess.start", "_Popen"),
            has(*(f"multiprocessing.context:{kind}Process._Popen" for kind in ("Spawn", "Fork"))),
            has("multiprocessing.context:ForkServerProcess._Popen"),
            takes("multiprocessing.popen_fork:Popen.poll", "self", "flag"),
            has("multiprocessing.popen_fork:Popen._send_signal"),
            lambda: importlib.import_module(_popen_module()).Popen,
        ),
        "a worker is not registered with the watchdog before it runs.",
        is_vital=True,
        seen="CPython 3.10 to 3.15",
    ),
    Contract(
        "events of the server",
        "`Sanic._server_event` runs the listeners of the start and the stop of a worker.",
        (
            takes(f"{APP}._server_event", "self", "concern", "action"),
            uses(f"{RUNNERS}:_serve_http_1", "_server_event"),
        ),
        "the main process is not told how far a worker's start is.",
        is_vital=True,
    ),
    Contract(
        "loop of a worker",
        "`_serve_http_1` runs the loop of a worker by calling `_run_server_forever`, a global of "
        "its module.",
        (
            takes(f"{RUNNERS}:_run_server_forever", "loop", "before_stop", "after_stop", "cleanup"),
            uses(f"{RUNNERS}:_serve_http_1", "_run_server_forever"),
        ),
        "a worker does not know when its start is complete and it can stop.",
        is_vital=True,
    ),
    Contract(
        "stop of an app",
        "`app.stop(terminate=False)` ends the loop of a worker.",
        (accepts(f"{APP}.stop", "terminate"),),
        "a worker cannot be stopped gracefully.",
        is_vital=True,
    ),
)
