"""The server under measurement: the smallest Sanic app, with the Reaper or without it.

It reads its shape from the environment, because under spawn each worker imports this file anew.
Both shapes extend the app, so that the one difference between them is the Reaper itself.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import time
from pathlib import Path
from typing import Any

from sanic import HTTPResponse, Request, Sanic
from sanic.response import text

READY = Path(os.environ["BENCH_READY"])
"""Each worker leaves a file here, so that nobody has to guess when the tree is complete."""

app = Sanic("Bench")
if os.environ["BENCH_REAPER"] == "yes":
    from sanic_reaper import Reaper

    app.extend(extensions=[Reaper])
else:
    app.extend(extensions=[])


@app.get("/")
async def hello(request: Request) -> HTTPResponse:
    return text("hello")


class KeepBeginning(logging.Handler):
    """When this worker began, by what it says of its start before that is rounded."""

    began = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        if "is up after" in record.msg and isinstance(record.args, tuple):
            self.began = record.created - float(str(record.args[2]))


beginning = KeepBeginning()
logging.getLogger("sanic.root").addHandler(beginning)


@app.get("/began")
async def began(request: Request) -> HTTPResponse:
    return text(str(beginning.began))


@app.get("/collect")
async def collect(request: Request) -> HTTPResponse:
    gc.collect()
    return text(str(os.getpid()))


for number in range(int(os.environ["BENCH_ROUTES"])):
    app.add_route(hello, f"/hello/{number}", name=f"hello_{number}")


if os.environ["BENCH_STATE"] == "waiting":
    app.config.RESPONSE_TIMEOUT = 3600
    pauses = [0.0]

    @app.get("/wait")
    async def wait(request: Request) -> HTTPResponse:
        await asyncio.Event().wait()
        return text("never")

    @app.get("/pause")
    async def pause(request: Request) -> HTTPResponse:
        longest, pauses[:] = max(pauses), [0.0]
        return text(str(longest))

    @app.after_server_start
    async def begin_to_watch(app: Sanic[Any, Any]) -> None:
        app.add_task(watch_pauses())

    async def watch_pauses() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            pauses[0] = max(pauses[0], time.perf_counter() - before)


if os.environ["BENCH_STATE"] in ("full", "slow"):
    if os.environ["BENCH_STATE"] == "slow":
        app.config.REAPER_SLOW_REQUEST = 5.0
    app.config.update(
        REAPER_HEARTBEAT_TIMEOUT=60.0,
        REAPER_MAX_REQUESTS=10**9,
        REAPER_MAX_LIFETIME=1e9,
        REAPER_MAX_RSS="1TiB",
    )

if os.environ["BENCH_STATE"] == "soak":
    app.config.update(
        REAPER_MAX_REQUESTS=20_000,
        REAPER_MAX_LIFETIME=45.0,
        REAPER_HEARTBEAT_TIMEOUT=2.0,
        REAPER_RESPAWN_LIMIT=10_000,
        REAPER_RESPAWN_WINDOW=1.0,
    )

    @app.get("/restart/<zero_downtime:int>")
    async def restart(request: Request, zero_downtime: int) -> HTTPResponse:
        app.m.restart(all_workers=True, zero_downtime=bool(zero_downtime))
        return text("restarting")

    @app.get("/scale/<workers:int>")
    async def scale(request: Request, workers: int) -> HTTPResponse:
        app.m.scale(workers)
        return text("scaling")

    @app.get("/hang")
    async def hang(request: Request) -> HTTPResponse:
        time.sleep(600)
        return text("never")


@app.before_server_start
async def slow_start(app: Sanic[Any, Any]) -> None:
    """The users' bug report: a start-up that blocks the event loop and hears no signal."""
    if os.environ["BENCH_STATE"] == "stuck":
        (READY / str(os.getpid())).touch()
        time.sleep(600)


@app.after_server_start
async def serving(app: Sanic[Any, Any]) -> None:
    (READY / str(os.getpid())).touch()


if __name__ == "__main__":
    Sanic.start_method = os.environ["BENCH_METHOD"]  # type: ignore[assignment]
    app.run(
        host="127.0.0.1",
        port=int(os.environ["BENCH_PORT"]),
        workers=int(os.environ["BENCH_WORKERS"]),
        access_log=False,
        motd=False,
    )
