"""What a process has from main by birth: a signal mask, and an environment."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext

from .. import marks, platform
from ..worker.guard import TERMINAL_SIGNALS
from . import main_internals

IMPORT_VARIABLES = {"PYTHONFAULTHANDLER": "1"}
"""With it, an import that hangs can show its stack, before any code of ours has run. The fork
server needs it for the workers that it forks."""


@contextmanager
def quiet_start(method: str, tied: bool) -> Iterator[None]:
    """In this a process starts deaf to Ctrl+C, until it has set up what to do about it.

    Args:
        tied: whether the kernel is to end it with main, before it has set up anything at all. Under
            spawn alone: there it imports the user's module first, for as long as that takes.

    A signal mask is inherited over fork and exec. Without this a Ctrl+C during the import of the
    user's module prints one traceback a worker, and under fork main's own handler runs in the
    worker: there SIGTERM is held back too, for the moment until `worker.enter`. Under spawn that
    moment is the whole import, and SIGTERM must be able to end it.
    """
    if method != "fork":
        main_internals.ensure_resource_tracker()
    blocked = set(TERMINAL_SIGNALS)
    if method == "fork":
        blocked.add(signal.SIGTERM)
    with _environment(IMPORT_VARIABLES if method != "fork" else {}):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
        if method == "forkserver":
            main_internals.ensure_fork_server()
        program = ""
        if tied and method == "spawn" and is_main_thread():
            program = platform.early_death_signal(os.getpid(), signal.SIGKILL)
        try:
            with main_internals.spawning_with(program) if program else nullcontext():
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
    """What a child must have in its environment and might not get by inheritance."""
    names = (*marks.WORKER_MARKS, marks.RUN, marks.MAIN)
    return {name: os.environ[name] for name in names if name in os.environ}


def is_main_thread() -> bool:
    """The kernel's signal comes when the *thread* that forked ends: another may end too soon."""
    return threading.current_thread() is threading.main_thread()
