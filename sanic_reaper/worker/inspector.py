"""More commands for Sanic's Inspector: `sanic inspect reaper`, `dump WORKER` and `requests`.

Each method of the Inspector's class is a command, protected by the Inspector's API key. Imported
only where an Inspector runs: in main, and in the Inspector's process.
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
    """The commands. A base class after the app's own one, whose method `dump` comes first."""

    _reaper_base: type
    """The Inspector class of the app."""
    _reaper_server: tuple[str, str, int]
    """The directory of main's state files, the id of the run, and the user's id."""

    def reaper(self) -> dict[str, object]:
        """The document that the endpoint serves as `/status`."""
        directory, run, uid = self._reaper_server
        try:
            server = discovery.load(directory, uid, run)
        except OSError as error:
            return status.unknown(f"the state files of main can't be read: {error}")
        return status.document(server, time.monotonic())

    async def dump(self, worker: str = "", *_: str) -> str:
        """The stacks of one worker.

        Args:
            worker: the worker's name, such as `Sanic-Server-0-0`, or its pid.
        """
        from ..state.control import ask_for_stack

        directory, run, _uid = self._reaper_server
        try:
            return await asyncio.to_thread(ask_for_stack, directory, run, worker)
        except (OSError, LookupError) as error:
            # `sanic inspect` shows only the status of a response that is not 200.
            return f"no stack: {error}"

    async def requests(self, worker: str = "", *_: str) -> str:
        """The requests in flight, and the line in which each waits.

        Args:
            worker: the worker's name, or its pid. "": all workers.
        """
        return await asyncio.to_thread(self._requests_of, worker)

    def _requests_of(self, worker: str) -> str:
        from ..state.requests import ask_each, text_of

        directory, run, uid = self._reaper_server
        try:
            server = discovery.load(directory, uid, run)
        except OSError as error:
            return f"no requests: the state files of main can't be read: {error}"
        named = [
            one for one in server.living_workers if worker in ("", one.name, str(one.identity[0]))
        ]
        return text_of(ask_each(server, named)) or f"this server has no worker {worker}".rstrip()

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle the app's class, and make the class with the commands again when it is unpickled.

        An Inspector is pickled under spawn, and pickle finds no class that was made by `type`.
        """
        reduced = super().__reduce_ex__(protocol)
        if isinstance(reduced, tuple) and reduced[0] is copyreg.__newobj__:  # type: ignore[attr-defined]
            made = (self._reaper_base, self._reaper_server, *reduced[1][1:])
            return (_new, made, *reduced[2:])
        return reduced  # the app's class is pickled in its own way


def _extended(base: type, server: tuple[str, str, int]) -> type:
    return type(base.__name__, (base, Commands), {"_reaper_base": base, "_reaper_server": server})


def _new(base: type, server: tuple[str, str, int], *arguments: Any) -> Any:
    return base.__new__(_extended(base, server), *arguments)


def add_commands(app: App, directory: str, run: str) -> None:
    """Add the commands to the Inspector that this app is about to start.

    Args:
        directory: directory of main's state files.
        run: id of the server's run.
    """
    current = getattr(app, "inspector_class", None)
    base = getattr(current, "_reaper_base", current)  # of an earlier server in this process
    if isinstance(base, type) and hasattr(copyreg, "__newobj__"):
        app.inspector_class = _extended(base, (directory, run, os.geteuid()))
