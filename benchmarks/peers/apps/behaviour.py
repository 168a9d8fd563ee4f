"""What each app does, whichever server runs it. Told by the environment:

PEER_READY     a directory: each worker leaves a file there when it is where the scenario wants it
PEER_START     what its start does: nothing, `import`, `async`, `block`, `gil`, `raise`, `exit`
PEER_CHILDREN  how many children of each kind each worker starts
"""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import subprocess
import threading
import time
from pathlib import Path

READY = Path(os.environ["PEER_READY"])
START = os.environ.get("PEER_START", "")
CHILDREN = int(os.environ.get("PEER_CHILDREN", "0"))
FOREVER = 600.0
NAP = ["sleep", "800"]
CRASH_AFTER = 0.3


def sign() -> None:
    (READY / str(os.getpid())).touch()


def on_import(in_main_too: bool) -> None:
    """At the end of the app's module.

    Args:
        in_main_too: whether the server's main process imports the app as its workers do.
    """
    in_worker = multiprocessing.current_process().name.startswith("Sanic-Server")
    if START == "import" and (in_worker or not in_main_too):
        sign()
        time.sleep(FOREVER)


async def on_start() -> None:
    for _ in range(CHILDREN):
        start_children()
    if START == "async":
        sign()
        await asyncio.sleep(FOREVER)
    elif START == "block":
        sign()
        time.sleep(FOREVER)
    elif START == "gil":
        sign()
        hold_gil()
    elif START == "raise":
        raise RuntimeError("the database is not there")
    sign()
    if START == "exit":
        timer = threading.Timer(CRASH_AFTER, os._exit, (1,))
        timer.daemon = True
        timer.start()


def start_children() -> None:
    """Five that a worker may have: each ends up as a `sleep`."""
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    subprocess.Popen(NAP, **quiet)
    subprocess.Popen(NAP, start_new_session=True, **quiet)
    subprocess.Popen(NAP, env={"PATH": os.defpath}, **quiet)
    subprocess.run(["setsid", "--fork", *NAP], check=True, **quiet)
    subprocess.run(["setsid", "--fork", *NAP], check=True, env={"PATH": os.defpath}, **quiet)


def hold_gil() -> None:
    """Wait in C with the GIL held: lock a mutex twice."""
    libc = ctypes.PyDLL(None)
    mutex = ctypes.create_string_buffer(128)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)


async def answer(path: str) -> str:
    """What is sent back: the worker's pid."""
    if path == "/slow":
        (READY / f"slow-{os.getpid()}").touch()
        await asyncio.sleep(1.0)
    elif path == "/block":
        (READY / f"block-{os.getpid()}").touch()
        time.sleep(FOREVER)
    return str(os.getpid())
