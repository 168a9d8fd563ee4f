"""Finds processes that bear the marker of a run without a state file."""

from __future__ import annotations

from .. import platform, state
from ..model.kills import MARKED
from ..tree import marked
from ..tree.process import Handle
from .server import here

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..platform.base import Identity, Row


class Stray:
    """The leftovers of a run without a state file, as their markers describe the run.

    Attributes:
        run: the id of the run.
        main: its main process, which has died.
        app: name of the app.
        directory: working directory of the app.
        uid: the user as whom the leftovers run.
        processes: the leftovers, each with the evidence.
    """

    def __init__(self, run: str, main: Identity, app: str, directory: str, uid: int) -> None:
        self.run, self.main, self.app, self.directory = run, main, app, directory
        self.uid = uid
        self.processes: dict[Identity, str] = {}


def strays(
    table: Mapping[int, Row], uids: Iterable[int | None], known: set[tuple[int, str]]
) -> list[Stray]:
    """Find the processes whose markers name a main process that has died.

    Args:
        table: the process table.
        uids: the users whose processes count.
        known: the runs that have a state file, each by its user and its id.
    """
    wanted = set(uids)
    found: dict[str, Stray] = {}
    for row in table.values():
        uid = platform.uid(row.pid)
        if not row.alive or uid is None or uid not in wanted:
            continue
        environ = platform.environ(row.pid)
        run, main = marked.run_of(environ), marked.main_of(environ)
        if not run or (uid, run) in known or main is None or row.start < main.identity[1]:
            continue
        if not _is_stray(row, main):
            continue
        new = Stray(run, main.identity, main.app, main.directory, uid)
        stray = found.setdefault(f"{uid}:{run}", new)
        stray.processes[row.identity] = MARKED
    return list(found.values())


def _is_stray(row: Row, main: marked.Main) -> bool:
    """Whether the main process is known to have died.

    The pid in a marker means nothing if the process is in another PID namespace, or if a main
    process of another namespace has started it (a container's own `unshare`).
    """
    _, namespace = here()
    if main.namespace not in ("", namespace) or state.namespace(row.pid) != namespace:
        return False
    return not Handle(*main.identity, None).alive()
