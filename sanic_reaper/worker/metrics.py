"""A server in Prometheus's text format, from what main has left of itself. Pure, but for a look at
whether the watchdog lives.

So each worker tells the same, and of the whole server: a client library counts in one process, and
would need files of its own to add up those of several. Each series whose labels are known before is
there from the beginning, with 0: else the first increase of a counter would be none.
"""

from __future__ import annotations

from sanic_reaper import __version__

from ..model.kills import KILLS
from ..model.lifecycle import GONE, LIVING
from ..model.roles import PROCESS, WORKER
from ..tree import causes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import TypeAlias

    from ..state.server import Member, Server

    Sample: TypeAlias = "tuple[Mapping[str, str], float]"

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

PREFIX = "sanic_reaper_"


def exposition(server: Server, now: float) -> str:
    """All metrics of a server.

    Args:
        now: on the monotonic clock.
    """
    return "".join(line for family in _families(server, now) for line in family)


def _families(server: Server, now: float) -> Iterator[Iterator[str]]:
    workers = [
        one for one in server.members.values() if one.role == WORKER and one.state not in GONE
    ]
    yield _gauge(
        "info",
        "What runs here; always 1.",
        [({"version": __version__, "app": server.app, "method": server.fields["method"]}, 1)],
    )
    clock = float(server.fields["clock"])
    yield _gauge(
        "start_time_seconds", "When main began, in seconds since the epoch.", server.began + clock
    )
    yield _gauge(
        "main_beat_age_seconds",
        "Seconds since the loop of the main process has last turned; it does each second.",
        float("nan") if server.beat is None else max(0.0, now - server.beat),
    )
    yield _gauge("watchdog_up", "Whether the watchdog process lives.", float(server.watchdog_lives))
    yield _gauge("workers_wanted", "How many workers are to serve.", server.wanted)
    yield _gauge(
        "workers",
        "Living workers by what they are at.",
        [({"state": key}, number) for key, number in _by_state(workers).items()],
    )
    yield _gauge(
        "worker_startup_seconds",
        "How long the start of the latest worker of each name took, background work left out.",
        [({"worker": name}, seconds) for name, seconds in _startups(workers).items()],
    )
    yield _counter(
        "worker_starts_total",
        "Worker processes that were started.",
        _total(server, "worker.started"),
    )
    yield _counter(
        "worker_restarts_total",
        "Workers that serve in the place of another one, by what that was replaced for.",
        _by_cause(server, ("worker.replaced", "worker.recycled"), causes.RESTARTS),
    )
    yield _counter(
        "worker_deaths_total",
        "Workers that have ended and were not told to, or did not start.",
        _by_cause(server, ("worker.died",), causes.DEATHS),
    )
    yield _counter(
        "worker_crash_loops_total",
        "Workers that have died once too often and stay down.",
        _total(server, "worker.crashloop"),
    )
    yield _counter(
        "kills_total",
        "Processes that main had started and that had to be killed.",
        [
            ({"role": role, **labels}, number)
            for role in (WORKER, PROCESS)
            for labels, number in _by_cause(server, ("worker.killed",), KILLS, role)
        ],
    )
    yield _counter(
        "orphans_swept_total",
        "Processes that workers had left behind and that were ended.",
        _total(server, "orphan.killed"),
    )
    yield _counter(
        "blocked_seconds_total",
        "Seconds for which event loops of workers have not turned when they should have.",
        server.counters.get("blocked_seconds", 0.0),
    )


def _by_state(workers: Iterable[Member]) -> dict[str, int]:
    found = dict.fromkeys(LIVING, 0)
    for worker in workers:
        found[worker.state] = found.get(worker.state, 0) + 1
    return found


def _startups(workers: Iterable[Member]) -> dict[str, float]:
    """By name: two have the same while one makes way for the other."""
    found = {}
    for worker in sorted(workers, key=lambda worker: worker.moment("began") or 0.0):
        began = worker.moment("began")
        if began is not None and worker.up is not None:
            found[worker.name] = worker.up - began
    return found


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


# -- the format -----------------------------------------------------------------------------------


def _gauge(name: str, what: str, samples: float | Iterable[Sample]) -> Iterator[str]:
    return _family(name, "gauge", what, samples)


def _counter(name: str, what: str, samples: float | Iterable[Sample]) -> Iterator[str]:
    return _family(name, "counter", what, samples)


def _family(name: str, kind: str, what: str, samples: float | Iterable[Sample]) -> Iterator[str]:
    """Its lines. One number is a family without labels."""
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
    """As Go reads it."""
    if number != number:
        return "NaN"
    return str(int(number)) if number == int(number) else f"{number:.3f}"
