"""What a new process inherits from the main process: a signal mask and an environment."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext

from .. import marks, platform
from ..compat import services, spawning
from ..worker.guard import TERMINAL_SIGNALS

IMPORT_VARIABLES = {"PYTHONFAULTHANDLER": "1"}
"""With it, an import that hangs can show its stack, before any code of ours has run. The fork
server needs it for the workers that it forks."""


@contextmanager
def quiet_start(method: str, tied: bool) -> Iterator[None]:
    """Start processes with Ctrl+C blocked, until each has set up its own handling of it.

    A signal mask is inherited over fork and exec. Without this block, a Ctrl+C during the import of
    the user's module prints one traceback per worker, and under fork the main process's own handler
    runs in the worker. Under fork SIGTERM is blocked too, until `worker.entry.enter`. Under spawn
    SIGTERM is not: a worker imports the user's module before that, and SIGTERM must be able to kill
    it.

    Args:
        method: the start method, as `multiprocessing` calls it.
        tied: whether the kernel kills the process when main dies, from its first moment on. Used
            under spawn only, because the process imports the user's module first.
    """
    if method != "fork":
        services.ensure_resource_tracker()
    blocked = set(TERMINAL_SIGNALS)
    if method == "fork":
        blocked.add(signal.SIGTERM)
    with _environment(IMPORT_VARIABLES if method != "fork" else {}):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
        if method == "forkserver":
            services.ensure_fork_server()
        program = ""
        if tied and method == "spawn" and is_main_thread():
            program = platform.early_death_signal(os.getpid(), signal.SIGKILL)
        try:
            with spawning.spawning_with(program) if program else nullcontext():
                yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _environment(added: Mapping[str, str]) -> Iterator[None]:
    absent = [name for name in added if name not in os.environ]
    os.environ.update({name: added[name] for name in absent})
    try:
        yield
    finally:
        for name in absent:
            os.environ.pop(name, None)


def child_environment() -> dict[str, str]:
    """The variables that a child needs, and that a fork server would not pass on."""
    names = (*marks.WORKER_MARKS, marks.RUN, marks.MAIN)
    return {name: os.environ[name] for name in names if name in os.environ}


def is_main_thread() -> bool:
    """Whether this is the main thread.

    The kernel sends the parent death signal when the *thread* that forked exits (prctl(2)), and any
    other thread can exit before the main process does.
    """
    return threading.current_thread() is threading.main_thread()
