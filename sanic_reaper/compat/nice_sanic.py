"""The nice contracts with Sanic and sanic-ext: without one of them a single feature is off."""

from __future__ import annotations

import inspect
import sys

from .contracts import Contract
from .probes import (
    APP,
    HTTP,
    MANAGER,
    MULTIPLEXER,
    PROCESS,
    RUNNERS,
    SERVE,
    accepts,
    find,
    has,
    is_found,
    stores,
    takes,
    uses,
    words_of,
)
from .sanic_extensions import MANAGER_SITES


def _health_monitor() -> bool:
    """Whether sanic-ext's HealthMonitor is not there, or has its limits."""
    module = sys.modules.get("sanic_ext.extensions.health.monitor")
    monitor = getattr(module, "HealthMonitor", None)
    limits = "MISSED_THRESHHOLD", "MISSED_THRESHOLD"
    return module is None or (
        any(hasattr(monitor, limit) for limit in limits) and hasattr(monitor, "REPORT_INTERVAL")
    )


PROTOCOL = "sanic.server.protocols.http_protocol:HttpProtocol"


def _is_used_in(owner: str, word: str) -> bool:
    """Whether some function of a class or a module uses a name or a constant."""
    functions = filter(inspect.isfunction, vars(find(owner)).values())
    return any(word in words_of(inspect.unwrap(one).__code__) for one in functions)


def _cleanup_knows() -> bool:
    """Whether `_cleanup` of `_serve_http_1` has the server and the connections in its closure."""
    codes = filter(inspect.iscode, find(f"{RUNNERS}:_serve_http_1").__code__.co_consts)
    return any({"http_server", "connections"} <= set(code.co_freevars) for code in codes)


def _manager_sites() -> bool:
    """Whether each loaded module that starts a SyncManager has a global `Manager`."""
    loaded = (sys.modules.get(name) for name in MANAGER_SITES)
    return all(hasattr(module, "Manager") for module in loaded if module is not None)


def _flags_serving() -> bool:
    """Whether a worker of Sanic 24.12 has `set_serving`. Newer ones do not need it."""
    is_old = str(find("sanic:__version__")).startswith("24.")
    return not is_old or hasattr(find(MULTIPLEXER), "set_serving")


