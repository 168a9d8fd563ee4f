"""The extension: registers a hook in each process of a server. The work is done in other modules.

====================  =======  ================================================================
hook                  process  what happens
====================  =======  ================================================================
`startup`             all      hooks are registered; settings are not read yet
`Manager()`           main     settings are checked, stop signals are caught, the watchdog starts;
                               then Sanic's SyncManager, which exits with main
`main_process_start`  main     the user's listeners become interruptible; Sanic's manager is
                               replaced
`main_process_ready`  main     the helpers that exist by now are registered
process start         main     each process is registered before it can do anything
process start         worker   `worker.entry.enter`
`main_process_stop`   main     leftovers of the workers are killed and counted
====================  =======  ================================================================
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sanic_ext import Extension

from . import __version__, platform, untrusted
from .compat import sanic_app, sanic_extensions, sanic_listeners
from .compat.sanic_app import App
from .handle import ReaperHandle, check_hook
from .log import log
from .marks import MAIN, RUN
from .tree.process import children_of
from .worker import hooks, starts

if TYPE_CHECKING:
    from .events import Event
    from .main.supervisor import Supervisor
    from .platform.base import Identity


class Reaper(Extension):  # type: ignore[no-untyped-call]
    """Leaves no process behind, whatever happens to the server.

        app.extend(extensions=[Reaper])

    The line works after any other `app.extend(...)` and after any use of `app.ext`. The app's
    `REAPER_*` keys configure the Reaper. They are read when the server starts.

    Args:
        on_event: called in the main process with each `Event`, in a thread of its own. An
            exception that it raises is logged. If a call does not return, no further call is made.

    Raises:
        TypeError: `on_event` is not a function of one argument.
    """

    name = "reaper"

    def __init__(self, on_event: Callable[[Event], object] | None = None) -> None:
        super().__init__()
        if on_event is not None:
            check_hook("on_event", on_event)
        self._on_event = on_event

    @classmethod
    def attach(cls, app: App, on_event: Callable[[Event], object] | None = None) -> ReaperHandle:
        """Add the Reaper to an app, as `app.extend(extensions=[Reaper(...)])` does.

        For type checkers: by Sanic's signature, `app.extend` takes classes only. (It works with
        instances too.)

        Args:
            app: the app. Every process that imports the app must make this call, so it does not
                belong under `if __name__ == "__main__":`.
            on_event: as in `Reaper`.

        Returns:
            The object that is also `app.ctx.reaper`.

        Raises:
            TypeError: as in `Reaper`.
        """
        sanic_extensions.add_extension(app, cls(on_event))
        return cls.of(app)

    @staticmethod
    def of(app: App) -> ReaperHandle:
        """The object that is also `app.ctx.reaper`, with its type.

        Raises:
            LookupError: the app is not extended with the Reaper (yet).
        """
        if not platform.SUPPORTED:
            return ReaperHandle(app)
        if (server := _server_of(app)) is None:
            raise LookupError(
                f"the app {app.name} is not extended with the Reaper (yet): "
                "app.extend(extensions=[Reaper]) comes first"
            )
        return server

    def startup(self, bootstrap: Any) -> None:
        app: App = self.app
        if not platform.SUPPORTED:
            return
        server = _server_of(app)
        if server is None:
            server = _AppHooks(app)
            server.install()
        if self._on_event is not None:
            server.hooks.append((None, self._on_event))

    def label(self) -> str:
        if not platform.SUPPORTED:
            return f"does nothing on {sys.platform}"
        if self.app.config.get("REAPER_ENABLED") is False:
            return "disabled by REAPER_ENABLED"
        return __version__


def _server_of(app: App) -> _AppHooks | None:
    found = starts.starts_of(app)
    return found if isinstance(found, _AppHooks) else None


def _is_ours(extension: object) -> bool:
    return isinstance(extension, Reaper) or (
        isinstance(extension, type) and issubclass(extension, Reaper)
    )


sanic_extensions.allow_late_extend(_is_ours, sanic_extensions.add_extension)


_preexisting: set[Identity] = set()
"""Children that main had before the app was extended. They do not belong to the server: a shell may
have started them and then have become main by exec."""


def _start_manager() -> Any:
    """Start a SyncManager in the place of `multiprocessing.Manager`, which `serve` calls first.

    At this moment the server has no process yet. A setting with a bad value can still stop the
    start without a traceback, because nothing catches the exit.
    """
    # Not above: a worker does not need it.
    from .compat.sanic_main import app_being_served

    app = app_being_served()
    server = _server_of(app) if app is not None else None
    supervisor = server.begin() if server is not None else None
    return multiprocessing.Manager() if supervisor is None else supervisor.helpers.start_manager()


def _after_serve() -> None:
    """Tell the supervisor that `Sanic.serve` has returned. The script goes on from here."""
    shutdown: Any = sys.modules.get(f"{__package__}.main.shutdown")
    if shutdown is not None:
        shutdown.end_of_serve()


def _arm_unsupervised_worker(app: App) -> bool:
    """Have the kernel stop this worker when main dies, if Sanic's own manager has started it.

    Returns:
        Whether this is such a worker, of a server that the Reaper guards.
    """
    pid, start = (*os.environ.get(MAIN, "").split("\t", 2), "", "")[:2]
    try:
        main = untrusted.identity(pid, start)
    except ValueError:
        return False
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid != main[0]:
        return False
    # Not above: most workers do not need them.
    from .config import Settings
    from .worker.guard import tie

    tie(main, Settings.read_or_exit(app.config).pdeathsig)
    return True


class _AppHooks(ReaperHandle):
    """The hooks of one app, and the state that they share."""

    def __init__(self, app: App) -> None:
        super().__init__(app)
        self._begun_in = 0
        """Pid of the process in which `begin` has run. A process that was forked from it can run a
        server too, which has a supervisor of its own."""
        self._supervisor: Supervisor | None = None

    def install(self) -> None:
        """Register the hooks that run in each process of this server."""
        app = self._app
        if RUN not in os.environ:
            # Not above: a worker has the marker already.
            from .environment import expect_run

            expect_run()
        if multiprocessing.parent_process() is None:
            _preexisting.update(children_of(os.getpid()))
        starts.note_extended(app, self)
        self._set_app_ctx()
        sanic_extensions.substitute_manager_factory(_start_manager)
        sanic_listeners.put_first(app, "main_process_start", self.main_process_start)
        app.listener("main_process_ready")(self.main_process_ready)
        app.listener("main_process_stop")(self.main_process_stop)
        app.listener("before_server_start")(self.before_server_start)
        sanic_app.after_serve(_after_serve)
        hooks.instrument()

    def _set_app_ctx(self) -> None:
        """Set `app.ctx.reaper`, unless the user has set it."""
        taken = hasattr(self._app.ctx, "reaper")
        if not taken:
            try:
                self._app.ctx.reaper = self
            except AttributeError:  # `app.ctx` is of a class of the user's, with slots
                taken = True
        if taken:
            log.warning(
                "%s has an app.ctx.reaper of its own, which stays: use Reaper.of(app) instead",
                self._app.name,
            )

    def begin(self) -> Supervisor | None:
        """Read the settings and start to supervise, unless that has been done.

        Returns:
            `None` if `REAPER_ENABLED` is off.

        Raises:
            SystemExit: a setting has a value that is not allowed, or a decorator is misplaced.
        """
        if self._begun_in != os.getpid():
            # Not above: a worker imports this module too, and does not need main's half.
            from .events import Hooks
            from .main.server import supervise

            self._supervisor = supervise(self._app, _preexisting, Hooks(self.hooks))
            self._begun_in = os.getpid()
        return self._supervisor

    def main_process_start(self, app: App, *_: Any) -> None:
        supervisor = self.begin()
        if supervisor is not None:
            supervisor.adopt(app)
            self._move_stop_last()

    def main_process_ready(self, app: App, *_: Any) -> None:
        if self._supervisor is not None:
            self._supervisor.confirm(app)
            self._move_stop_last()
        elif self._begun_in != os.getpid():  # a listener of `main_process_start` has extended it
            log.warning(
                "%s was extended with the Reaper after its server had started: nothing supervises "
                "this run. Move app.extend(extensions=[Reaper]) to where the app is created",
                app.name,
            )

    def _move_stop_last(self) -> None:
        """Have our `main_process_stop` listener run last.

        The user's own may still need processes that they have started in main.
        """
        hooks = sanic_listeners.listeners(self._app, "main_process_stop")
        if self.main_process_stop in hooks:
            hooks.remove(self.main_process_stop)
            hooks.append(self.main_process_stop)

    def main_process_stop(self, app: App, *_: Any) -> None:
        supervisor, self._supervisor, self._begun_in = self._supervisor, None, 0
        if supervisor is not None:
            supervisor.shutdown.finish()

    def before_server_start(self, app: App, *_: Any) -> None:
        """Log that this process is not supervised, if it is not."""
        if not sanic_app.worker_name():
            log.debug("this server has no main process: nothing is supervised")
            if app.config.get("REAPER_ENDPOINT"):
                log.info("this server has no main process: REAPER_ENDPOINT has no effect")
            return
        is_supervised = hasattr(multiprocessing.current_process(), "reaper_role")
        if not is_supervised and _arm_unsupervised_worker(app):
            return  # main has logged why it does not supervise
        primary = sanic_app.primary_name()
        is_other = primary not in (None, app.name)
        if not is_supervised and is_other and sanic_app.is_first_worker():
            log.warning(
                "the workers are not supervised: extend %s with the Reaper, which is the app that "
                "main serves first, and not only %s",
                primary,
                app.name,
            )
