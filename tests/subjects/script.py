"""A script that has more to do than to run its server: `python script.py MODE`."""

from __future__ import annotations

import os
import sys
import time

from children import NAP, popen
from sanic import Sanic
from subject import build, emit

HOST, PORT = "127.0.0.1", int(os.environ["PORT"])
MODE = sys.argv[1] if len(sys.argv) > 1 else os.environ["MODE"]
os.environ["MODE"] = MODE  # for the workers, whose command line is another


def serve(port: int = PORT) -> None:
    app.run(HOST, port, workers=1, motd=False, access_log=False)


def later_apps() -> None:
    """Apps that are made when marks stand in the environment: what do they take for settings?"""
    app.main_process_start(lambda _: say_settings("main"))
    serve()


def say_settings(where: str) -> None:
    made = [Sanic(f"Later-{where}"), Sanic(f"Prefixed-{where}", env_prefix="sanic_")]
    emit("settings", where=where, keys=[key for one in made for key in one.config if "REAP" in key])
    for one in made:
        Sanic.unregister_app(one)


def two_servers() -> None:
    """A launcher that forks its servers, and goes on with work of its own."""
    for port in (PORT, int(os.environ["SECOND_PORT"])):
        if os.fork() == 0:
            serve(port)
            os._exit(0)
    while True:
        time.sleep(0.1)
        if not os.path.exists(os.environ["EVENTS"] + ".order"):
            continue
        popen(NAP)
        emit("launcher goes on")
        time.sleep(600)


JOB = 'while [ ! -e "$EVENTS.order" ]; do sleep 0.1; done; setsid --fork sleep 600'
"""Starts a daemon when it is told to, and ends: the daemon has another parent at once."""


def start_jobs() -> None:
    for _ in range(8):
        popen(["sh", "-c", JOB])


if MODE == "jobs first" and __name__ == "__main__":
    start_jobs()
app = build("Script")
if MODE == "jobs second" and __name__ == "__main__":
    start_jobs()
if MODE == "later apps":
    app.after_server_start(lambda _: say_settings("worker"))

MODES = {
    "later apps": later_apps,
    "two servers": two_servers,
    "jobs first": serve,
    "jobs second": serve,
}

if __name__ == "__main__":
    MODES[MODE]()
