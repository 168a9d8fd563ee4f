"""Handlers of every kind, registered in every way. Each leaves an event with what it was given."""

from __future__ import annotations

import asyncio
import functools
import os
import time
from functools import partial
from typing import Any

from events import emit
from sanic import Blueprint, HTTPResponse, Request, Sanic
from sanic.response import json
from subject import SUBJECT, extend


def note(name: str, *given: Any) -> None:
    emit("handler", what=name, given=[type(argument).__name__ for argument in given])


def running(loop: Any) -> Any:
    """A word for a loop that runs. Seen from a thread it may be between two runs: that of the start
    is over, and the one for good begins."""
    by = time.monotonic() + 5
    while not loop.is_running() and time.monotonic() < by:
        time.sleep(0.005)
    return "loop" if loop.is_running() else loop


def decorated(function: Any) -> Any:
    """With what the subject says of its handlers: nothing, a limit, or that they go on beside."""
    import sanic_reaper

    for decorator, (arguments, keywords) in SUBJECT["decorate"].items():
        function = getattr(sanic_reaper, decorator)(*arguments, **keywords)(function)
    return function


def passing_on(function: Any) -> Any:
    """A wrapper as users write them: no coroutine function, whatever is in it."""

    @functools.wraps(function)
    def wrapper(app: Sanic) -> Any:
        return function(app)

    return wrapper


Sanic.start_method = SUBJECT["method"]
app: Sanic = Sanic("Registrations")
blueprint = Blueprint("part")


@app.before_server_start
def before_extend(app: Sanic) -> None:
    note("before_extend", app)


extend(app)


@app.before_server_start
async def awaiting(app: Sanic) -> None:
    note("awaiting", app)


@app.listener("before_server_start")
@decorated
def with_loop(app: Sanic, loop: Any) -> None:
    note("with_loop", app, running(loop))


@app.before_server_start(priority=-5)
def late(app: Sanic) -> None:
    note("late", app)


@app.before_server_start(priority=5)
def early(app: Sanic) -> None:
    note("early", app)


@blueprint.before_server_start
async def of_a_blueprint(app: Sanic) -> None:
    note("of_a_blueprint", app)


@decorated
def completed(app: Sanic, extra: int) -> None:
    note("completed", app, extra)


@app.before_server_start
@passing_on
@decorated
@passing_on
async def wrapped(app: Sanic) -> None:
    await asyncio.sleep(0)
    note("wrapped", app)


class Service:
    @decorated
    def method(self, app: Sanic) -> None:
        note("method", app)

    async def awaiting_method(self, app: Sanic) -> None:
        note("awaiting_method", app)

    def __call__(self, app: Sanic, loop: Any) -> str:
        note("Service", app, running(loop))
        return "a value that nobody reads"


@app.signal("server.init.before")
async def of_a_signal(**context: Any) -> None:
    note("of_a_signal", *sorted(context))


app.register_listener(partial(completed, extra=3), "before_server_start")
app.register_listener(Service().method, "before_server_start")
app.register_listener(Service().awaiting_method, "before_server_start")
app.listener(decorated(Service()), "before_server_start")
app.blueprint(blueprint)

if "background" in SUBJECT["decorate"]:
    # Beside the start it may have an event loop of its own; plain Sanic has one already.
    async def in_its_own_loop(app: Sanic) -> None:
        note("in_its_own_loop", app)

    @functools.wraps(in_its_own_loop)
    def run_it(app: Sanic) -> None:
        asyncio.run(in_its_own_loop(app))

    app.before_server_start(decorated(run_it))


@app.get("/startup")
async def startup(request: Request) -> HTTPResponse:
    return json([record.name for record in request.app.ctx.reaper.startup])


@app.after_server_start
def ready(app: Sanic) -> None:
    emit("ready")


if __name__ == "__main__":
    port = int(os.environ["PORT"])
    app.run("127.0.0.1", port, workers=1, motd=False, access_log=False, **SUBJECT["run"])
