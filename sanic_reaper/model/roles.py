"""The roles of a server's processes: one table, which every list and every log line reads.

Plain strings and one small class, without `typing` and `enum`: the watchdog imports this module and
keeps it in memory for as long as the server runs. The names are written into the state file and
appear in `--json`, `/status` and `/metrics`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

MAIN = "main"
WATCHDOG = "watchdog"
SERVICE = "service"
HELPER = "helper"
PROCESS = "process"
WORKER = "worker"
CHILD = "child"


class Role:
    """A row of the table.

    Attributes:
        plural: how the log calls several processes of the role.
        stopped_by: who stops or kills such a process, and when.
        rank: the order in which the stop of a server reaches the roles, 1 first.
    """

    __slots__ = ("plural", "rank", "stopped_by")

    def __init__(self, plural: str, rank: int, stopped_by: str) -> None:
        self.plural = plural
        self.rank = rank
        self.stopped_by = stopped_by


ROLES: Mapping[str, Role] = {
    MAIN: Role("main processes", 3, "itself; the watchdog kills it at the deadline of the stop"),
    WATCHDOG: Role("watchdogs", 6, "itself, when nothing is left to watch"),
    SERVICE: Role(
        "services", 5, "itself, when no process uses it; after main's death the watchdog"
    ),
    HELPER: Role("helpers", 4, "main, after the workers; after main's death the watchdog"),
    PROCESS: Role("processes", 1, "main, with the workers; the watchdog kills it if it is late"),
    WORKER: Role("workers", 1, "main; the watchdog kills it if it is late"),
    CHILD: Role("children", 2, "the watchdog, when the worker that started it has exited"),
}
"""Each role by its name, in the order in which `ps` shows them."""

ORPHAN = "orphan"
"""Not a role of a process, but of an event and of a counter: a `CHILD` that was left behind."""


def order(role: str) -> int:
    """Where a process of this role stands in a list. A state file may name any role: those that
    are unknown come last."""
    return list(ROLES).index(role) if role in ROLES else len(ROLES)


def title(role: str, name: str) -> str:
    """How a log line or a list calls a process: `worker Sanic-Server-0-0`, `watchdog`."""
    return name if role in ("", name) else f"{role} {name}"
