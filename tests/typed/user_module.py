"""A user's module, as `mypy --strict` reads it: every public name in use."""

import asyncio
from types import SimpleNamespace

from sanic import HTTPResponse, Request, Sanic, empty
from sanic.config import Config

from sanic_reaper import (
    Event,
    NotReady,
    Reaper,
    ReaperHandle,
    StartupTimeout,
    __version__,
    background,
    detached_env,
    startup_timeout,
)


class Context(SimpleNamespace):
    reaper: ReaperHandle


def note(event: Event) -> None:
    print(event.name, event.pid, event.seconds, __version__)


app = Sanic("Typed")
app.extend(extensions=[Reaper])

hooked = Sanic("Hooked")
handle: ReaperHandle = Reaper.attach(hooked, on_event=note)

contextual: Sanic[Config, Context] = Sanic("Contextual", ctx=Context())
contextual.extend(extensions=[Reaper])


@contextual.ctx.reaper.on("worker.died")
def page_somebody(event: Event) -> int:
    return event.pid


@Reaper.of(app).on
def hear_everything(event: Event) -> None: ...


@app.before_server_start
@startup_timeout(30)
async def connect(app: Sanic[Config, SimpleNamespace]) -> None:
    await asyncio.sleep(0)


@app.before_server_start
@background
def warm_up(app: Sanic[Config, SimpleNamespace]) -> None: ...


@app.before_server_start
@background(timeout=300, ready_when_done=False)
async def load(app: Sanic[Config, SimpleNamespace], loop: asyncio.AbstractEventLoop) -> None: ...


@app.get("/ready")
async def ready(request: Request) -> HTTPResponse:
    return empty(204 if Reaper.of(app).ready else 503)


@app.exception(NotReady)
async def not_ready(request: Request, error: NotReady) -> HTTPResponse:
    return empty(503)


environment: dict[str, str] = detached_env()
errors: tuple[type[Exception], ...] = (StartupTimeout,)


async def plain(app: int, name: str = "") -> bytes:
    return b""


reveal_type(startup_timeout(5)(plain))
reveal_type(background(plain))
reveal_type(background(timeout=5)(plain))
reveal_type(page_somebody)
reveal_type(contextual.ctx.reaper)
reveal_type([record.seconds for record in handle.startup])
