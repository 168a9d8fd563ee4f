"""Removes the files of runs that are over.

Assumes that a server which still runs writes its files again if they are removed by mistake.
"""

from __future__ import annotations

import os
import time

from .. import state
from . import statedir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .discovery import Unread
    from .server import Server

KEPT_FOR = 7 * 86400.0
"""Seconds for which the files of the last run of another app are kept, for `report`."""

FRAGMENT_KEPT_FOR = 60.0
"""Seconds for which files without a state file are kept: their server can be about to write it."""


def remove_run(path: str, run: str) -> None:
    """Remove the files of a run from a directory of this process's user.

    Args:
        path: the directory.
        run: the id of the run.
    """
    statedir.remove(path, *(f"{run}{end}" for end in state.ALL))


def remove_old(app: str, directory: str, servers: Iterable[Server]) -> None:
    """Remove the files of runs that are over.

    The last run of the app, and the runs of other apps, are kept for `report`, up to `KEPT_FOR`.

    Args:
        app, directory: name and working directory of the app.
        servers: the runs with a state file.
    """
    over = [server for server in servers if server.is_gone]
    same = [
        server
        for server in over
        if server.is_here and (server.app, server.fields["directory"]) == (app, directory)
    ]
    for server in over:
        old = not server.is_here or time.monotonic() - server.began > KEPT_FOR
        if old or server in same[:-1]:
            remove_run(server.directory, server.run)


def remove_fragments(unread: Iterable[Unread]) -> None:
    """Remove the files of runs without a state file, and unreadable state files after `KEPT_FOR`.

    A run that was killed in its first moment has no state file.

    Args:
        unread: the state files that can't be understood.
    """
    for one in unread:
        if one.age is not None and one.age > KEPT_FOR:
            path, name = os.path.split(one.path)
            remove_run(path, name.removesuffix(state.STATE))
    for path in statedir.places(os.geteuid()):
        try:
            directory = statedir.open_directory(path, os.geteuid())
        except OSError:
            continue
        try:
            for name in _fragments(directory, path):
                os.unlink(name, dir_fd=directory)
        except OSError:
            pass
        finally:
            os.close(directory)


def _fragments(directory: int, path: str) -> list[str]:
    """The names of the files in a directory that no run and no reader needs any more."""
    names = sorted(os.listdir(directory))
    told = {name.removesuffix(state.STATE) for name in names if name.endswith(state.STATE)}
    runs: dict[str, list[str]] = {}
    found = []
    for name in names:
        run, dot, end = name.rpartition(".")
        if name.startswith("."):
            if _is_draft(name) and _is_old(directory, name):
                found.append(name)
        elif dot + end in state.ALL and run not in told:
            runs.setdefault(run, []).append(name)
    for run, left in runs.items():
        socket = run + state.SOCKET
        refuses = socket in left and _refuses(path, socket)
        if refuses or all(_is_old(directory, name) for name in left):
            found += left
    return found


def _is_draft(name: str) -> bool:
    """Whether a file is an unfinished one of `statedir.write`: `.RUN.state.PID`."""
    _, run, end, pid, *more = (*name.split("."), "", "", "")
    return bool(run) and f".{end}" in state.ALL and pid.isdigit() and not any(more)


def _is_old(directory: int, name: str) -> bool:
    age = statedir.age_of(directory, name)
    return age is not None and age > FRAGMENT_KEPT_FOR


def _refuses(directory: str, name: str) -> bool:
    """Whether no process listens on a socket any more."""
    import socket  # imported here: the commands need it in this case only

    from .socket_path import short_path

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            with short_path(directory, name) as path:
                probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            pass
    return False
