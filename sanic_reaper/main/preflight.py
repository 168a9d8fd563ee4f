"""Checks that the main process makes before it starts anything: leftovers, ports, the kernel."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from .. import platform
from ..compat import sanic_main
from ..compat.sanic_app import App
from ..config import Settings
from ..events import Hooks
from ..log import LEVELS, log
from ..model.exit_codes import BAD_CONFIGURATION
from ..platform.base import Identity
from ..untrusted import LONGEST_DURATION
from . import log_format


def sweep(app_name: str, hooks: Hooks) -> None:
    """Kill what earlier runs of this app left behind. An error here does not stop the start."""
    from ..state import sweeping  # imported here: main has no use for it later

    def say(level: str, text: str, fields: Mapping[str, object]) -> None:
        log.log(LEVELS[level], "%s", text, extra=log_format.extra(fields))

    def tell_of(identity: Identity, name: str, evidence: str) -> None:
        hooks.emit("orphan.killed", name, identity[0], evidence)

    try:
        sweeping.sweep_for(app_name, os.getcwd(), say, tell_of)
    except Exception as error:
        log.exception("leftovers of earlier runs can't be swept: %r", error)


def with_threshold(settings: Settings, is_set: bool, threshold: float | None) -> Settings:
    """The settings, with the start-up limit that applies.

    Sanic documents a limit of its own, `WorkerManager.THRESHOLD`. A user who has raised it, and has
    not set `REAPER_STARTUP_TIMEOUT`, wants a longer start.

    Args:
        is_set: whether the user has set `REAPER_STARTUP_TIMEOUT`.
        threshold: Sanic's limit in seconds, if the user has changed it. `None` if not.
    """
    limit = settings.startup_timeout
    if threshold is None or threshold == limit:
        return settings
    if not is_set and limit is not None and threshold >= LONGEST_DURATION:
        log.info("a worker's start has no limit, as WorkerManager.THRESHOLD says")
        return replace(settings, startup_timeout=None)
    if not is_set and limit is not None and threshold > limit:
        log.info(
            "a worker's start can take %g s, as WorkerManager.THRESHOLD says: the default of "
            "REAPER_STARTUP_TIMEOUT is shorter (%g s)",
            *(threshold, limit),
        )
        return replace(settings, startup_timeout=threshold)
    holds = "0, no limit" if limit is None else f"{limit:g} s"
    log.warning(
        "WorkerManager.THRESHOLD (%g s) has no effect: the start of a worker is limited by "
        "REAPER_STARTUP_TIMEOUT (%s)",
        *(threshold, holds),
    )
    return settings


def refuse_taken_ports(grace: float) -> None:
    """Refuse to start if a port is in use, and name the process that holds it.

    Args:
        grace: seconds for which a server that its watchdog is just stopping can still drain.

    Raises:
        SystemExit: a port is in use (exit code 1).
    """
    from ..state import ports

    for host, port in sanic_main.addresses():
        address = (host, port)
        if ports.is_taken(address) and not ports.wait_until_free(address, grace + 2.0):
            log.error("the server ends with exit code 1: %s", ports.explain(address))
            sanic_main.exit_from_serve(1)


def refuse_taken_routes(app: App, prefix: str) -> None:
    """Refuse to start if the app has a route under the endpoint's prefix.

    Sanic would refuse it too: in each worker, during its start, with a traceback.

    Raises:
        SystemExit: the app has such a route (exit code 78).
    """
    if prefix and (taken := sanic_main.routes_under(app, prefix)):
        log.error("REAPER_ENDPOINT = %r is not allowed: the app has a route %s", prefix, taken[0])
        raise SystemExit(BAD_CONFIGURATION)


def ask_the_kernel() -> None:
    """Let main adopt orphans among its descendants. Warns once of what the kernel cannot do."""
    missing = []
    try:
        platform.become_subreaper()
    except OSError as error:
        missing.append(
            f"main does not adopt orphans ({error}): a daemon that a worker has started may be "
            "missed"
        )
    try:
        platform.check_parent_death_signal()
    except OSError as error:
        missing.append(
            f"no parent death signal ({error}): when main dies, the watchdog alone stops the "
            "workers"
        )
    if missing:
        log.warning("%s", "; ".join(missing))
