"""The paths under `REAPER_ENDPOINT`, on which a worker answers for the whole server.

A worker reads the state files of main, as `sanic-reaper ps` does. So every worker gives the same
answer, also about workers that can't answer and about a main that is stuck. No path changes
anything. Loaded only in workers, and only if the key is set.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from sanic import HTTPResponse, Request
from sanic.response import json, text
from sanic_ext import openapi

from ..compat import sanic_app, sanic_listeners
from ..compat.sanic_app import App
from ..state import discovery, health
from ..state.server import Server
from . import metrics, status
from .handlers import EXEMPT

FRESH = 0.1
"""Seconds for which the state that was read is used again. Main writes it no more often."""

NO_STORE = {"Cache-Control": "no-store"}


def install(prefix: str, directory: str, run: str) -> None:
    """Add the paths to the primary app of this worker, when the app gets its routes.

    Args:
        prefix: prefix of the paths.
        directory: directory of main's state files. "": there is none.
        run: id of the server's run.
    """
    endpoint = Endpoint(directory, run)

    def add(app: App) -> None:
        if app.name == sanic_app.primary_name():
            endpoint.add_to(app, prefix)

    sanic_listeners.before_routing(add)


class Endpoint:
    """Answers requests from the state files of main.

    Args:
        directory: directory of main's state files. "": there is none.
        run: id of the server's run.
    """

    def __init__(self, directory: str, run: str) -> None:
        self._directory, self._run = directory, run
        self._uid = os.geteuid()  # now: a start listener can change the user
        self._server: Server | None = None
        self._why = ""
        """Why the state of the server can't be read. "": it can."""
        self._read_at = 0.0

    def add_to(self, app: App, prefix: str) -> None:
        """Add the paths to an app's routes. The app's middleware runs for them too."""
        exempt: dict[str, Any] = {f"ctx_{EXEMPT}": True}
        for handler in (self.live, self.ready, self.metrics, self.status):
            name = handler.__name__
            openapi.exclude()(handler)
            app.add_route(
                handler,
                f"{prefix}/{name}",
                methods=("GET", "HEAD"),
                name=f"reaper_{name}",
                **exempt,
            )

    async def live(self, request: Request) -> HTTPResponse:
        return self._judge(health.live)

    async def ready(self, request: Request) -> HTTPResponse:
        return self._judge(health.ready)

    def _judge(self, ask: Callable[[Server, float], str]) -> HTTPResponse:
        server = self._look()
        reason = self._why if server is None else ask(server, time.monotonic())
        return text(f"{reason or 'ok'}\n", 503 if reason else 200, NO_STORE)

    async def metrics(self, request: Request) -> HTTPResponse:
        server = self._look()
        if server is None:
            return text(f"{self._why}\n", 503, NO_STORE)
        body = metrics.exposition(server, time.monotonic())
        return text(body, headers=NO_STORE, content_type=metrics.CONTENT_TYPE)

    async def status(self, request: Request) -> HTTPResponse:
        server = self._look()
        if server is None:
            return json(status.unknown(self._why), 503, NO_STORE)
        return json(status.document(server, time.monotonic()), headers=NO_STORE)

    def _look(self) -> Server | None:
        now = time.monotonic()
        if now - self._read_at >= FRESH:
            self._read_at, self._server = now, None
            try:
                self._server = discovery.load(self._directory, self._uid, self._run)
            except OSError as error:  # its full text can contain a path
                why = error.strerror or "they are not valid"
                self._why = f"the state files of main can't be read: {why}"
            if not self._directory:
                self._why = "main has no directory for its state files; its log says why"
        return self._server
