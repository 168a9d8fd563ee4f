"""The futures of Sanic and sanic-ext, and what must hold there all the same.

To add one, add a row: what is renamed where, and what the one warning must say. Each of the tests
in `test_futures.py` is run with it.
"""

from __future__ import annotations

from dataclasses import replace

from futures.cpython import CPYTHON
from futures.future import Future, edit, rename, vital

STARTUP = "sanic/mixins/startup.py"
MANAGER = "sanic/worker/manager.py"
PROCESS = "sanic/worker/process.py"
RUNNERS = "sanic/server/runners.py"
MANAGER_SITES = (
    STARTUP,
    "sanic_ext/extensions/health/monitor.py",
    "sanic_ext/extensions/logging/logger.py",
)
OTHER_MANAGER = "from multiprocessing import Manager as make_manager\n"

NOW = Future("nothing", always=True)
"""The copy itself. What fails with it fails in no future."""

THIRTEEN = (
    Future(
        "local variable of serve",
        edits=[edit(r"(?<![\w.])primary\b", "chief", STARTUP)],
        line="primary",
    ),
    Future(
        "Manager of serve",
        edits=[
            edit(r"\bManager\(\)", "make_manager()", *MANAGER_SITES),
            edit(r"^from multiprocessing ", OTHER_MANAGER + r"\g<0>", *MANAGER_SITES),
        ],
        line="SyncManager's factory",
    ),
    Future(
        "WorkerManager is there and unused",
        edits=[
            edit(
                "^from sanic.worker.manager import WorkerManager$",
                r"\g<0>\nfrom sanic.worker.manager import WorkerManager as Pool",
                STARTUP,
            ),
            edit(r"manager = WorkerManager\(", "manager = Pool(", STARTUP),
        ],
        line="uses no WorkerManager",
        is_vital=True,
    ),
    vital("_run_server_forever", "_run_loop"),
    rename("_setup_system_signals", "_set_up_signals"),
    rename("http1_response_header", "http1_head"),
    Future(
        "definition of a signal",
        edits=[edit(r"ctx\.definition\b", "ctx.pattern", "sanic/signals.py")],
        line="start handlers",
        limit="start",
    ),
    Future("SERVER_LABEL", edits=[edit('"Server"', '"Worker"', PROCESS)]),
    rename("MISSED_THRESHHOLD", "MISSED_THRESHOLD", config={"HEALTH": True}, line=""),
    Future(
        "request_middleware of a route",
        edits=[
            edit(
                r"extra\.request_middleware",
                "extra.before_request",
                *("sanic/app.py", "sanic/mixins/middleware.py"),
            )
        ],
        line="request_middleware",
    ),
    vital("_current_process", "_child"),
    rename("set_serving", "mark_serving", line="", since="25.12"),
    vital("_server_event", "_lifecycle_event", limit="Sanic"),
)

MANAGERS = (
    vital("WorkerManager", "ProcessManager"),
    vital("wait_for_ack", "wait_until_ready"),
    Future(
        "run of WorkerManager",
        edits=[
            edit(r"def run\(self\)", "def supervise(self)", MANAGER),
            edit(r"manager\.run\(\)", "manager.supervise()", STARTUP),
        ],
        line=r"\brun\b",
        is_vital=True,
    ),
    vital("_poll_monitor", "_next_cycle"),
    vital("_sync_states", "_refresh"),
    vital("monitor_subscriber", "inbox"),
    vital("transient", "renewable"),
    rename("_shutting_down", "_is_ending", line=""),
    Future(
        "_serve of WorkerManager",
        edits=[edit(r"self\._serve\b", "self._target", MANAGER)],
        line=r"\b_serve\b",
        is_vital=True,
    ),
    Future(
        "worker_state of WorkerManager",
        edits=[edit(r"self\.worker_state\b", "self.states", MANAGER)],
        line=r"\bworker_state\b",
        is_vital=True,
    ),
    vital("MonitorCycle", "Cycle"),
    vital("Restarter", "Renewal"),
    vital("ProcessState", "ProcessPhase"),
    Future(
        "state in worker_state",
        edits=[
            edit(r'"state"(?=\)|: self|: Proc)', '"status"', MANAGER, PROCESS, STARTUP),
            edit(r'"state"', '"status"', "sanic/worker/multiplexer.py", "sanic/worker/state.py"),
        ],
    ),
    rename("_handle_message", "_on_message"),
    rename("__TERMINATE__", "__STOP__"),
    rename("__TERMINATE_EARLY__", "__FAILED__"),
    rename("_restart_process", "_renew"),
    rename("_terminate_soon", "_end_old"),
    # `serve` of 24.12 asks the SyncManager, which has exited, and ends with exit code 1.
    rename("_get_process_states", "_living_states", since="25.12"),
)

