"""The state of a server as JSON, for scripts and dashboards.

Anybody who reaches the port can read it. So it has less than the command line shows: no path, no
line of code, and no text of an error, which can contain a password.
"""

from __future__ import annotations

from sanic_reaper import __version__

from ..model.lifecycle import GONE
from ..model.roles import WORKER
from ..state import health

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..state import Fields
    from ..state.server import Member, Server

SCHEMA = 1
"""Version of the document. It is raised when a field is removed or changes its meaning."""

EVENTS = 50
"""Number of events in the document, the latest ones."""


def document(server: Server, now: float) -> dict[str, object]:
    """The document that `docs/endpoint.md` describes.

    Args:
        now: monotonic time in seconds.
    """
    clock = float(server.fields["clock"])
    return {
        "schema": SCHEMA,
        "version": __version__,
        "app": server.app,
        "run": server.run,
        "method": server.fields.get("method", ""),
        "phase": server.phase,
        "began": _rounded(server.began + clock),
        "uptime_seconds": _rounded(now - server.began),
        "live": _answer(health.live(server, now)),
        "ready": _answer(health.ready(server, now)),
        "main": {
            "pid": server.main[0],
            "alive": server.lives,
            "beat_age_seconds": None if server.beat is None else _rounded(now - server.beat),
        },
        "watchdog": {"up": server.watchdog_lives},
        "workers_wanted": server.wanted,
        "requests_in_flight": _in_flight(server),
        "processes": [
            _process(member, now, clock)
            for member in server.members.values()
            if member.state not in GONE
        ],
        "counters": [
            {"name": name, "role": role, "cause": cause, "value": value}
            for (name, role, cause), value in sorted(server.counts.items())
        ],
        "events": [_event(event, clock) for event in server.events[-EVENTS:]],
    }


def unknown(reason: str) -> dict[str, object]:
    """The document of a server whose state files can't be read.

    Args:
        reason: why.
    """
    answer = _answer(reason)
    return {"schema": SCHEMA, "version": __version__, "live": answer, "ready": answer}


def _answer(reason: str) -> dict[str, object]:
    return {"ok": not reason, "reason": reason}


def _in_flight(server: Server) -> int | None:
    """The requests in flight of all workers. `None`: no worker has told (heartbeats are off)."""
    living = (member for member in server.members.values() if member.state not in GONE)
    told = [member.moment("in_flight") for member in living]
    known = [int(number) for number in told if number is not None]
    return sum(known) if known else None


def _process(member: Member, now: float, clock: float) -> dict[str, object]:
    began, since = member.moment("began"), member.moment("since")
    found: dict[str, object] = {
        "role": member.role,
        "name": member.name,
        "pid": member.identity[0],
        "state": member.state,
        "state_seconds": None if since is None else _rounded(now - since),
        "began": None if began is None else _rounded(began + clock),
        "uptime_seconds": None if began is None else _rounded(now - began),
    }
    if member.role == WORKER:
        found.update(_worker(member, began, now))
    return found


def _worker(member: Member, began: float | None, now: float) -> Mapping[str, object]:
    """The fields that only a worker has."""
    doing_since, requests = member.moment("doing_since"), member.moment("requests")
    in_flight, oldest = member.moment("in_flight"), member.moment("oldest")
    return {
        "requests": None if requests is None else int(requests),
        "requests_in_flight": None if in_flight is None else int(in_flight),
        "oldest_request_seconds": None if oldest is None else _rounded(now - oldest),
        "blocked_seconds": member.moment("stood_still") or 0.0,
        "startup_seconds": _between(began, member.up),
        "ready_seconds": _between(began, member.ready),
        "doing": member.fields.get("doing"),
        "doing_seconds": None if doing_since is None else _rounded(now - doing_since),
        "handlers": [
            {
                "name": handler.get("name", ""),
                "seconds": _rounded(float(handler["ended"]) - float(handler["began"])),
                "background": "beside" in handler,
            }
            for handler in member.handlers
        ],
    }


def _event(event: Fields, clock: float) -> dict[str, object]:
    exit_code, seconds = event.get("exit_code"), event.get("seconds")
    return {
        "time": _rounded(float(event["time"]) + clock),
        "name": event["name"],
        "process": event.get("process", ""),
        "pid": int(event["pid"]),
        "cause": event.get("cause"),
        "exit_code": None if exit_code is None else int(exit_code),
        "seconds": None if seconds is None else float(seconds),
    }


def _between(began: float | None, ended: float | None) -> float | None:
    return None if began is None or ended is None else _rounded(ended - began)


def _rounded(seconds: float) -> float:
    return round(seconds, 3)
