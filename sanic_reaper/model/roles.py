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
        meaning: what such a process is, in a sentence.
        plural: how the log calls several processes of the role.
        rank: the order in which the stop of a server reaches the roles, 1 first.
        stopped_by: who stops such a process, and when, in a sentence.
    """

    __slots__ = ("meaning", "plural", "rank", "stopped_by")

    def __init__(self, meaning: str, plural: str, rank: int, stopped_by: str) -> None:
        self.meaning = meaning
        self.plural = plural
        self.rank = rank
        self.stopped_by = stopped_by


_LATE = "The watchdog kills it if it is late."
_LAST = "After the main process has died, the watchdog stops it."

ROLES: Mapping[str, Role] = {
    MAIN: Role(
        "The main process, which the script started.",
        "main processes",
        3,
        f"It exits when the workers have exited. {_LATE}",
    ),
    WATCHDOG: Role(
        "The watchdog.",
        "watchdogs",
        6,
        "It exits when nothing is left to watch.",
    ),
    SERVICE: Role(
        "A process that `multiprocessing` starts for itself: resource tracker, fork server.",
        "services",
        5,
        f"It exits when no process uses it. {_LAST}",
    ),
    HELPER: Role(
        "A SyncManager of `multiprocessing`.",
        "helpers",
        4,
        f"The main process shuts it down. {_LAST}",
    ),
    PROCESS: Role(
        "A process that your code added with `app.manager.manage`.",
        "processes",
        1,
        f"The main process stops it. {_LATE}",
    ),
    WORKER: Role(
        "A worker.",
        "workers",
        1,
        f"The main process stops it. {_LATE}",
    ),
    CHILD: Role(
        "A process that a worker, or what it started, has started.",
        "children",
        2,
        "The watchdog stops it when the process that started it has exited.",
    ),
}
"""Each role by its name, in the order in which `ps` shows them."""

ORPHAN = "orphan"
"""Not a role of a process, but of an event and of a counter: a `CHILD` that was left behind."""

SANIC_PREFIX = "Sanic-"
"""How Sanic begins the name of each process that its manager starts (24.12 to 25.12)."""

RELOADER = f"{SANIC_PREFIX}Reloader"
"""How the name of Sanic's Reloader begins, which watches files."""

INSPECTOR = f"{SANIC_PREFIX}Inspector"
"""How the name of Sanic's Inspector begins, which serves `sanic inspect`."""

FIRST_WORKER = "-0-0"
"""How the name of the first worker ends. What each worker would log alike, it alone logs."""


def order(role: str) -> int:
    """Where a process of this role stands in a list. A state file may name any role: those that
    are unknown come last."""
    return list(ROLES).index(role) if role in ROLES else len(ROLES)


def title(role: str, name: str) -> str:
    """How a log line or a list calls a process: `worker Sanic-Server-0-0`, `watchdog`."""
    return name if role in ("", name) else f"{role} {name}"
