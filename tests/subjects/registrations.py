"""Handlers of every kind, registered in every way. Each leaves an event with what it was given."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from events import emit
from sanic import Blueprint, HTTPResponse, Request, Sanic
from sanic.response import json
from subject import SUBJECT, extend


def note(name: str, *given: Any) -> None:
    emit("handler", what=name, given=[type(argument).__name__ for argument in given])


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
def with_loop(app: Sanic, loop: Any) -> None:
    note("with_loop", app, "loop" if loop.is_running() else loop)


@app.before_server_start(priority=-5)
def late(app: Sanic) -> None:
    note("late", app)


@app.before_server_start(priority=5)
def early(app: Sanic) -> None:
    note("early", app)


@blueprint.before_server_start
async def of_a_blueprint(app: Sanic) -> None:
    note("of_a_blueprint", app)


def completed(app: Sanic, extra: int) -> None:
    note("completed", app, extra)


class Service:
    def method(self, app: Sanic) -> None:
        note("method", app)

    async def awaiting_method(self, app: Sanic) -> None:
        note("awaiting_method", app)

    def __call__(self, app: Sanic, loop: Any) -> str:
        note("Service", app, "loop" if loop.is_running() else loop)
        return "a value that nobody reads"


@app.signal("server.init.before")
async def of_a_signal(**context: Any) -> None:
    note("of_a_signal", *sorted(context))


app.register_listener(partial(completed, extra=3), "before_server_start")
app.register_listener(Service().method, "before_server_start")
app.register_listener(Service().awaiting_method, "before_server_start")
app.listener(Service(), "before_server_start")
app.blueprint(blueprint)


@app.get("/startup")
async def startup(request: Request) -> HTTPResponse:
    return json([record.name for record in request.app.ctx.reaper.startup])


@app.after_server_start
def ready(app: Sanic) -> None:
    emit("ready")


if __name__ == "__main__":
    port = int(os.environ["PORT"])
    app.run("127.0.0.1", port, workers=1, motd=False, access_log=False, **SUBJECT["run"])
