"""The line of a server's log about its limits, with the version of the Reaper. Pure."""

from __future__ import annotations

from ..config import Settings
from ..model import recycling


def greeting(version: str, method: str, settings: Settings) -> str:
    """The line, in words.

    Args:
        version: version of the Reaper.
        method: the start method, as `multiprocessing` calls it.
        settings: settings of the server.
    """
    return f"sanic-reaper {version}, start method {method}: {', '.join(limits(settings))}"


def limits(settings: Settings) -> list[str]:
    """The limits that apply: those of the start and the stop, and each other one that is set."""
    start = settings.startup_timeout
    found = [
        "a start has no limit" if start is None else f"a worker has {start:g} s to start",
        f"a stop takes {settings.shutdown_timeout:g} s at most",
    ]
    if settings.handler_timeout:
        found.insert(1, f"a start handler has {settings.handler_timeout:g} s")
    if settings.heartbeat_timeout:
        blocked = settings.heartbeat_timeout
        found.append(f"a worker whose event loop is blocked for {blocked:g} s is replaced")
    if not settings.respawn:
        found.append("a worker that dies is not replaced")
    if ways := recycling.named(settings):
        found.append(f"a worker is recycled after {' or '.join(ways)}")
    return found
