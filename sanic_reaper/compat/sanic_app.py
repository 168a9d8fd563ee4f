"""What is touched inside Sanic's app, in each process that has one."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from functools import wraps
from types import FrameType
from typing import Any, TypeAlias

from sanic import Sanic

App: TypeAlias = "Sanic[Any, Any]"
"""An app, whatever its config and its context are."""


def primary_name() -> str | None:
    """In a worker: the name of the app whose `serve` started it, from the process's arguments."""
    kwargs = getattr(multiprocessing.current_process(), "_kwargs", {})
    name: str | None = kwargs.get("app_name")
    return name


def apps() -> list[App]:
    """Every app of this process, as far as Sanic tells."""
    return list(getattr(Sanic, "_app_registry", {}).values())


def in_test_mode() -> bool:
    """Whether a client of sanic-testing has been made in this process."""
    return bool(getattr(Sanic, "test_mode", False))


def is_secondary(app: App) -> bool:
    """Whether Sanic itself starts an app, beside the primary one: `_start_servers` notes it."""
    return not getattr(app.state, "primary", True)


def end_with(code: int) -> None:
    """Where one process is all there is: have it end with this exit code when its server stops.

    `serve_single` reports an exception that passes through it with a traceback; the last thing that
    it calls, in its `finally`, is this method. (Line 1316 of `sanic/mixins/startup.py`.) Where the
    caller is not run by it, under ASGI or by hand, nothing is changed: the exit code would be that
    of a later server.
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
    """Have a function called whenever `Sanic.serve` ends, in whatever way but `os._exit`.

    It is the last thing that a server with workers does: `app.run` returns what it returns. Nothing
    within it comes as late: after `main_process_stop` it shuts down the SyncManager.
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
    """Whether a call of `after_serve` is to be expected."""
    return _serving > 0


_serving = 0
