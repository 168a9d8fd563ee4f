"""The internals of Sanic's app, for each process that has an app."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from functools import wraps
from types import FrameType
from typing import Any, TypeAlias

from sanic import Sanic

from ..model.roles import FIRST_WORKER

App: TypeAlias = "Sanic[Any, Any]"
"""An app with any class of config and of context."""


def primary_name() -> str | None:
    """The name of the app whose `serve` started this worker, from the process's arguments.

    `None`: this process is not a worker.
    """
    kwargs = getattr(multiprocessing.current_process(), "_kwargs", {})
    name: str | None = kwargs.get("app_name")
    return name


def worker_name() -> str:
    """The name of this worker, such as `Sanic-Server-0-0`. "": this process is not a worker.

    `WorkerProcess.start` sets it in the environment that the new process inherits.
    """
    return os.environ.get("SANIC_WORKER_NAME", "")


def is_first_worker() -> bool:
    """Whether this process is the worker that alone logs what each worker would log alike."""
    return worker_name().endswith(FIRST_WORKER)


def apps() -> list[App]:
    """Every app of this process, or none if Sanic's registry is not found."""
    return list(getattr(Sanic, "_app_registry", {}).values())


def in_test_mode() -> bool:
    """Whether a client of sanic-testing has been made in this process."""
    return bool(getattr(Sanic, "test_mode", False))


def is_secondary(app: App) -> bool:
    """Whether Sanic starts an app beside the primary app. `_start_servers` sets the attribute."""
    return not getattr(app.state, "primary", True)


def exit_single_process_with(code: int) -> None:
    """Have a server of one process exit with this code when it stops.

    `serve_single` logs each exception that passes through it, with a traceback. The last call in
    its `finally` is `_cleanup_apps` (line 1316 of `sanic/mixins/startup.py`), replaced here.
    If `serve_single` does not run the caller (ASGI, a server started by hand), nothing is changed:
    the exit code would be that of a later server.
    """
    clean_up: Callable[[], None] | None = getattr(Sanic, "_cleanup_apps", None)
    if clean_up is None:
        return
    serve_single = Sanic.serve_single.__func__.__code__  # type: ignore[attr-defined]
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code is not serve_single:
        frame = frame.f_back
    if frame is None:
        return

    def leave() -> None:
        Sanic._cleanup_apps = clean_up  # type: ignore[method-assign]
        clean_up()
        raise SystemExit(code)

    Sanic._cleanup_apps = leave  # type: ignore[method-assign]


def after_serve(call: Callable[[], None]) -> None:
    """Have a function called whenever `Sanic.serve` returns or raises.

    `serve` is the last thing that a server with workers does. No hook within `serve` is as late:
    after `main_process_stop` it shuts down the SyncManager.
    """
    original = Sanic.serve.__func__  # type: ignore[attr-defined]
    if hasattr(original, "reaper_original"):
        return

    @wraps(original)
    def serve(*args: Any, **kwargs: Any) -> Any:
        global _serving
        _serving += 1
        try:
            return original(*args, **kwargs)
        finally:
            _serving -= 1
            call()

    serve.reaper_original = original  # type: ignore[attr-defined]
    Sanic.serve = classmethod(serve)  # type: ignore[method-assign, assignment]


def in_serve() -> bool:
    """Whether `Sanic.serve` runs, so that the function of `after_serve` will be called."""
    return _serving > 0


_serving = 0
