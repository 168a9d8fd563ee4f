"""The internals of Sanic and sanic-ext that the main process uses.

A worker never loads this module.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

from sanic import Sanic
from sanic.log import error_logger

from .sanic_app import App, apps


def substitute_worker_manager(factory: Callable[..., Any]) -> Callable[..., Any]:
    """Have `Sanic.serve` call a factory in the place of `WorkerManager`.

    `StartupMixin.serve` looks the class up as a global of its module, after `main_process_start`.

    Args:
        factory: takes the arguments of `WorkerManager`.

    Returns:
        The replaced class.
    """
    startup = vars(sys.modules["sanic.mixins.startup"])
    replaced: Callable[..., Any] = startup["WorkerManager"]
    startup["WorkerManager"] = factory
    return replaced


def replace_kill(app: App, kill: Callable[[], None]) -> None:
    """Have Sanic's own manager kill only its processes when a start fails.

    By itself it kills process groups. Its own group includes the script that has launched it. If
    the method cannot be replaced, it stays as it is.

    Args:
        app: the primary app.
        kill: kills the processes of the server.
    """
    with suppress(Exception):
        from sanic.exceptions import ServerKilled

        def end() -> NoReturn:
            kill()
            raise ServerKilled

        app.manager.kill = end  # type: ignore[method-assign]


def app_being_served() -> App | None:
    """The primary app of the `Sanic.serve` call that this code runs in.

    Only a local variable of `serve` has it. `None`: this code runs in no such call.
    """
    frame = _frame_of_serve(sys._getframe())
    return None if frame is None else frame.f_locals.get("primary")


def _frame_of_serve(frame: FrameType | None) -> FrameType | None:
    function: Any = Sanic.serve.__func__  # type: ignore[attr-defined]
    serve = getattr(function, "reaper_original", function).__code__
    while frame is not None and frame.f_code is not serve:
        frame = frame.f_back
    return frame


def routes_under(app: App, prefix: str) -> list[str]:
    """The paths of an app's routes that are `prefix` or lie under it."""
    paths = ["/" + route.path.lstrip("/") for route in app.router.routes]
    return [path for path in paths if f"{path}/".startswith(f"{prefix}/")]


def address(app: App) -> str:
    """The address on which the app is to listen, for the log: `host:port` or `unix:path`."""
    infos = getattr(app.state, "server_info", [])
    info = getattr(infos[0], "settings", {}) if infos else {}
    if info.get("unix"):
        return f"unix:{info['unix']}"
    return f"{info.get('host') or app.state.host}:{info.get('port') or app.state.port}"


def addresses() -> list[tuple[str, int]]:
    """Host and port of each socket that `serve` is about to bind."""
    found = []
    for app in apps():
        for info in getattr(app.state, "server_info", ()):
            settings = getattr(info, "settings", {})
            bound = settings.get("sock") or settings.get("unix")
            if not bound and settings.get("version") != 3 and settings.get("port"):
                found.append((settings.get("host") or "127.0.0.1", settings["port"]))
    return found


def threshold() -> float | None:
    """Sanic's own limit for a worker's start, in seconds. `None`: it has not been changed.

    `WorkerManager.THRESHOLD` is in tenths of a second.
    """
    manager = getattr(sys.modules.get("sanic.worker.manager"), "WorkerManager", None)
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
    """Whether Sanic's Reloader restarts workers when a file changes."""
    return any(getattr(app.state, "auto_reload", False) for app in apps())


def health_monitor_window() -> float:
    """Seconds without a report after which sanic-ext's HealthMonitor asks for a restart."""
    module = sys.modules.get("sanic_ext.extensions.health.monitor")
    monitor = getattr(module, "HealthMonitor", None)
    misspelt = getattr(monitor, "MISSED_THRESHHOLD", 0)
    missed = getattr(monitor, "MISSED_THRESHOLD", misspelt)
    return float(missed + getattr(monitor, "REPORT_INTERVAL", 0))


def exit_from_serve(code: int) -> NoReturn:
    """Leave `Sanic.serve`, which calls us, so that the process exits with a given code.

    `serve` cleans up. By itself it knows only the exit code 1, and it logs each exception that
    passes through it: this one is not logged.

    Args:
        code: the exit code.

    Raises:
        SystemExit: always.
    """

    def pass_by(record: logging.LogRecord) -> bool:
        error_logger.removeFilter(pass_by)
        return False

    error_logger.addFilter(pass_by)
    skip_state_query()
    raise SystemExit(code)


def skip_state_query() -> None:
    """Keep `serve` from asking the SyncManager for the workers' states at its end, once.

    `serve` asks for up to ten seconds. The workers have exited by then, and so has the SyncManager.
    24.12 does not expect that: its BrokenPipeError would hide why the server has stopped. If no
    worker has been started, 24.12 also takes an entry of its own for a worker's, and fails.
    """
    owner: Any = next((cls for cls in Sanic.__mro__ if "_get_process_states" in vars(cls)), None)
    if owner is None:
        return
    original = vars(owner)["_get_process_states"]
    if hasattr(original, "reaper_replaces"):
        return

    class Replacement(staticmethod):  # type: ignore[type-arg]
        reaper_replaces = original

    def none(worker_state: Any) -> list[Any]:
        owner._get_process_states = original
        return []

    owner._get_process_states = Replacement(none)
