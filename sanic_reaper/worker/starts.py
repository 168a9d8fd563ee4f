"""Finds the start to which an app's events belong: the worker's, or the app's own.

A worker has one start, for the apps that it serves. Every other start belongs to one app, and lasts
until the app is started again: in a single process, under ASGI, in test clients, and where user
code starts an app by itself, also inside a worker. So a process can start any number of apps, one
after another or at once, and no start influences another one.
"""

from __future__ import annotations

import time

from ..compat import sanic_app, sanic_listeners
from ..compat.sanic_app import App
from .handlers import refuse_misplaced
from .startup import Startup


class Starts:
    """Keeps the app's own start. The base class of the object at `app.ctx.reaper`.

    Attributes:
        own: the latest start of the app that is not the worker's. `None`: there was none.
    """

    own: OwnStart | None = None


class OwnStart(Startup):
    """The start of one app that user code starts. A failure is raised to that code.

    User code can leave out `after_server_start`. So the app counts as serving when its
    `before_server_start` handlers have returned.
    """

    def __init__(self, handler_timeout: float) -> None:
        super().__init__(handler_timeout, time.monotonic())
        self._is_through = False
        self._finishes = False

    async def before(self, app: App, run_listeners: sanic_listeners.Listeners) -> None:
        await super().before(app, run_listeners)
        self._is_through = True

    async def after(self, app: App, run_listeners: sanic_listeners.Listeners) -> None:
        self._finishes = True
        try:
            await super().after(app, run_listeners)
        finally:
            self._finishes = False

    @property
    def awaits_listeners(self) -> bool:
        """Whether background work must wait for `after_server_start` listeners that run now.

        A test client sends its request from within such a listener.
        """
        return self._finishes and not sanic_app.in_test_mode()

    @property
    def is_ready(self) -> bool:
        is_up = self._is_through and not self.awaits_listeners
        return is_up and (self.background is None or self.background.is_ready)


def begin(app: App) -> Startup | None:
    """The start to which an app's `before_server_start` belongs. Called before that event.

    Returns:
        `None` if the Reaper is disabled, or the app is not extended.

    Raises:
        SystemExit: a setting has a bad value, or a handler is misplaced. (For a worker, main has
            checked both.)
    """
    if _of_worker is not None and _of_worker.covers(app):
        return _of_worker
    starts = starts_of(app)
    if starts is None:
        return None
    from ..config import Settings  # a worker has no use for it

    settings = Settings.read_or_exit(app.config)
    if starts.own is not None:
        starts.own.release()
    starts.own = None
    if settings.enabled:
        refuse_misplaced([app])
        starts.own = OwnStart(settings.handler_timeout)
    return starts.own


def of(app: App) -> Startup | None:
    """The start to which an app's later events belong. `None`: none has begun, or as in `begin`."""
    if _of_worker is not None and _of_worker.has(app):
        return _of_worker
    starts = starts_of(app)
    return None if starts is None else starts.own


def note_import(app: App) -> None:
    """Tell the start of a worker that Sanic begins to set up an app."""
    if _of_worker is not None:
        _of_worker.on_imported()


def take_over(startup: Startup) -> None:
    """Make this the start of the worker."""
    global _of_worker
    _of_worker = startup


def note_extended(app: App, starts: Starts) -> None:
    """Note that an app is extended with the Reaper, in each process that imports the app."""
    _extended[id(app)] = app, starts


def starts_of(app: App) -> Starts | None:
    """The object that `note_extended` was called with for an app. `None`: it was not called."""
    found = _extended.get(id(app))
    return found[1] if found is not None and found[0] is app else None


_extended: dict[int, tuple[App, Starts]] = {}
"""The extended apps by `id`. (`app.ctx` is the user's, and an app can't be referenced weakly.)"""


_of_worker: Startup | None = None
"""The start of the worker. `None`: this process is no worker."""
