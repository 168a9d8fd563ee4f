"""The map: which hook runs in which process. What it does there is told elsewhere.

====================  =======  ================================================================
hook                  process  what happens
====================  =======  ================================================================
`startup`             all      hooks are registered; settings are not read yet
`Manager()`           main     settings are checked, stop signals are caught, the watchdog starts;
                               then Sanic's SyncManager, tied to main
`main_process_start`  main     the user's listeners become interruptible, the manager ours
`main_process_ready`  main     the helpers that exist by now are registered
process start         main     each process is registered before it can do anything
process start         worker   `worker.enter`
`main_process_stop`   main     what workers left behind is ended and counted
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
from .model.roles import FIRST_WORKER
from .tree.process import children_of
from .worker import hooks, starts

if TYPE_CHECKING:
    from .events import Event
    from .main.supervisor import Supervisor
    from .platform.base import Identity


class Reaper(Extension):  # type: ignore[no-untyped-call]
    """Leaves no process behind, whatever happens to the server.

        app.extend(extensions=[Reaper])

    The line works after any other `app.extend(...)` and use of `app.ext`. Configured by the app's
    `REAPER_*` keys, which are read when the server starts.

    Args:
        on_event: called in the main process with each `Event`, in a thread of its own. What it
            raises is logged; if it does not return, it hears no more.

    Raises:
        TypeError: `on_event` is no function of one argument.
    """

    name = "reaper"

    def __init__(self, on_event: Callable[[Event], object] | None = None) -> None:
        super().__init__()
        if on_event is not None:
            check_hook("on_event", on_event)
        self._on_event = on_event

    @classmethod
    def attach(cls, app: App, on_event: Callable[[Event], object] | None = None) -> ReaperHandle:
        """Add the Reaper to an app: `app.extend(extensions=[Reaper(...)])` with types.

        (By Sanic's signature `app.extend` takes classes alone, though it works with instances.)

        Args:
            app: in every process that imports it, so not under `if __name__ == "__main__":`.
            on_event: as of `Reaper`.

        Returns:
            What `app.ctx.reaper` is too.
        """
        sanic_extensions.add_extension(app, cls(on_event))
        return cls.of(app)

    @staticmethod
    def of(app: App) -> ReaperHandle:
        """The same as `app.ctx.reaper`, with its type.

        Raises:
            LookupError: the app is not extended with the Reaper, or not yet.
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
            server = _Server(app)
            server.install()
        if self._on_event is not None:
            server.hooks.append((None, self._on_event))

    def label(self) -> str:
        if not platform.SUPPORTED:
            return f"does nothing on {sys.platform}"
        if self.app.config.get("REAPER_ENABLED") is False:
            return "disabled by REAPER_ENABLED"
        return __version__


def _server_of(app: App) -> _Server | None:
    found = starts.starts_of(app)
    return found if isinstance(found, _Server) else None


def _is_ours(extension: object) -> bool:
    return isinstance(extension, Reaper) or (
        isinstance(extension, type) and issubclass(extension, Reaper)
    )


sanic_extensions.let_join(_is_ours, sanic_extensions.add_extension)


_earlier_children: set[Identity] = set()
"""Children that main had before the Reaper came: a shell may have started them, and then have
become main by exec. They are not the server's."""


def _start_manager() -> Any:
    """Stands in for `multiprocessing.Manager`, which is the first thing that `serve` calls.

    Here the Reaper can begin before there is any process, and a bad value can still stop the start
    without a traceback: nothing catches the exit.
    """
    # Here, for its size: a worker has no use for it.
    from .compat.sanic_main import app_being_served

    app = app_being_served()
    server = _server_of(app) if app is not None else None
    supervisor = server.begin() if server is not None else None
    return multiprocessing.Manager() if supervisor is None else supervisor.helpers.start_manager()


def _after_serve() -> None:
    """`Sanic.serve` is over: what comes next is the script's business."""
    shutdown: Any = sys.modules.get(f"{__package__}.main.shutdown")
    if shutdown is not None:
        shutdown.end_of_serve()


def _tie_to_main(app: App) -> bool:
    """In a worker that Sanic's own manager has started, of a server that the Reaper guards: let the
    kernel stop it when main dies. Returns whether this is one."""
    pid, start = (*os.environ.get(MAIN, "").split("\t", 2), "", "")[:2]
    try:
        main = untrusted.identity(pid, start)
    except ValueError:
        return False
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid != main[0]:
        return False
    # Here: most workers have no use for them.
    from .config import Settings
    from .worker.guard import tie

    tie(main, Settings.read_or_exit(app.config).pdeathsig)
    return True


class _Server(ReaperHandle):
    """The hooks of one app, and what they share."""

    def __init__(self, app: App) -> None:
        super().__init__(app)
        self._begun_in = 0
        """The pid of the process in which the server has begun. A process that was forked from it
        may run a server too, and is supervised by itself."""
        self._supervisor: Supervisor | None = None

    def install(self) -> None:
        """Register what is called in each process of this server."""
        app = self._app
        if RUN not in os.environ:
            # Not above: a worker has the mark, and no use for who makes it.
            from .environment import expect_run

            expect_run()
        if multiprocessing.parent_process() is None:
            _earlier_children.update(children_of(os.getpid()))
        starts.note_extended(app, self)
        self._offer()
        sanic_extensions.substitute_manager_factory(_start_manager)
        sanic_listeners.put_first(app, "main_process_start", self.main_process_start)
        app.listener("main_process_ready")(self.main_process_ready)
        app.listener("main_process_stop")(self.main_process_stop)
        app.listener("before_server_start")(self.before_server_start)
        sanic_app.after_serve(_after_serve)
        hooks.instrument()

    def _offer(self) -> None:
        """Be there as `app.ctx.reaper`, unless that is the user's own."""
        taken = hasattr(self._app.ctx, "reaper")
        if not taken:
            try:
                self._app.ctx.reaper = self
            except AttributeError:  # a class of the user's, with slots
                taken = True
        if taken:
            log.warning(
                "%s has an app.ctx.reaper of its own, which stays: the Reaper's is Reaper.of(app)",
                self._app.name,
            )

    def begin(self) -> Supervisor | None:
        """Read the settings and start to supervise, unless that is done. `None`: disabled."""
        if self._begun_in != os.getpid():
            # Not above: a worker imports this module too, and has no use for main's half.
            from .events import Hooks
            from .main.server import supervise

            self._supervisor = supervise(self._app, _earlier_children, Hooks(self.hooks))
            self._begun_in = os.getpid()
        return self._supervisor

    def main_process_start(self, app: App, *_: Any) -> None:
        supervisor = self.begin()
        if supervisor is not None:
            supervisor.adopt(app)
            self._stop_last()

    def main_process_ready(self, app: App, *_: Any) -> None:
        if self._supervisor is not None:
            self._supervisor.confirm(app)
            self._stop_last()
        elif self._begun_in != os.getpid():  # a listener of `main_process_start` has extended it
            log.warning(
                "%s is extended with the Reaper when its server runs already: nothing supervises "
                "this run; app.extend(extensions=[Reaper]) belongs where the app is made, and not "
                "into a listener",
                app.name,
            )

    def _stop_last(self) -> None:
        """The user's own stop listeners may still need what they have started in main."""
        hooks = sanic_listeners.listeners(self._app, "main_process_stop")
        if self.main_process_stop in hooks:
            hooks.remove(self.main_process_stop)
            hooks.append(self.main_process_stop)

    def main_process_stop(self, app: App, *_: Any) -> None:
        supervisor, self._supervisor, self._begun_in = self._supervisor, None, 0
        if supervisor is not None:
            supervisor.shutdown.finish()

    def before_server_start(self, app: App, *_: Any) -> None:
        """Say so where there is nothing to supervise, or nobody who does."""
        name = os.environ.get("SANIC_WORKER_NAME")
        if name is None:
            log.debug("no main process here: nothing is supervised")
            if app.config.get("REAPER_ENDPOINT"):
                log.info("no main process here: nobody answers under REAPER_ENDPOINT")
            return
        guarded = hasattr(multiprocessing.current_process(), "reaper_role")
        if not guarded and _tie_to_main(app):
            return  # main has said why it does not supervise
        primary = sanic_app.primary_name()
        if not guarded and primary not in (None, app.name) and name.endswith(FIRST_WORKER):
            log.warning(
                "%s is not the app that main serves first, and so cannot supervise; "
                "extend %s with the Reaper",
                app.name,
                primary,
            )
