"""The metrics of a server in Prometheus's text format, computed from the state files of main.

Every worker answers for the whole server. A client library was rejected: it counts in one process,
and needs files of its own to add up several. A series whose labels are known is there with 0 from
the beginning, or else Prometheus would miss the first increase of a counter.
"""

from __future__ import annotations

from sanic_reaper import __version__

from ..model.kills import KILLS
from ..model.lifecycle import GONE, LIVING
from ..model.roles import PROCESS, WORKER
from ..tree import causes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import TypeAlias

    from ..state.server import Member, Server

    Sample: TypeAlias = "tuple[Mapping[str, str], float]"
    Measure: TypeAlias = "Callable[[Server, float], float | Iterable[Sample]]"

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

PREFIX = "sanic_reaper_"


def exposition(server: Server, now: float) -> str:
    """All metrics of a server, as the body of a response.

    Args:
        now: monotonic time in seconds.
    """
    return "".join(
        line
        for name, what, measure in _FAMILIES
        for line in _family(name, what, measure(server, now))
    )


def _workers(server: Server) -> list[Member]:
    """The workers that have not exited."""
    members = server.members.values()
    return [one for one in members if one.role == WORKER and one.state not in GONE]


def _info(server: Server, now: float) -> list[Sample]:
    labels = {"version": __version__, "app": server.app, "method": server.fields["method"]}
    return [(labels, 1)]


def _beat_age(server: Server, now: float) -> float:
    return float("nan") if server.beat is None else max(0.0, now - server.beat)


def _states(server: Server, now: float) -> list[Sample]:
    found = dict.fromkeys(LIVING, 0)
    for worker in _workers(server):
        found[worker.state] = found.get(worker.state, 0) + 1
    return [({"state": state}, number) for state, number in found.items()]


def _startup_seconds(server: Server, now: float) -> list[Sample]:
    """By name: the later worker counts where it replaces another one of the same name."""
    found = {}
    for worker in sorted(_workers(server), key=lambda worker: worker.moment("began") or 0.0):
        began = worker.moment("began")
        if began is not None and worker.up is not None:
            found[worker.name] = worker.up - began
    return [({"worker": name}, seconds) for name, seconds in found.items()]


def _in_flight(server: Server, now: float) -> list[Sample]:
    """By name: a worker that is being replaced still answers its requests."""
    found: dict[str, float] = {}
    for worker in _workers(server):
        if (number := worker.moment("in_flight")) is not None:
            found[worker.name] = found.get(worker.name, 0) + number
    return [({"worker": name}, number) for name, number in found.items()]


def _oldest(server: Server, now: float) -> list[Sample]:
    found: dict[str, float] = {}
    for worker in _workers(server):
        if worker.moment("in_flight") is not None:
            began = worker.moment("oldest")
            seconds = 0.0 if began is None else max(0.0, now - began)
            found[worker.name] = max(found.get(worker.name, 0.0), seconds)
    return [({"worker": name}, seconds) for name, seconds in found.items()]


def _restarts(server: Server, now: float) -> list[Sample]:
    return _by_cause(server, ("worker.replaced", "worker.recycled"), causes.RESTARTS)


def _kills(server: Server, now: float) -> list[Sample]:
    return [
        ({"role": role, **labels}, number)
        for role in (WORKER, PROCESS)
        for labels, number in _by_cause(server, ("worker.killed",), KILLS, role)
    ]


def _total(server: Server, event: str) -> float:
    return server.counters.get(event, 0.0)


def _by_cause(
    server: Server, events: tuple[str, ...], known: Iterable[str], role: str = WORKER
) -> list[Sample]:
    found = dict.fromkeys(known, 0.0)
    for (name, whose, cause), number in server.counts.items():
        if name in events and whose == role:
            found[cause] = found.get(cause, 0.0) + number
    return [({"cause": cause}, number) for cause, number in found.items()]


_FAMILIES: tuple[tuple[str, str, Measure], ...] = (
    ("info", "Version, app and start method. Always 1.", _info),
    (
        "start_time_seconds",
        "When the main process started, in seconds since the epoch.",
        lambda server, now: server.began + float(server.fields["clock"]),
    ),
    (
        "main_beat_age_seconds",
        "Seconds since the loop of the main process last turned. It turns each second.",
        _beat_age,
    ),
    (
        "watchdog_up",
        "Whether the watchdog runs.",
        lambda server, now: float(server.watchdog_lives),
    ),
    (
        "workers_wanted",
        "Number of workers that should serve.",
        lambda server, now: server.wanted,
    ),
    ("workers", "Number of workers in each state.", _states),
    (
        "worker_startup_seconds",
        "Seconds that the latest worker of each name took to start, without background work.",
        _startup_seconds,
    ),
    (
        "requests_in_flight",
        "Requests that the workers of each name have in flight, as of their last heartbeats.",
        _in_flight,
    ),
    (
        "oldest_request_seconds",
        "Seconds for which the oldest of them has been in flight. 0: there is none.",
        _oldest,
    ),
    (
        "worker_starts_total",
        "Worker processes that were started.",
        lambda server, now: _total(server, "worker.started"),
    ),
    (
        "worker_restarts_total",
        "Workers that serve in place of another one, by the reason for the replacement.",
        _restarts,
    ),
    (
        "worker_deaths_total",
        "Workers that exited without being told to, or whose start failed, by the cause.",
        lambda server, now: _by_cause(server, ("worker.died",), causes.DEATHS),
    ),
    (
        "worker_crash_loops_total",
        "Workers that died too often and were not started again.",
        lambda server, now: _total(server, "worker.crashloop"),
    ),
    (
        "kills_total",
        "Processes that the main process started and that were killed, by role and reason.",
        _kills,
    ),
    (
        "orphans_swept_total",
        "Processes that workers left behind and that were killed.",
        lambda server, now: _total(server, "orphan.killed"),
    ),
    (
        "blocked_seconds_total",
        "Seconds for which event loops of workers were blocked.",
        lambda server, now: _total(server, "blocked_seconds"),
    ),
)
"""Each metric: its name without `PREFIX`, its help, and the function that measures it."""


# -- the format -----------------------------------------------------------------------------------


def _family(name: str, what: str, samples: float | Iterable[Sample]) -> Iterator[str]:
    """The lines of one metric. A single number is a sample without labels."""
    kind = "counter" if name.endswith("_total") else "gauge"
    yield f"# HELP {PREFIX}{name} {what}\n"
    yield f"# TYPE {PREFIX}{name} {kind}\n"
    if isinstance(samples, (int, float)):
        samples = [({}, samples)]
    for labels, number in samples:
        inner = ",".join(f'{key}="{_escape(value)}"' for key, value in labels.items())
        yield f"{PREFIX}{name}{f'{{{inner}}}' if inner else ''} {_number(number)}\n"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(number: float) -> str:
    """A number as Go parses it."""
    if number != number:
        return "NaN"
    return str(int(number)) if number == int(number) else f"{number:.3f}"
