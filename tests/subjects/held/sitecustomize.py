"""On the path of a subject: one of its processes is held, by what HOLD says.

`block`, `hold_gil`: its SyncManager, where it imports what it is to run. It imports nothing of the
user's that could be slow. But a file system may be, on which it lies. `until-orphaned`: spawned
workers, in their first moment, until main is dead.
"""

import ctypes
import os
import sys
import time

from events import count, emit

# By "-c", as newer releases from 3.13 on hand main's own arguments to the fork server (gh-144503).
MAIN = "-c" not in sys.orig_argv


class Holder:
    """First of the finders: asked for each module before the one that finds it."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        if name == "sanic_reaper.main.sync_process" and not MAIN:
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


def outlive_parent() -> None:
    """Let main die before this process has taken any precaution."""
    parent = os.getppid()
    emit("holding")
    while os.getppid() == parent:
        time.sleep(0.01)


if os.environ["HOLD"] != "until-orphaned":
    sys.meta_path.insert(0, Holder)
elif "spawn_main" in " ".join(sys.orig_argv) and count("main_process_ready"):
    outlive_parent()
