"""Evidence in the environment of a living process: markers, and whether they count."""

from __future__ import annotations

from .. import platform
from . import marked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..platform.base import Identity, Row


def is_detached(row: Row, run: str) -> bool:
    """Whether a process bears the detached marker of a run."""
    return row.alive and marked.is_detached(platform.environ(row.pid), run)


def is_marked(row: Row, run: str, since: int, uid: int) -> bool:
    """Whether a process bears the marker of a run, and the marker counts.

    The marker does not count in a process that is older than the main process, nor in a process of
    another user: any user can write the marker into an environment of his own.

    Args:
        run: id of the run.
        since: creation time of the main process, in clock ticks.
        uid: the user whose run it is.
    """
    return (
        row.start >= since
        and platform.uid(row.pid) == uid
        and marked.is_marked(platform.environ(row.pid), run)
    )


def owner_of(row: Row) -> Identity | None:
    """The root process that a process names as its owner, if it names one."""
    return marked.owner(platform.environ(row.pid))
