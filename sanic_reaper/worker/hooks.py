"""The hooks around Sanic's listeners of three events: before and after a start, and before a stop.

The extension installs the hooks in each process. A worker also installs them by itself, because its
app is not extended if `app.extend` runs in the main process alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ..compat import sanic_app, sanic_listeners
from ..compat.sanic_app import App
from ..log import log
from . import starts


def instrument() -> None:
    """Install the hooks. A second call changes nothing."""
    sanic_listeners.instrument_start(_before_start, _after_start, _before_stop, starts.note_import)


async def _before_start(app: App, run_listeners: Callable[[], Awaitable[None]]) -> None:
    start = starts.begin(app)
    if start is not None and start.is_supervised:
        _warn_if_not_extended(app)
    await (run_listeners() if start is None else start.before(app, run_listeners))


async def _after_start(app: App, run_listeners: Callable[[], Awaitable[None]]) -> None:
    start = starts.of(app)
    await (run_listeners() if start is None else start.after(app, run_listeners))


async def _before_stop(app: App, run_listeners: Callable[[], Awaitable[None]]) -> None:
    start = starts.of(app)
    if start is not None and start.background is not None:
        await start.background.cancel()  # the listeners may close what it works with
    await run_listeners()


def _warn_if_not_extended(app: App) -> None:
    """Warn in worker 0 if the app is extended in main, and not in the worker."""
    is_primary = app.name == sanic_app.primary_name()
    if is_primary and sanic_app.is_first_worker() and starts.starts_of(app) is None:
        log.warning(
            "%s is extended with the Reaper in the main process, and not in its workers: the line "
            'stands under `if __name__ == "__main__":`, which a worker does not run. The workers '
            "are supervised all the same, but have no app.ctx.reaper and none of the other "
            "extensions; move the line out of that block",
            app.name,
        )
