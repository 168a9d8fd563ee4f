"""Finds the processes that bear the mark of a run of which no file tells."""

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
    """What is left of a run that no file tells of, by the marks that it bears."""

    def __init__(self, run: str, main: Identity, app: str, directory: str, uid: int) -> None:
        self.run, self.main, self.app, self.directory = run, main, app, directory
        self.uid = uid
        self.processes: dict[Identity, str] = {}


def strays(
    table: Mapping[int, Row], uids: Iterable[int | None], known: set[tuple[int, str]]
) -> list[Stray]:
    """Processes whose marks say that their main is one that is gone.

    Args:
        uids: whose processes are looked at.
        known: runs that a file tells of: its user, its id.
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
    """Whether main is known to be gone: of a process of another PID namespace, or one that a main
    of another namespace has started (a container's own `unshare`), the mark's pid says nothing."""
    _, namespace = here()
    if main.namespace not in ("", namespace) or state.namespace(row.pid) != namespace:
        return False
    return not Handle(*main.identity, None).alive()
