"""What each process of a run was doing when: the segments and the marks of its time line. Pure."""

from __future__ import annotations

from ..model.roles import MAIN
from .process import Mark, Segment, fate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .process import Process


def add_segments(process: Process, served: float | None, stopped: float | None) -> None:
    """Give a process its segments, the broad ones first, and the mark of its end.

    Args:
        served: when the server began to serve. `None`: it never did.
        stopped: when the server began to stop. `None`: it never did.
    """
    if process.is_worker:
        process.segments = list(_of_worker(process))
    elif process.role == MAIN:
        process.segments = list(_of_main(process, served, stopped))
    else:
        process.segments = [Segment("running", process.began, process.until, "running")]
    if process.ended is not None and (process.killed or (process.exit_code or 0) < 0):
        process.marks.append(Mark("killed", process.ended, fate(process)))
    elif process.ended is not None and (process.exit_code or process.role == MAIN):
        process.marks.append(Mark("died", process.ended, fate(process)))


def _of_main(process: Process, served: float | None, stopped: float | None) -> Iterator[Segment]:
    last = process.until
    stop = last if stopped is None else min(stopped, last)
    served = stop if served is None else min(served, stop)
    yield Segment("starting", process.began, served, "the start")
    if stop > served:
        yield Segment("serving", served, stop, "serving")
    if last > stop:
        yield Segment("stopping", stop, last, "the stop")


def _of_worker(process: Process) -> Iterator[Segment]:
    began, last = process.began, process.until
    asked = last if process.asked is None else min(max(process.asked, began), last)
    up = asked if process.up is None else min(max(process.up, began), asked)
    ready = asked if process.ready is None else min(max(process.ready, up), asked)
    yield Segment("starting", began, up, "starting")
    if process.imported is not None:
        yield Segment("import", began, min(process.imported, last), "import of the app")
    for handler in process.handlers:
        end = last if handler.ended is None else min(handler.ended, last)
        kind = "background" if handler.is_beside else "handler"
        label = f"{handler.name}, failed" if handler.has_failed else handler.name
        yield Segment(kind, handler.began, max(end, handler.began), label)
    if process.ready is not None and asked > ready:
        yield Segment("serving", ready, asked, "serving")
    standstills = list(process.standstills)
    if process.blocked_since is not None:
        standstills.append((process.blocked_since, asked))
    for stood, went_on in standstills:
        if went_on > stood:
            yield Segment("blocked", stood, min(went_on, last), "its event loop is blocked")
    if process.asked is not None and last > asked:
        yield Segment("stopping", asked, last, "stopping")
