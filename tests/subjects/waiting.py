"""An app whose requests wait, each in a line of its own, which a comment names.

The variable WAITING has the keys `method`, `config`, and `uvloop`.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import time
from collections.abc import AsyncIterator
from typing import Any

from events import emit
from sanic import Blueprint, HTTPResponse, Request, Sanic, Websocket
from sanic.exceptions import NotFound
from sanic.response import text

from sanic_reaper import Reaper, background

HOW: dict[str, Any] = json.loads(os.environ["WAITING"])

Sanic.start_method = HOW["method"]
app: Sanic = Sanic("Waiting")
app.config.update({"RESPONSE_TIMEOUT": 600, **HOW["config"]})
app.config.USE_UVLOOP = HOW["uvloop"]
app.extend(extensions=[Reaper])
for kind in ("request.slow", "worker.blocked", "worker.killed"):
    Reaper.of(app).on(kind)(lambda event: emit(event.name, reason=event.reason))
other: Sanic = Sanic("Other")
other.config.USE_UVLOOP = HOW["uvloop"]


@app.main_process_start
async def start(app: Sanic) -> None:
    emit("main_process_start")


@app.before_server_start
@background(ready_when_done=False)
async def warm_up(app: Sanic) -> None:
    if HOW.get("background"):
        await asyncio.sleep(3600)  # in background


@app.after_server_start
async def up(app: Sanic) -> None:
    app.add_task(tick(), name="ticker")
    emit("serving")


async def tick() -> None:
    while True:
        await asyncio.sleep(3600)  # in tick


@app.get("/await/<secret>")
async def waits(request: Request, secret: str) -> HTTPResponse:
    await asyncio.Event().wait()  # in await
    return text("never")


@app.post("/body")
@app.post("/body/<secret>", name="reads_more")
async def reads(request: Request, secret: str = "") -> HTTPResponse:
    await asyncio.Event().wait()  # in body
    return text("never")


@app.get("/task")
async def waits_for_a_task(request: Request) -> HTTPResponse:
    await asyncio.create_task(forever_in_a_task())
    return text("never")


async def forever_in_a_task() -> None:
    await asyncio.sleep(3600)  # in task


@app.get("/limited")
async def waits_with_a_limit(request: Request) -> HTTPResponse:
    await asyncio.wait_for(forever_with_a_limit(), 3600)
    return text("never")


async def forever_with_a_limit() -> None:
    await asyncio.sleep(3600)  # in limited


@app.get("/several")
async def waits_for_several(request: Request) -> HTTPResponse:
    await asyncio.gather(one_of_several(), one_of_several())
    return text("never")


async def one_of_several() -> None:
    await asyncio.sleep(3600)  # in several


@app.get("/generator")
async def waits_for_a_generator(request: Request) -> HTTPResponse:
    async for _ in generated():
        pass
    return text("never")


async def generated() -> AsyncIterator[int]:
    yield 1
    await asyncio.sleep(3600)  # in generator


@app.get("/thread")
async def waits_for_a_thread(request: Request) -> HTTPResponse:
    await asyncio.to_thread(time.sleep, 600)  # in thread
    return text("never")


@app.get("/executor")
async def waits_for_an_executor(request: Request) -> HTTPResponse:
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, time.sleep, 600)  # in executor
    return text("never")


@app.get("/gone")
async def cleans_up(request: Request) -> HTTPResponse:
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.Event().wait()  # in gone
    return text("never")


@app.get("/leaves")
async def cleans_up_and_blocks(request: Request) -> HTTPResponse:
    try:
        await asyncio.Event().wait()
    finally:
        emit("blocking")
        time.sleep(8)  # in leaves
    return text("never")


@app.get("/work")
async def starts_work(request: Request) -> HTTPResponse:
    app.add_task(work_on(), name="work")
    return text("done")


async def work_on() -> None:
    await asyncio.Event().wait()  # in work


@app.post("/upload", stream=True)
async def uploads(request: Request) -> HTTPResponse:
    async for _ in request.stream:  # in upload
        pass
    return text("never")


@app.get("/unread")
async def floods(request: Request) -> None:
    response = await request.respond()
    while True:
        await response.send("x" * 100_000)  # in unread


@app.get("/early")
@app.get("/late", name="late")
async def in_a_middleware(request: Request) -> HTTPResponse:
    return text("never")


@app.on_request
async def looks_at_each(request: Request) -> None:
    if request.path == "/early":
        await asyncio.Event().wait()  # in early


@app.on_response
async def looks_at_each_response(request: Request, response: HTTPResponse) -> None:
    if request.path == "/late":
        await asyncio.Event().wait()  # in late


@app.exception(NotFound)
async def explains_that_it_is_missing(request: Request, error: Exception) -> HTTPResponse:
    if request.path == "/missing":
        await asyncio.Event().wait()  # in missing
    return text("missing", status=404)


@app.get("/stream")
async def streams(request: Request) -> None:
    response = await request.respond()
    await response.send("a part")
    await asyncio.Event().wait()  # in stream


@app.get("/answered")
async def goes_on(request: Request) -> None:
    response = await request.respond(text("all of it"))
    await response.eof()
    await asyncio.Event().wait()  # in answered


@app.websocket("/socket")
async def talks(request: Request, ws: Websocket) -> None:
    await ws.recv()  # in socket


@app.get("/fails")
async def fails(request: Request) -> HTTPResponse:
    raise ZeroDivisionError


@app.exception(ZeroDivisionError)
async def explains(request: Request, error: Exception) -> HTTPResponse:
    await asyncio.Event().wait()  # in fails
    return text("never")


blueprint = Blueprint("shop", url_prefix="/shop", version=2)


@blueprint.middleware("request")
async def looks_first(request: Request) -> None:
    if request.path.endswith("middleware"):
        await asyncio.Event().wait()  # in middleware


@blueprint.get("/middleware")
async def never(request: Request) -> HTTPResponse:
    return text("never")


@blueprint.get("/cart")
async def cart(request: Request) -> HTTPResponse:
    await asyncio.Event().wait()  # in cart
    return text("never")


app.blueprint(blueprint)


@app.get("/block/<seconds:float>")
async def blocks(request: Request, seconds: float) -> HTTPResponse:
    emit("blocking")
    time.sleep(seconds)  # in block
    return text("done")


@app.get("/together/<seconds:float>")
async def blocks_together(request: Request, seconds: float) -> HTTPResponse:
    await asyncio.gather(asyncio.sleep(3600), blocks_in_a_task(seconds))
    return text("done")


async def blocks_in_a_task(seconds: float) -> None:
    emit("blocking")
    time.sleep(seconds)  # in together


@app.get("/gil")
async def holds_the_gil(request: Request) -> HTTPResponse:
    libc, mutex = ctypes.PyDLL(None), ctypes.create_string_buffer(128)
    emit("blocking")
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)  # in gil
    return text("never")


@app.get("/lock")
async def waits_for_a_lock(request: Request) -> HTTPResponse:
    libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(128)
    libc.pthread_mutex_lock(mutex)
    emit("blocking")
    libc.pthread_mutex_lock(mutex)  # in lock
    return text("never")


@app.get("/quick")
async def quick(request: Request) -> HTTPResponse:
    return text("done")


@app.get("/replace")
async def replace(request: Request) -> HTTPResponse:
    app.m.restart(all_workers=True)
    return text("done")


@other.get("/elsewhere")
async def waits_elsewhere(request: Request) -> HTTPResponse:
    await asyncio.Event().wait()  # in elsewhere
    return text("never")


if __name__ == "__main__":
    listens = {"host": "127.0.0.1", "access_log": False, "motd": False, "workers": 1}
    app.prepare(port=int(os.environ["PORT"]), **listens)
    if HOW.get("second"):
        other.prepare(port=HOW["second"], **listens)
    Sanic.serve(primary=app)