WORKERS = (
    Future(
        "_startup of the app",
        edits=[
            edit(
                r"(def |app\.)_startup\b",
                r"\1_begin",
                *("sanic/app.py", RUNNERS, "sanic/server/async_server.py"),
                *("sanic/asgi.py", "sanic/cli/app.py"),
            )
        ],
        config={"REAPER_ENDPOINT": "/reaper"},
        line="REAPER_ENDPOINT",
    ),
    rename("_cleanup_apps", "_reset_apps"),
    Future(
        "set_serving of 24.12",
        renames={"set_serving": "mark_serving"},
        line=r"\bset_serving\b",
        until="24.12",
    ),
    rename("_task_registry", "_named_tasks"),
    rename("SANIC_WORKER_NAME", "SANIC_PROCESS_NAME"),
    rename("SANIC_WORKER_PROCESS", "SANIC_IS_WORKER"),
    Future(
        "http of a connection",
        edits=[
            edit(r"(def |self\.)http\b", r"\1parser", "sanic/server/protocols/http_protocol.py")
        ],
        line=r"\bhttp\b",
    ),
    rename("recv_buffer", "received"),
    rename("perft0", "handled_since"),
    rename("_task", "_connection_task"),
    rename("receive_more", "await_more"),
    Future(
        "connections of worker_serve",
        edits=[edit(r"\bconnections\b(?=[=,])", "protocols", "sanic/worker/serve.py")],
        line="connections",
    ),
    Future(
        "multiplexer of an app",
        edits=[
            edit(
                r'((?:self|a)\.|")multiplexer\b',
                r"\1channel",
                *("sanic/app.py", STARTUP, "sanic/worker/serve.py"),
            )
        ],
        line="multiplexer",
    ),
    rename("requests_count", "served", config={"REAPER_MAX_REQUESTS": 100_000}),
    Future(
        "state of worker_serve",
        edits=[edit(r"^(\s+)state(=None|,)", r"\1counters\2", "sanic/worker/serve.py")],
        config={"REAPER_MAX_REQUESTS": 100_000},
        line="request counter",
    ),
    Future(
        "closure of _cleanup",
        edits=[
            edit(r"\bhttp_server\b", "listening", RUNNERS),
            edit(r"(?<!\.)\bconnections\b(?!=)", "protocols", RUNNERS),
        ],
        line="http_server",
    ),
    rename("Http", "Http1"),
    rename("Stage", "Phase"),
    Future(
        "terminate of the multiplexer",
        edits=[
            edit("def terminate", "def stop_all", "sanic/worker/multiplexer.py"),
            edit(
                r"multiplexer\.terminate", "multiplexer.stop_all", STARTUP, "sanic/worker/serve.py"
            ),
        ],
        line=r"\bterminate\b",
    ),
)

APPS = (
    rename("_app_registry", "_apps"),
    Future(
        "server_info",
        edits=[
            edit(
                r"(state\.)server_info\b",
                r"\1servers",
                *(STARTUP, "sanic/worker/serve.py", "sanic/app.py"),
                *("sanic/touchup/schemes/altsvc.py", "sanic/touchup/schemes/ode.py"),
            ),
            edit(r"(self\.|^    )server_info\b", r"\1servers", "sanic/application/state.py"),
        ],
        line="server_info",
    ),
    rename("_future_listeners", "_deferred_listeners"),
    rename("_ext", "_extend"),
    rename("_future_routes", "_deferred_routes"),
    rename("FutureListener", "DeferredListener"),
    # Under fork Sanic runs the app's listeners in the Inspector too.
    rename("inspector_class", "inspector_type", config={"INSPECTOR": True}, method="spawn"),
    Future(
        "_startup of an extension",
        edits=[
            edit(
                r"(def |extension\.)_startup\b",
                r"\1_begin",
                *("sanic_ext/extensions/base.py", "sanic_ext/bootstrap.py"),
            )
        ],
        line="_startup",
    ),
)

FUTURES = (
    NOW,
    *(replace(future, always=True) for future in THIRTEEN),
    *MANAGERS,
    *WORKERS,
    *APPS,
    *CPYTHON,
)
