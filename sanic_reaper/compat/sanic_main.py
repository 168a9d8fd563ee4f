"""What the main process alone touches inside Sanic and sanic-ext. A worker never loads this."""

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
    """`StartupMixin.serve` constructs the global `WorkerManager`, after `main_process_start`.

    Returns:
        What it would have constructed.
    """
    startup = vars(sys.modules["sanic.mixins.startup"])
    replaced: Callable[..., Any] = startup["WorkerManager"]
    startup["WorkerManager"] = factory
    return replaced


def soften_kill(app: App, kill: Callable[[], None]) -> None:
    """Where Sanic's own manager runs the workers: have it kill them, and nobody else.

    When a start fails it kills whole process groups, with its own group whoever has launched it.
    What cannot be replaced stays.
    """
    with suppress(Exception):
        from sanic.exceptions import ServerKilled

        def end() -> NoReturn:
            kill()
            raise ServerKilled

        app.manager.kill = end  # type: ignore[method-assign]


def app_being_served() -> App | None:
    """In a call that `Sanic.serve` makes: its primary app, known to a local variable only."""
    frame = _frame_of_serve(sys._getframe())
    return None if frame is None else frame.f_locals.get("primary")


def _frame_of_serve(frame: FrameType | None) -> FrameType | None:
    function: Any = Sanic.serve.__func__  # type: ignore[attr-defined]
    serve = getattr(function, "reaper_original", function).__code__
    while frame is not None and frame.f_code is not serve:
        frame = frame.f_back
    return frame


def routes_under(app: App, prefix: str) -> list[str]:
    """The paths of an app's routes that begin with another one."""
    paths = ["/" + route.path.lstrip("/") for route in app.router.routes]
    return [path for path in paths if f"{path}/".startswith(f"{prefix}/")]


def address(app: App) -> str:
    """Where the server listens, as far as the app was told: for people to read."""
    infos = getattr(app.state, "server_info", [])
    info = getattr(infos[0], "settings", {}) if infos else {}
    if info.get("unix"):
        return f"unix:{info['unix']}"
    return f"{info.get('host') or app.state.host}:{info.get('port') or app.state.port}"


def addresses() -> list[tuple[str, int]]:
    """Where sockets are to be bound that are not yet: as `serve` will, a moment after this."""
    found = []
    for app in apps():
        for info in getattr(app.state, "server_info", ()):
            settings = getattr(info, "settings", {})
            bound = settings.get("sock") or settings.get("unix")
            if not bound and settings.get("version") != 3 and settings.get("port"):
                found.append((settings.get("host") or "127.0.0.1", settings["port"]))
    return found


def threshold() -> float | None:
    """Seconds that a worker may take to its ack by Sanic's own limit, in tenths of which
    `WorkerManager.THRESHOLD` counts. `None`: nobody has changed it.
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
    """Whether files are watched, and workers started again when one changes."""
    return any(getattr(app.state, "auto_reload", False) for app in apps())


def age_of_a_complaint() -> float:
    """Seconds that sanic-ext's HealthMonitor looks back when it asks for a restart."""
    module = sys.modules.get("sanic_ext.extensions.health.monitor")
    monitor = getattr(module, "HealthMonitor", None)
    misspelt = getattr(monitor, "MISSED_THRESHHOLD", 0)
    missed = getattr(monitor, "MISSED_THRESHOLD", misspelt)
    return float(missed + getattr(monitor, "REPORT_INTERVAL", 0))


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
