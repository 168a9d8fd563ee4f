"""Begins the supervision of a server: checks the settings, and makes the supervisor."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Set

from .. import __version__, environment, state
from ..compat import contracts, sanic_main
from ..compat.sanic_app import App
from ..config import Settings
from ..events import Hooks
from ..log import LEVELS, log
from ..platform.base import Identity
from ..tree.process import start_of
from ..worker import handlers
from . import advice, preflight
from .greeting import greeting
from .journal import Journal, facts
from .supervisor import Supervisor


def supervise(app: App, earlier: Set[Identity], hooks: Hooks) -> Supervisor | None:
    """Begin the supervision of a server, unless its settings turn the Reaper off.

    Args:
        app: the primary app of the server.
        earlier: children of main that do not belong to the server.
        hooks: the users' hooks, which receive events.

    Returns:
        The supervisor. `None`: the Reaper is off.

    Raises:
        SystemExit: a setting has a bad value, or a handler is misplaced. Nothing was started yet.
    """
    settings = Settings.read_or_exit(app.config)
    if not settings.enabled:
        return None
    settings = _checked(settings, app)
    run = environment.begin_run()
    main, began = (os.getpid(), start_of(os.getpid())), time.monotonic()
    known = facts(
        app.name,
        run,
        main,
        began,
        multiprocessing.get_start_method(allow_none=True) or "",
        sanic_main.address(app),
    )
    environment.name_main(main, app.name, os.getcwd(), state.namespace())
    found = contracts.examine()
    journal = Journal(run, known, main, began)
    supervisor = Supervisor(settings, run, earlier, hooks, journal, found.guards_only)
    if settings.sweep:
        preflight.sweep(app.name, hooks)
    supervisor.begin()
    # Only now: if nobody reads the log's pipe, main hangs in each line, and needs a watchdog.
    for level, line in found.lines:
        log.log(LEVELS[level], "%s", line)
    for warning in settings.warnings(app.config):
        log.warning("%s", warning)
    log.info("%s", greeting(__version__, str(known["method"]), settings))
    return supervisor


def _checked(settings: Settings, app: App) -> Settings:
    """The settings that apply, after the checks that can refuse a start.

    Raises:
        SystemExit: a handler is misplaced, or the app has a route of the endpoint's.
    """
    is_set = "REAPER_STARTUP_TIMEOUT" in app.config
    settings = preflight.with_threshold(settings, is_set, sanic_main.threshold())
    if said := advice.for_interpreter(sys.implementation.name):
        log.warning("%s", said)
    handlers.refuse_misplaced()
    preflight.refuse_taken_routes(app, settings.endpoint)
    return settings