SANIC = (
    Contract(
        "SyncManager's factory",
        "Sanic and sanic-ext start a SyncManager by calling `Manager`, a global of the module.",
        (
            is_found("a module that starts a SyncManager has no Manager", _manager_sites),
            uses(SERVE, "Manager"),
        ),
        "supervision begins at main_process_start, and the SyncManager is found by descent only.",
    ),
    Contract(
        "primary app",
        "`Sanic.serve` has the app that it serves first in the local variable `primary`.",
        (uses(SERVE, "primary"),),
        "supervision begins at main_process_start, and Sanic handles a stop before that.",
    ),
    Contract(
        "signals of a worker",
        "`_serve_http_1` sets up the stop signals of a worker by calling `_setup_system_signals`, "
        "a global of its module.",
        (
            takes(
                f"{RUNNERS}:_setup_system_signals",
                *("app", "run_multiple", "register_sys_signals", "loop"),
            ),
            uses(f"{RUNNERS}:_serve_http_1", "_setup_system_signals"),
        ),
        "Sanic handles a stop during the after_server_start listeners.",
    ),
    Contract(
        "start handlers",
        "The listeners of the start are routes of `app.signal_router`: each `handler` is a partial "
        "with the keyword `listener`.",
        (
            has(f"{APP}.signal_router"),
            stores("sanic.signals:SignalRouter.add", "ctx", "definition"),
            uses(f"{APP}.register_listener", "_listener", "listener"),
            is_found(
                "the listeners' signals have other names",
                lambda: (
                    find("sanic.mixins.listeners:ListenerEvent")("server.init.before").name
                    == "BEFORE_SERVER_START"
                ),
            ),
        ),
        "REAPER_HANDLER_TIMEOUT and @startup_timeout have no effect, and @background work runs "
        "within the start.",
    ),
    Contract(
        "set-up of an app",
        "Every server calls `Sanic._startup`, which makes the routes final.",
        (
            has(f"{APP}._startup"),
            uses(f"{RUNNERS}:_serve_http_1", "_startup"),
        ),
        "REAPER_ENDPOINT has no effect.",
    ),
    Contract(
        "middleware of a route",
        "A route keeps its request middleware in `route.extra.request_middleware`.",
        (stores(f"{APP}.finalize_middleware", "extra", "request_middleware"),),
        "requests are not turned away with 503 until @background work is done.",
    ),
    Contract(
        "registrations",
        "An app and a blueprint keep what was registered in `_future_listeners` and "
        "`_future_routes`.",
        (
            has("sanic.models.futures:FutureListener.listener"),
            uses("sanic.mixins.listeners:ListenerMixin.__init__", "_future_listeners"),
            uses("sanic.mixins.routes:RouteMixin.__init__", "_future_routes"),
        ),
        "a decorator on something that is no start handler is not reported.",
    ),
    Contract(
        "early end of a worker",
        "A worker that cannot load its app calls `WorkerMultiplexer.terminate(early)`.",
        (
            takes(f"{MULTIPLEXER}.terminate", "self", "early"),
            uses("sanic.worker.serve:worker_serve", "terminate", "WorkerMultiplexer"),
        ),
        "the main process does not log why a worker cannot load its app (the traceback does).",
    ),
    Contract(
        "messages of a worker",
        "A worker asks for a stop by `__TERMINATE__`, and `_handle_message` acts on what it asks.",
        (
            uses(f"{MULTIPLEXER}.terminate", "__TERMINATE__", "__TERMINATE_EARLY__"),
            takes(f"{MANAGER}._handle_message", "self", "message", count=2),
            uses(f"{MANAGER}._poll_monitor", "_handle_message"),
        ),
        "a worker that has just been replaced may be restarted once more.",
    ),
    Contract(
        "restart of a process",
        "`Restarter._restart_process` restarts each process that somebody asks to restart.",
        (
            takes(
                "sanic.worker.restarter:Restarter._restart_process",
                *("self", "process", "restart_order", "kwargs"),
            ),
            uses("sanic.worker.restarter:Restarter._restart_transient", "_restart_process"),
            uses("sanic.worker.restarter:Restarter._restart_durable", "_restart_process"),
        ),
        "a restart that is asked for follows Sanic's rules.",
    ),
    Contract(
        "restart without a gap",
        "`WorkerProcess.restart` leaves the old process to `_terminate_soon`.",
        (uses(f"{PROCESS}.restart", "_terminate_soon"),),
        "a worker is stopped before its successor starts.",
    ),
    Contract(
        "scaling down",
        "`WorkerManager.scale` shuts a worker down by `shutdown_server`.",
        (
            takes(f"{MANAGER}.shutdown_server", "self", "name", count=2),
            uses(f"{MANAGER}.scale", "shutdown_server"),
        ),
        "a worker that is scaled down has no deadline.",
    ),
    Contract(
        "request counter",
        "`worker_serve` takes the dictionary `state`, in which protocols count `requests_count`.",
        (
            accepts("sanic.worker.serve:worker_serve", "state"),
            is_found("Http counts no requests_count", lambda: _is_used_in(HTTP, "requests_count")),
        ),
        "REAPER_MAX_REQUESTS has no effect, and requests are not counted.",
    ),
    Contract(
        "connections of a worker",
        "`_cleanup` of `_serve_http_1` has `http_server` and `connections` in its closure. A "
        "connection has its request in `http`.",
        (
            is_found("_cleanup has no http_server and connections", _cleanup_knows),
            has(f"{PROTOCOL}.http", f"{PROTOCOL}.close_if_idle", f"{HTTP}.stage"),
            has("sanic.server.async_server:AsyncioServer.connections"),
            has("sanic.server.websockets.impl:WebsocketImplProtocol.fail_connection"),
        ),
        "a stop ends connections by Sanic's rules.",
    ),
    Contract(
        "keep-alive",
        "`Http.http1_response_header` writes the header of each response, and looks at "
        "`keep_alive`.",
        (
            uses(f"{HTTP}.http1_response_header", "keep_alive"),
            has(f"{HTTP}.keep_alive", f"{HTTP}.recv_buffer", f"{HTTP}.request_body"),
            is_found("Http has no response_func", lambda: _is_used_in(HTTP, "response_func")),
            has("sanic.http.constants:Stage.IDLE"),
        ),
        "a worker that stops does not tell its clients to close their connections.",
    ),
    Contract(
        "listeners of the main process",
        "`app.listeners` has the live list of the listeners of each `main_process_*` event.",
        (has(f"{APP}.listeners"), uses(SERVE, "listeners", "main_process_start")),
        "a stop does not end a main_process_start listener that hangs.",
    ),
    Contract(
        "registered apps",
        "`Sanic._app_registry` has every app, and `app.state` what it serves.",
        (
            has(f"{APP}._app_registry"),
            uses(SERVE, "_app_registry", "server_info", "settings"),
            has("sanic.application.state:ApplicationState.__dataclass_fields__"),
            is_found(
                "the state of an app has no server_info",
                lambda: (
                    "server_info"
                    in find("sanic.application.state:ApplicationState").__dataclass_fields__
                ),
            ),
        ),
        "ports are not checked before the start.",
    ),
    Contract(
        "states at the end",
        "`Sanic.serve` asks `_get_process_states` for the states of the workers when it ends.",
        (uses(SERVE, "_get_process_states"), has(f"{APP}._get_process_states")),
        "the stop can ask a SyncManager that has exited, and fail with a traceback.",
    ),
    Contract(
        "health monitor",
        "sanic-ext's `HealthMonitor` has `MISSED_THRESHHOLD` and `REPORT_INTERVAL`.",
        (is_found("HealthMonitor has other limits", _health_monitor),),
        "a worker that has just been replaced may be restarted once more.",
    ),
    Contract(
        "Inspector",
        "`Sanic.serve` makes the Inspector from `app.inspector_class`, which is pickled by "
        "`copyreg.__newobj__`.",
        (
            has(f"{APP}.inspector_class", "copyreg:__newobj__"),
            uses(SERVE, "inspector_class"),
        ),
        "the Inspector has no commands of the Reaper's.",
    ),
    Contract(
        "extensions that join late",
        "`sanic_ext.Extension.create` makes an extension, `_startup` starts it, and an app keeps "
        "what is set up in `_ext`.",
        (
            has("sanic_ext:Extension.create", "sanic_ext:Extension._startup", f"{APP}._ext"),
            takes(f"{APP}.extend", "self"),
        ),
        "app.extend(extensions=[Reaper]) must be the first use of app.ext.",
    ),
    Contract(
        "end of a single process",
        "`Sanic.serve_single` calls `_cleanup_apps` last.",
        (uses(f"{APP}.serve_single", "_cleanup_apps"),),
        "a server of one process exits with 0 although its background work has failed.",
    ),
    Contract(
        "apps of a worker",
        "`worker_serve` takes `app_name`, and `Sanic._start_servers` marks the apps that it starts "
        "by `app.state.primary`.",
        (
            accepts("sanic.worker.serve:worker_serve", "app_name"),
            uses(f"{APP}._start_servers", "primary"),
        ),
        "handlers of a secondary app have no limit.",
    ),
    Contract(
        "serving flag",
        "On 24.12, a worker calls `WorkerMultiplexer.set_serving` when it stops.",
        (is_found("WorkerMultiplexer has no set_serving", _flags_serving),),
        "a worker stops without its after_server_stop listeners if the SyncManager has died.",
        seen="24.12",
    ),
    Contract(
        "tasks of an app",
        "`app.add_task` keeps each task that has a name in `_task_registry`.",
        (uses(f"{APP}.shutdown_tasks", "_task_registry"),),
        "a stop does not wait for such a task to clean up.",
    ),
    Contract(
        "name of a worker",
        "Sanic gives a worker its name in the environment variable `SANIC_WORKER_NAME`, and sets "
        "`SANIC_WORKER_PROCESS` in it.",
        (
            uses(f"{PROCESS}.start", "SANIC_WORKER_NAME"),
            is_found(
                "Sanic sets no SANIC_WORKER_PROCESS",
                lambda: _is_used_in(RUNNERS, "SANIC_WORKER_PROCESS"),
            ),
        ),
        "a worker that Sanic runs is treated as a server of one process.",
    ),
    Contract(
        "stop by a worker",
        "`app.stop` asks the main process to stop the server by `app.multiplexer.terminate`.",
        (uses(f"{APP}.stop", "multiplexer", "terminate"),),
        "app.stop() in an after_server_start listener stops only that worker.",
    ),
    Contract(
        "requests in flight",
        "`worker_serve` takes the set in which a server keeps its connections. A connection has "
        "`http` and `_task`; its `http` has `request`, `stage`, and in `perft0` the time at "
        "which the handler began.",
        (
            accepts("sanic.worker.serve:worker_serve", "connections"),
            has(f"{PROTOCOL}.http", f"{PROTOCOL}._task"),
            has(f"{HTTP}.request", f"{HTTP}.stage", f"{HTTP}.perft0"),
        ),
        "no request in flight is known, by the log and by `sanic-reaper requests`.",
    ),
    Contract(
        "methods of a connection",
        "The task of a connection runs `connection_task`, which waits for the rest of a body in "
        "`receive_more`, and calls `handle_request` of the app.",
        (
            has(f"{PROTOCOL}.connection_task", f"{PROTOCOL}.receive_more"),
            has(f"{APP}.handle_request"),
        ),
        "requests in flight are shown with Sanic's own lines, not as `receiving the body`, and not "
        "at all once their client has gone.",
    ),
    Contract(
        "kill by the manager",
        "`app.manager` is the manager of the workers, which ends a failed start by `kill`.",
        (has(f"{APP}.manager", f"{MANAGER}.kill"),),
        "where Sanic runs the workers, a failed start kills the process group of the server.",
    ),
)
