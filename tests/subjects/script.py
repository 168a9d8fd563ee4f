"""A script that has more to do than to run its server: `python script.py MODE`."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import gc
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from children import DAEMON, NAP, popen
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


def job_afterwards() -> None:
    """The server is over, and the script goes on with work that is to outlive it."""
    serve()
    popen(NAP, start_new_session=True)
    popen(DAEMON)
    emit("after", marks=[name for name in os.environ if name.startswith("sanic_reaper_")])


def child_before() -> None:
    """A child that is older than the server and outlives the script, and executes nothing."""
    child = os.fork()
    if child == 0:
        time.sleep(600)
        os._exit(0)
    emit("child", child=child)
    serve()
    emit("after")


def thread_afterwards() -> None:
    """Its last thread needs longer than a server would have for its exit."""

    def work() -> None:
        time.sleep(float(os.environ["SECONDS"]))
        emit("work done")

    serve()
    threading.Thread(target=work, name="last work").start()
    emit("after")


def thread_of_a_listener() -> None:
    """A listener awaits a thread when the stop comes; the script then has a last thread too."""

    async def listen(_: Any) -> None:
        emit("holding")
        await asyncio.to_thread(time.sleep, 600)

    app.main_process_start(listen)
    atexit.register(emit, "at exit")
    thread_afterwards()


def wait_afterwards() -> None:
    """The script waits for each child that it has: a server leaves none of its own."""
    serve()
    try:
        emit("after", pid_waited_for=os.waitpid(-1, 0)[0])
    except ChildProcessError:
        emit("after", pid_waited_for=0)


def start_again() -> None:
    """A fresh copy of this program, as a server starts it that has updated itself."""
    if "AGAIN" not in os.environ:
        popen([sys.executable, *sys.argv], env={**os.environ, "AGAIN": "1"})
        emit("started again")


def again_in_stop() -> None:
    app.main_process_stop(lambda _: start_again())
    serve()


def again_afterwards() -> None:
    serve()
    start_again()


def own_children() -> None:
    """Children that main waits for much later, and that no list of Python's has."""
    found: list[Any] = []

    def start(_: Any) -> None:
        found.append(subprocess.Popen(["sh", "-c", "exit 7"]))
        gc.collect()
        gc.freeze()
        found.append(os.posix_spawnp("sh", ["sh", "-c", "exit 8"], os.environ))
        for fork, code in ((os.fork, 9), (lambda: pty.fork()[0], 10)):
            child = fork()
            if child == 0:
                os._exit(code)
            found.append(child)
        emit("own children")

    def collect(_: Any) -> None:
        statuses = [os.waitpid(pid, 0)[1] for pid in found[1:]]
        emit("collected", codes=[found[0].wait(), *map(os.waitstatus_to_exitcode, statuses)])

    app.main_process_ready(start)
    app.main_process_stop(collect)
    serve()


SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGCHLD")


def handlers() -> dict[str, str]:
    return {name: repr(signal.getsignal(signal.Signals[name])) for name in SIGNALS}


def handlers_afterwards() -> None:
    """What handles signals after the server, and one that asks whoever was there before."""
    before = handlers()
    serve()
    emit("handlers", before=before, after=handlers())
    previous = signal.signal(signal.SIGHUP, lambda *_: None)

    def handle(signum: int, frame: Any) -> None:
        if callable(previous):
            previous(signum, frame)
        emit("handled")

    signal.signal(signal.SIGHUP, handle)
    signal.raise_signal(signal.SIGHUP)
    time.sleep(600)


def signalled_once_more() -> None:
    """Whoever sends SIGHUP in the server's last lines sends it right after the server, too."""
    at_its_end(lambda: signal.raise_signal(signal.SIGHUP))
    signalled_afterwards()


def signalled_afterwards() -> None:
    serve()
    signal.raise_signal(signal.SIGHUP)
    emit("not ended")


def stuck_at_its_end() -> None:
    """Sanic's own last lines of a stop do not come to an end."""
    at_its_end(lambda: time.sleep(600))
    serve()


def at_its_end(do: Callable[[], None]) -> None:
    """Have it done after Sanic's own last lines of a stop."""
    clean_up = Sanic._cleanup_apps

    def cleanup_apps() -> None:
        emit("cleaning up")
        clean_up()
        do()

    Sanic._cleanup_apps = staticmethod(cleanup_apps)  # type: ignore[method-assign, assignment]


def failing_stop() -> None:
    """A listener of the user's raises, so that those behind it are never called."""

    def fail(_: Any) -> None:
        raise RuntimeError("no more")

    app.main_process_stop(fail)
    with contextlib.suppress(RuntimeError):
        serve()
    popen(NAP)
    emit("after")
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
    "own children": own_children,
    "job afterwards": job_afterwards,
    "child before": child_before,
    "thread afterwards": thread_afterwards,
    "thread of a listener": thread_of_a_listener,
    "wait afterwards": wait_afterwards,
    "again in its stop": again_in_stop,
    "again afterwards": again_afterwards,
    "handlers afterwards": handlers_afterwards,
    "signalled afterwards": signalled_afterwards,
    "signalled once more": signalled_once_more,
    "stuck at its end": stuck_at_its_end,
    "failing stop": failing_stop,
    "jobs first": serve,
    "jobs second": serve,
}

if __name__ == "__main__":
    MODES[MODE]()
