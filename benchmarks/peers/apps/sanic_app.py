"""The app for Sanic: `python sanic_app.py`, with the Reaper or without it."""

from __future__ import annotations

import os
from typing import Any

import behaviour
from sanic import HTTPResponse, Request, Sanic
from sanic.response import text

GRACE = float(os.environ["PEER_GRACE"])

app = Sanic("Peer")
app.config.GRACEFUL_SHUTDOWN_TIMEOUT = GRACE
extensions: list[Any] = []
if os.environ["PEER_REAPER"] == "yes":
    from sanic_reaper import Reaper

    extensions.append(Reaper)
    app.config.update(
        REAPER_SHUTDOWN_TIMEOUT=GRACE + 1.0,
        REAPER_ORPHAN_GRACE=GRACE,
        REAPER_HEARTBEAT_TIMEOUT=GRACE,
    )
app.extend(extensions=extensions)


@app.before_server_start
async def start(app: Sanic[Any, Any]) -> None:
    await behaviour.on_start()


@app.get("/<path:path>")
async def answer(request: Request, path: str) -> HTTPResponse:
    return text(await behaviour.answer(request.path))


behaviour.on_import(in_main_too=True)

if __name__ == "__main__":
    Sanic.start_method = os.environ["PEER_METHOD"]  # type: ignore[assignment]
    app.run(
        host="127.0.0.1",
        port=int(os.environ["PEER_PORT"]),
        workers=2,
        access_log=False,
        motd=False,
    )
