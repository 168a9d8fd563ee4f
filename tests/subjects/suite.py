"""What a suite of tests of a user's does with apps and clients: `python suite.py SCENARIO [plain]`.

Each request is one line: which app, which client, the answer. A line is the same with the Reaper
and without it.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable
from typing import Any

from sanic import Sanic, empty, text
from sanic.exceptions import SanicException
from sanic_testing.reusable import ReusableClient

from sanic_reaper import Reaper, background

EXTENDED = sys.argv[2:] != ["plain"]


def say(*words: object) -> None:
    print(">", *words, flush=True)


def new_app(name: str, work: str = "", **options: Any) -> Sanic:
    """An app that answers with what its background work has left."""
    app: Sanic = Sanic(name)
    if EXTENDED:
        app.extend(extensions=[Reaper])
    app.ctx.model = "none"
    if work:
        app.before_server_start(background(**options)(WORKS[work]))

    @app.on_request
    async def note(request: Any) -> None:
        request.ctx.noted = True

    @app.get("/")
    async def root(request: Any) -> Any:
        return text(f"{request.app.ctx.model} {request.ctx.noted}")

    @app.get("/ready", ctx_reaper_exempt=True)
    async def ready(request: Any) -> Any:
        return empty(204 if not EXTENDED or request.app.ctx.reaper.ready else 503)

    return app


def in_a_thread(app: Sanic) -> None:
    time.sleep(0.3)
    app.ctx.model = "loaded"


async def in_a_task(app: Sanic) -> None:
    await asyncio.sleep(0.3)
    app.ctx.model = "loaded"


def unfinished(app: Sanic) -> None:
    time.sleep(600)


async def failing(app: Sanic) -> None:
    raise ValueError("no model")


WORKS: dict[str, Callable[[Sanic], Any]] = {
    "thread": in_a_thread,
    "task": in_a_task,
    "unfinished": unfinished,
    "failing": failing,
}


def ask(app: Sanic) -> None:
    for path in ("/", "/ready", "/"):
        request, response = app.test_client.get(path)
        say(app.name, "test", path, response.status, response.text, request.path)


async def ask_asgi(app: Sanic) -> None:
    for path in ("/", "/ready", "/"):
        request, response = await app.asgi_client.get(path)
        say(app.name, "asgi", path, response.status, response.text, request.path)


def ask_reusable(app: Sanic) -> None:
    with ReusableClient(app) as client:
        for path in ("/", "/ready", "/"):
            request, response = client.get(path)
            say(app.name, "reusable", path, response.status, response.text, request.path)
    # The client leaves this behind, and the next single process would serve this app as well.
    app.state.server_info.clear()


def ask_all_ways(name: str, work: str = "") -> None:
    """A loop of its own for each test, as pytest-asyncio has it."""
    ask(new_app(f"{name}Test", work))
    asyncio.run(ask_asgi(new_app(f"{name}Asgi", work)))
    ask_reusable(new_app(f"{name}Reusable", work))


def fail(name: str) -> None:
    app = new_app(name)

    @app.before_server_start
    async def connect(app: Sanic) -> None:
        raise RuntimeError("no database")

    for attempt in (lambda: app.test_client.get("/"), lambda: asyncio.run(ask_asgi(app))):
        try:
            attempt()
        except (RuntimeError, SanicException) as error:
            say(name, "failed", error)


def many() -> None:
    for number in range(2):
        ask_all_ways(f"Plain{number}")
        fail(f"Failing{number}")
        ask_all_ways(f"Thread{number}", "thread")
        ask_all_ways(f"Task{number}", "task")


def at_once() -> None:
    works = {"One": "thread", "Two": "task", "Three": "", "Four": "thread"}

    async def all_of_them() -> None:
        apps = [new_app(name, work) for name, work in works.items()]
        await asyncio.gather(*map(ask_asgi, apps))

    for _ in range(2):
        asyncio.run(all_of_them())


def unfinished_work() -> None:
    """Work that requests need not wait for, and that goes on when the test is over."""
    app = new_app("Unfinished", "unfinished", ready_when_done=False)
    ask(app)
    asyncio.run(ask_asgi(app))
    ask_all_ways("Later")


def failing_work() -> None:
    logging.disable(logging.CRITICAL)
    ask(new_app("Failing", "failing"))
    ask_all_ways("Later")


def settings() -> None:
    """The limits of one app are not another one's."""

    async def slow(app: Sanic) -> None:
        await asyncio.sleep(0.5)

    for name, limit in (("First", 0.2), ("Second", 0.0), ("Third", 0.2), ("Fourth", 5.0)):
        app = new_app(name)
        app.config.REAPER_HANDLER_TIMEOUT = limit
        app.before_server_start(slow)
        try:
            ask(app)
        except TimeoutError:
            say(name, "timed out")


SCENARIOS = {
    "many": many,
    "at once": at_once,
    "unfinished work": unfinished_work,
    "failing work": failing_work,
    "settings": settings,
}

if __name__ == "__main__":
    SCENARIOS[sys.argv[1]]()
    say("done")
