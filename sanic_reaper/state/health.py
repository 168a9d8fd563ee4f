"""Whether a server is live, and whether it is ready: what a probe asks. Pure, but for a look at
whether main lives.

The endpoint and `sanic-reaper health` give the same answers, from what main has left of itself.
"""

from __future__ import annotations

from ..model.lifecycle import ANSWERS, BACKGROUND, FINISHING_START, STALLED, STOPPED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .server import Member, Server


def live(server: Server, now: float) -> str:
    """Why the server is not live. Main's loop must turn, and at least one worker must answer.

    Args:
        now: on the monotonic clock.

    Returns:
        The reason, for people to read. "": it is live.
    """
    if server.is_over:
        return "the server has stopped"
    if not server.lives:
        return f"the main process [{server.main[0]}] has died"
    if not server.turns(now):
        if server.beat is None:
            return "the main process's loop has not run yet"
        return f"the main process's loop has been stalled for {now - server.beat:.1f} s"
    if server.phase == "stopping":
        return "the server is stopping"
    if server.guards_only:
        return ""  # Sanic's own manager runs the workers: nobody knows how they are
    if not any(worker.state in ANSWERS for worker in server.workers):
        return f"no worker serves{_list(server.workers)}"
    return ""


def ready(server: Server, now: float) -> str:
    """Why the server is not ready. It must be live, each configured worker must serve, and no
    worker may refuse a request, or hold it without an answer.

    A worker that is being replaced is no reason, nor is its replacement before it is up: that is
    how workers are recycled.

    Args and returns: as `live`.
    """
    if reason := live(server, now):
        return reason
    for worker in server.workers:
        work = worker.fields.get("doing")
        more = f": {work}" if work else ""
        if worker.state == BACKGROUND:
            return f"{_title(worker)} still does background work{more}"
        if worker.state == FINISHING_START and worker.name not in server.serving:
            return f"{_title(worker)} has not finished its start{more}"
        if worker.state == STOPPED:
            return f"{_title(worker)} is stopped, by SIGSTOP or by a debugger"
        if worker.state in STALLED:
            return f"the event loop of {_title(worker)} is stalled"
    serving = server.serving
    if len(serving) < server.wanted:
        others = [worker for worker in server.workers if worker.name not in serving]
        return f"{len(serving)} of {server.wanted} workers serve{_list(others)}"
    return ""


def _title(worker: Member) -> str:
    return f"{worker.name} [{worker.identity[0]}]"


def _list(workers: list[Member]) -> str:
    if not workers:
        return ""
    return "; " + ", ".join(f"{_title(worker)} is {worker.state}" for worker in workers)
