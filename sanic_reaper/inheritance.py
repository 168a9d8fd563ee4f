"""What a process has from main by birth: a signal mask, and an environment."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from . import environment, main_internals, worker

IMPORT_VARIABLES = {"PYTHONFAULTHANDLER": "1"}
"""With it, an import that hangs can show its stack, before any code of ours has run. The fork
server needs it for the workers that it forks."""


@contextmanager
def quiet_start(method: str) -> Iterator[None]:
    """In this a process starts deaf to Ctrl+C, until it has set up what to do about it.

    A signal mask is inherited over fork and exec. Without this a Ctrl+C during the import of the
    user's module prints one traceback a worker, and under fork main's own handler runs in the
    worker: there SIGTERM is held back too, for the moment until `worker.enter`. Under spawn that
    moment is the whole import, and SIGTERM must be able to end it.
    """
    if method != "fork":
        main_internals.ensure_resource_tracker()
    blocked = set(worker.TERMINAL_SIGNALS)
    if method == "fork":
        blocked.add(signal.SIGTERM)
    with _environment(IMPORT_VARIABLES if method != "fork" else {}):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
        try:
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
    names = (*environment.WORKER_MARKS, environment.RUN)
    return {name: os.environ[name] for name in names if name in os.environ}
