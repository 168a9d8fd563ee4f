"""The bug report as a program: two workers that take long to start.

    python slow_start.py                             with the Reaper
    SANIC_CUSTOM_REAPER=no python slow_start.py      plain Sanic

The workers load for ten seconds, then they answer on http://127.0.0.1:8000. While they load, press
Ctrl+C, or hurt the main process (the first in the list below) from another terminal:

    kill -TERM PID      kill -HUP PID      kill -KILL PID

and look at what is left, at its parents (PPID) and at its share of a core:

    ps -eo pid,ppid,stat,%cpu,args --forest | grep '[p]ython'

Plain Sanic leaves a main process that keeps a core busy for ever, or workers and helpers that
belong to nobody and hold the port. With the Reaper the list is empty. `sanic-reaper demo` tries it
all.

Settings, from the environment: SANIC_CUSTOM_DELAY (seconds), SANIC_CUSTOM_REAPER (yes or no),
SANIC_PORT, and SANIC_START_METHOD (spawn, fork or forkserver).
"""

import os
import time

from sanic import HTTPResponse, Request, Sanic, text
from sanic.log import logger

from sanic_reaper import Reaper

app = Sanic("SlowStart")
Sanic.start_method = app.config.get("START_METHOD", "spawn")

if app.config.get("CUSTOM_REAPER", True):
    app.extend(extensions=[Reaper])  # the one line


@app.before_server_start
def load(app: Sanic) -> None:
    """Block the worker, as loading a model or waiting for a database does."""
    delay = app.config.get("CUSTOM_DELAY", 10)
    logger.info("Loading for %s s", delay)
    time.sleep(delay)
    logger.info("Loaded")


@app.get("/")
async def hello(request: Request) -> HTTPResponse:
    return text(f"Hello from process {os.getpid()}\n")


if __name__ == "__main__":
    app.run(port=app.config.get("PORT", 8000), workers=2)
