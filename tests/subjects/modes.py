"""The subject without a main process, or with two apps: `python modes.py MODE`."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from typing import Any

from children import NAP, popen
from sanic import Sanic
from sanic.response import text
from subject import SUBJECT, act, build, emit, perform

from sanic_reaper import Reaper, background

HOST, PORT = "127.0.0.1", int(os.environ["PORT"])
MODE = sys.argv[1] if len(sys.argv) > 1 else os.environ["MODE"]
os.environ["MODE"] = MODE  # for the workers, whose command line is another


def create_server() -> None:
    async def serve() -> None:
        server = await app.create_server(HOST, PORT, return_asyncio_server=True)
        assert server is not None
        await server.startup()
        await server.before_start()
        await server.after_start()
        emit("up")
        await server.serve_forever()

    asyncio.run(serve())


def asgi() -> None:
    """A server for ASGI in a few lines: lifespan, and one request."""
    asyncio.run(drive())


async def drive() -> None:
    lifespan: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    replies: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    scope: dict[str, Any] = {"type": "lifespan", "asgi": {"version": "3.0"}}
    task = asyncio.create_task(app(scope, lifespan.get, replies.put))
    await lifespan.put({"type": "lifespan.startup"})
    emit("asgi", reply=(await replies.get())["type"])
    for message in await request():
        emit("asgi", reply=message["type"], status=message.get("status"))
    if MODE == "asgi that stays":
        emit("up")
        await asyncio.sleep(3600)
    await lifespan.put({"type": "lifespan.shutdown"})
    emit("asgi", reply=(await replies.get())["type"])
    task.cancel()


async def request() -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", HOST.encode())],
        "client": (HOST, 1),
        "server": (HOST, PORT),
    }
    await app(scope, receive, send)
    return sent


def add_app(name: str) -> Sanic:
    other: Sanic = Sanic(name)
    other.add_route(lambda request: text(name), "/")
    other.extend(extensions=[Reaper])
    if SUBJECT["secondary"]:
        other.before_server_start(start_second_async if in_loop() else start_second)
    return other


def sleep_a_while(app: Sanic) -> None:
    time.sleep(1)


def in_loop() -> bool:
    return bool(SUBJECT["secondary"].startswith("async"))


def start_second(app: Sanic) -> None:
    act(SUBJECT["secondary"])


async def start_second_async(app: Sanic) -> None:
    await perform(SUBJECT["secondary"])


async def start_by_hand(app: Sanic) -> None:
    """A second server of this worker's, as its user sees fit: its start is never completed."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((HOST, int(os.environ["SECOND_PORT"])))
    server = await other.create_server(sock=sock, return_asyncio_server=True)
    assert server is not None
    await server.startup()
    await server.before_start()
    await server.start_serving()
    app.ctx.by_hand = server


def by_hand() -> None:
    app.run(HOST, PORT, workers=2, motd=False, access_log=False)


def two_apps() -> None:
    app.prepare(HOST, PORT, workers=2, motd=False, access_log=False)
    other.prepare(HOST, int(os.environ["SECOND_PORT"]), motd=False, access_log=False)
    Sanic.serve(primary=app)


def single() -> None:
    app.run(HOST, PORT, single_process=True, motd=False, debug="debug" in SUBJECT["run"])


def twice() -> None:
    """A script that goes on when its server has stopped: with another, and with its own work."""
    run_and_go_on(app)
    run_and_go_on(app)
    time.sleep(600)


def one_after_the_other() -> None:
    run_and_go_on(app)
    run_and_go_on(other)
    time.sleep(600)


def run_and_go_on(served: Sanic) -> None:
    served.run(HOST, PORT, workers=2, motd=False, access_log=False)
    popen(NAP)
    emit("goes on")


app = build("Primary")
if MODE in ("secondary", "two apps"):
    other = add_app("Secondary")
elif MODE == "one after the other":
    other = build("Other")
elif MODE == "by hand":
    other = add_app("ByHand")
    other.config.TOUCHUP = False  # Sanic can do that once in a process
    if "BY_HAND_WORK" in os.environ:
        other.before_server_start(background(sleep_a_while))
    app.before_server_start(start_by_hand)

MODES = {
    "create_server": create_server,
    "asgi": asgi,
    "asgi that stays": asgi,
    "single": single,
    "secondary": two_apps,
    "two apps": two_apps,
    "by hand": by_hand,
    "twice": twice,
    "one after the other": one_after_the_other,
}

if __name__ == "__main__":
    MODES[MODE]()
