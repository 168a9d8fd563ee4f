"""On the path of a subject: its SyncManager is held where it imports what it is to run.

It imports nothing of the user's that could be slow. But a file system may be, on which it lies.
"""

import ctypes
import os
import sys
import time

from events import emit


class Holder:
    """First of the finders: asked for each module before the one that finds it."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        if name == "sanic_reaper.sync_process" and "app.py" not in sys.orig_argv:
            sys.meta_path.remove(Holder)
            emit("holding")
            {"block": block, "hold_gil": hold_gil}[os.environ["HOLD"]]()


def block() -> None:
    time.sleep(600)


def hold_gil() -> None:
    """Lock a mutex twice, in C."""
    libc = ctypes.PyDLL(None)
    mutex = ctypes.create_string_buffer(128)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)


sys.meta_path.insert(0, Holder)
