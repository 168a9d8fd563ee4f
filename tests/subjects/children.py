"""The kinds of children that a worker may start. Each ends up as a `sleep` in the process table."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from threading import Thread

from events import emit

SLEEP = shutil.which("sleep") or "/bin/sleep"
SETSID = shutil.which("setsid") or "/usr/bin/setsid"
NAP = [SLEEP, "600"]
DAEMON = [SETSID, "--fork", *NAP]
"""Forks, leaves the session in the child, and ends: the sleep's parent is gone at once."""

DEAF = ["sh", "-c", "trap '' TERM INT HUP; sleep 600; sleep 600"]
"""Ignores what can be ignored, and so does its child, which it starts anew when that is killed."""


def run(command: list[str], **options: object) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, **options)  # type: ignore[call-overload]


def popen(command: list[str], **options: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)  # type: ignore[call-overload]


def stopped() -> None:
    popen(NAP).send_signal(signal.SIGSTOP)


def forked() -> None:
    """A child without exec: its environment is its parent's, as that was executed."""
    if os.fork() == 0:
        os.setsid()
        rename("sleep")
        time.sleep(600)
        os._exit(0)


def headless() -> None:
    """Its first thread ends, another one goes on: it looks like a zombie, and can't be reaped."""
    if os.fork() == 0:
        rename("sleep")
        Thread(target=time.sleep, args=(600,), daemon=True).start()
        ctypes.CDLL(None).pthread_exit(None)


def phoenix() -> None:
    """It forks another one when it is asked to end, and so do all that come after it."""
    if os.fork() == 0:
        os.setsid()
        rename("sleep")
        signal.signal(signal.SIGTERM, lambda *_: os.fork() and os._exit(0))
        while True:
            time.sleep(600)


def odd_name() -> None:
    """Anybody may call himself anything."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        rename("x\nforged\x1b[2J")
        os.write(writing, b"!")
        time.sleep(600)
        os._exit(0)
    os.read(reading, 1)
    os.close(reading)
    os.close(writing)


RESTLESS = """
import os, random, signal, sys, time
open('/proc/self/comm', 'w').write('sleep')
if sys.argv[1] == 'deaf':
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork():
    os._exit(0)
os.setsid()
while True:
    time.sleep(random.random() / 10)
    if os.fork():
        os._exit(0)
"""


def restless(how: str) -> None:
    """A daemon that goes on in a child again and again, and is nobody's by its environment."""
    run([sys.executable, "-I", "-S", "-c", RESTLESS, how], env={})


def nap() -> None:
    rename("sleep")
    time.sleep(600)


def process() -> None:
    """Sanic's workers are daemonic; this is the way round that which users take."""
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    multiprocessing.Process(target=nap).start()


def pool() -> None:
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    executor = ProcessPoolExecutor(1)
    executor.submit(nap)
    _kept.append(executor)


def detached(command: list[str], **options: object) -> None:
    from sanic_reaper import detached_env

    popen(command, env=detached_env(), **options)


def detached_block() -> None:
    """As `webbrowser.open` and others do it, which take no environment."""
    from sanic_reaper import detached_env

    with detached_env():
        popen(NAP, start_new_session=True)


def rename(name: str) -> None:
    with open("/proc/self/comm", "w") as comm:
        comm.write(name)


def awaited() -> None:
    """A child that its parent waits for much later: its exit code is nobody else's to collect."""
    child = popen(["sh", "-c", "exit 7"])

    def collect() -> None:
        time.sleep(3)
        emit("collected", code=child.wait())

    Thread(target=collect, daemon=True).start()


_kept: list[object] = []

CHILDREN: dict[str, Callable[[], object]] = {
    "plain": partial(popen, NAP),
    "setsid": partial(popen, NAP, start_new_session=True),
    "daemon": partial(run, DAEMON),
    "cleaned": partial(popen, NAP, env={}),
    "cleaned-daemon": partial(run, DAEMON, env={}),
    "deaf": partial(popen, DEAF),
    "stopped": stopped,
    "forked": forked,
    "process": process,
    "pool": pool,
    "brief-daemon": partial(run, [SETSID, "--fork", SLEEP, "0.2"]),
    "headless": headless,
    "restless": partial(restless, ""),
    "restless-deaf": partial(restless, "deaf"),
    "phoenix": phoenix,
    "odd-name": odd_name,
    "awaited": awaited,
    "other-user": partial(popen, NAP, user=65534),
    "other-user-daemon": partial(run, DAEMON, user=65534, env={}),
    "root": lambda: popen([os.environ["SETUID_SETPRIV"], "--reuid=0", *NAP]),
    "detached": partial(detached, NAP, start_new_session=True),
    "detached-block": detached_block,
    "detached-daemon": partial(detached, DAEMON),
    "detached-family": partial(detached, ["sh", "-c", "sleep 600 & setsid --fork sleep 600; wait"]),
}
