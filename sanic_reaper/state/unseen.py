"""Finds running servers whose files can't be read from here: those of another user, of a container,
or of a start with another XDG_RUNTIME_DIR or TMPDIR.

Their watchdogs are in the process table, if that shows other users' processes.
"""

from __future__ import annotations

import os

from .. import platform, state
from ..tree import watchdogs
from . import statedir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from ..platform.base import Row

OTHER_USER, CONTAINER, OTHER_PLACE = "other user", "container", "other directory"

_VARIABLES = ("XDG_RUNTIME_DIR", "TMPDIR")


class Unseen:
    """A running server whose files can't be read from here.

    Args:
        uid: the user that it runs as.
        main: the pid of its main process, in that process's PID namespace.
        why: why its files can't be read: `OTHER_USER`, `CONTAINER` or `OTHER_PLACE`.
        environment: for `OTHER_PLACE`, the variables that say where its files are.
    """

    def __init__(self, uid: int, main: int, why: str, environment: Mapping[str, str]) -> None:
        self.uid, self.main, self.why = uid, main, why
        self.environment = dict(environment)


def unseen(table: Mapping[int, Row], known: Container[str]) -> list[Unseen]:
    """Find the servers whose watchdog runs, and whose files can't be read.

    Args:
        table: the process table.
        known: the ids of the runs whose files can be read.
    """
    found = {}
    here, me = state.namespace(), os.geteuid()
    for row in table.values():
        if row.name != watchdogs.NAME or not row.alive:
            continue
        watchdog, uid = watchdogs.watchdog_of(platform.command(row.pid)), platform.uid(row.pid)
        if watchdog is None or uid is None or watchdog.run in known:
            continue
        why = OTHER_PLACE
        if state.namespace(row.pid) not in ("", here):
            why = CONTAINER
        elif uid != me and me != 0:
            why = OTHER_USER
        variables = _variables(platform.environ(row.pid)) if why == OTHER_PLACE else {}
        found[watchdog.run] = Unseen(uid, watchdog.main, why, variables)
    return sorted(found.values(), key=lambda one: (one.why, one.uid, one.main))


def _variables(environ: bytes) -> dict[str, str]:
    pairs = (entry.partition(b"=") for entry in environ.split(b"\0"))
    found = {name.decode("utf-8", "replace"): value for name, _, value in pairs}
    return {
        name: os.fsdecode(found[name])
        for name in _VARIABLES
        if name in found and os.fsdecode(found[name]) != os.environ.get(name)
    }


def where(uids: Iterable[int]) -> list[str]:
    """The directories in which servers of these users are searched, this user's own first."""
    me = os.geteuid()
    return [
        path for uid in sorted(uids, key=lambda uid: uid != me) for path in statedir.places(uid)
    ]
