"""`sanic inspect reaper` and `sanic inspect dump WORKER`: two commands more for Sanic's Inspector.

Its class is Sanic's own extension point: what is a method there is a command, behind the API key of
the Inspector. Imported only where an Inspector runs: in main, and in its own process.
"""

from __future__ import annotations

import asyncio
import copyreg
import os
import time
from typing import Any

from ..compat.sanic_app import App
from ..state import discovery
from . import status


class Commands:
    """Behind the app's own class, so that what the user has called `dump` stays what it is."""

    _reaper_base: type
    """The app's own class."""
    _reaper_server: tuple[str, str, int]
    """Where main leaves word of the server, the id of its run, and its user."""

    def reaper(self) -> dict[str, object]:
        """What the endpoint shows as `/status`."""
        directory, run, uid = self._reaper_server
        try:
            server = discovery.load(directory, uid, run)
        except OSError as error:
            return status.unknown(f"what main writes can't be read: {error}")
        return status.document(server, time.monotonic())

    async def dump(self, worker: str = "", *_: str) -> str:
        """The stacks of one worker.

        Args:
            worker: its name, such as `Sanic-Server-0-0`, or its pid.
        """
        from ..state.control import ask_for_stack

        directory, run, _uid = self._reaper_server
        try:
            return await asyncio.to_thread(ask_for_stack, directory, run, worker)
        except (OSError, LookupError) as error:
            # Of an answer that is not 200, `sanic inspect` shows the number alone.
            return f"no stack: {error}"

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Under spawn an Inspector is pickled, and pickle would look for our class by its name."""
        reduced = super().__reduce_ex__(protocol)
        if isinstance(reduced, tuple) and reduced[0] is copyreg.__newobj__:  # type: ignore[attr-defined]
            made = (self._reaper_base, self._reaper_server, *reduced[1][1:])
            return (_new, made, *reduced[2:])
        return reduced  # in a way of its own


def _extended(base: type, server: tuple[str, str, int]) -> type:
    return type(base.__name__, (base, Commands), {"_reaper_base": base, "_reaper_server": server})


def _new(base: type, server: tuple[str, str, int], *arguments: Any) -> Any:
    return base.__new__(_extended(base, server), *arguments)


def add_commands(app: App, directory: str, run: str) -> None:
    """Have the Inspector that this app is about to start know them.

    Args:
        directory: where main leaves word of the server.
        run: the id of its run.
    """
    current = getattr(app, "inspector_class", None)
    base = getattr(current, "_reaper_base", current)  # of a server before, in this process
    if isinstance(base, type) and hasattr(copyreg, "__newobj__"):
        app.inspector_class = _extended(base, (directory, run, os.geteuid()))
