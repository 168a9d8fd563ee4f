"""The program that meets a future: it uses nothing of Sanic but what its guide tells.

The variable FUTURE tells what it does. `plain`: it is not extended. `hangs`: a handler of its start
does not end, which has a limit of its own if that says `handler`.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from events import emit
from sanic import HTTPResponse, Request, Sanic
from sanic.response import text

HOW: dict[str, Any] = json.loads(os.environ["FUTURE"])

Sanic.start_method = HOW["method"]
app: Sanic = Sanic("Future")
app.config.update(HOW["config"])


def connect(app: Sanic) -> None:
    emit("connecting")
    time.sleep(600)


def warm_up(app: Sanic) -> None:
    time.sleep(0.2)
    emit("background")


async def shut_down(app: Sanic) -> None:
    emit("stopped")


if not HOW["plain"]:
    from sanic_reaper import Reaper, background, startup_timeout

    app.extend(extensions=[Reaper])
    app.before_server_start(background(warm_up))
    if HOW["hangs"]:
        has_limit = HOW["hangs"] == "handler"
        app.before_server_start(startup_timeout(1)(connect) if has_limit else connect)


@app.main_process_start
async def main_starts(app: Sanic) -> None:
    emit("main_process_start")


@app.after_server_start
async def serves(app: Sanic) -> None:
    emit("after_server_start")


app.after_server_stop(shut_down)


@app.get("/")
async def who(request: Request) -> HTTPResponse:
    return text(str(os.getpid()))


@app.get("/restart")
async def restart(request: Request) -> HTTPResponse:
    app.m.restart(all_workers=True)
    return text("done")


@app.get("/stop")
async def stop(request: Request) -> HTTPResponse:
    # In one future what is public has another name.
    stop_all: Any = getattr(app.m, "terminate", None) or app.m.stop_all
    stop_all()
    return text("done")


if __name__ == "__main__":
    app.run(
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        workers=2,
        access_log=False,
        motd=False,
    )
