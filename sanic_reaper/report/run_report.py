"""The report of one run: what its processes did and when, how it started, and how it ended.

Pure: a `server.Server` in, a `RunReport` out. Moments are on the monotonic clock of the server's
machine; `RunReport.wall` gives seconds since the epoch. What stands in a file may be anything, so a
number that is none counts as missing.
"""

from __future__ import annotations

from typing import NamedTuple

from ..model.kills import KILLS
from ..model.roles import HELPER, MAIN, SERVICE, WATCHDOG, WORKER
from ..state.server import STALE
from .process import LARGEST, Mark, Process, fate, first_line, integer, number
from .timeline import add_segments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..platform.base import Identity
    from ..state import Fields
    from ..state.server import Member, Server

OUTCOMES = {
    "starting": "starting",
    "serving": "serving",
    "stopping": "stopping",
    "stopped": "stopped",
    "failed": "did not start",
    "ended": "ended by itself",
    "killed": "main was killed",
    "unknown": "its end is not known",
}
"""How a run stands or has ended, with the words for it."""

_ROLES = (MAIN, WATCHDOG, HELPER, SERVICE)
"""The order in which processes are told of; workers and the user's own come after these."""


class ReportEvent(NamedTuple):
    """An event of a run, or a line that the watchdog wrote after main had died."""

    time: float
    name: str
    """Name of the event, or `start.failed` for a start that was tried again. "" for a line."""
    process: str
    pid: int
    words: str
    exit_code: int | None = None
    seconds: float | None = None
    level: str = ""
    """Level of a line of the log. "" for an event."""
    cause: str = ""
    """Cause of the event, one of `causes`. "" if it has none."""


_VERSIONS = ("reaper", "sanic", "python")


def _count(server: Server, name: str, known: Iterable[str]) -> int:
    """How often an event was about a worker, with one of these causes."""
    numbers = [server.counts.get((name, WORKER, cause), 0.0) for cause in known]
    return int(sum(number for number in numbers if 0 <= number < LARGEST))


class _Recorded:
    """What main has recorded of one run, as it stands in the files."""

    def __init__(self, server: Server) -> None:
        fields = server.fields
        self.app, self.run, self.uid = server.app, server.run, server.uid
        self.pid = server.main[0]
        self.directory = fields.get("directory", "")
        self.method = fields.get("method", "")
        self.address = fields.get("address", "")
        self.host = fields.get("host", "")
        self.versions = {name: fields[name] for name in _VERSIONS if fields.get(name)}
        """Of the Reaper, Sanic and Python; of those that are known."""
        self.wanted = integer(fields, "wanted") or 0
        self.phase = server.phase
        self.code = integer(fields, "code")
        self.words = fields.get("words", "")
        """Why it has ended."""
        self.counters = {
            name: value for name, value in server.counters.items() if abs(value) < LARGEST
        }
        self.began = number(fields, "began") or 0.0
        self.clock = number(fields, "clock") or 0.0
        self.served = number(fields, "began_serving")
        """When the server began to serve."""
        self.stop = number(fields, "began_stopping")
        """When the server began to stop."""
        self.over = number(fields, "began_stopped")
        """When the server had stopped."""
        self.log = [one for one in map(_line, server.log) if one is not None]
        """What the watchdog did when main was gone."""


class RunReport(_Recorded):
    """What is known of one run.

    Args:
        server: as its files show it.
        now: on the monotonic clock.
        lives: whether main does.
        is_here: whether it is of this boot and this PID namespace. If not, nobody can tell from
            here whether main lives.
    """

    def __init__(self, server: Server, now: float, lives: bool, is_here: bool = True) -> None:
        super().__init__(server)
        self.lives = lives
        self.is_here = is_here
        self.died: float | None = None
        """When main was found dead."""
        self.gone: float | None = None
        """When the watchdog saw that nothing is left."""
        self._ends: dict[Identity, tuple[float, str]] = {}
        """What the watchdog saw end after main died: when, and why it was killed, if it was."""
        self._read_the_end(server.end)
        self.outcome = self._outcome()
        if self.outcome == "killed" and self.died is None:
            self.died = server.beat or self.stop or self.served or self.began
        self.until = max(self.began, self._until(now, server.beat))
        """The last moment of which something is known."""
        self.is_stuck = lives and server.beat is not None and now - server.beat >= STALE
        self.processes = self._processes(server.members.values())
        self.events = sorted(self._read_events(server.events), key=lambda one: one.time)
        for process in self.processes:
            add_segments(process, self.served, self.stop)
        # Of processes the last ones are kept alone, and the counts end with main.
        self.workers_killed = max(
            _count(server, "worker.killed", KILLS),
            sum(bool(one.killed) for one in self.workers),
        )
        self.workers_died = _count(server, "worker.died", ("exit", "signal", "oom"))
        """Those that died, and were not killed by us."""

    @property
    def is_in_order(self) -> bool:
        """Whether the run is, or has ended, as it should."""
        return self.outcome in ("starting", "serving", "stopping", "stopped")

    def _read_the_end(self, records: Iterable[tuple[str, Fields]]) -> None:
        for kind, fields in records:
            time = number(fields, "time")
            if time is None:
                continue
            if kind == "ended":
                identity = (integer(fields, "pid") or 0, integer(fields, "start") or 0)
                self._ends[identity] = (time, fields.get("killed", ""))
            elif kind == "gone":
                self.gone = time
            if self.died is None:
                self.died = time

    def _outcome(self) -> str:
        if self.phase == "stopped":
            self.died = None
            return "stopped" if not self.code else "failed" if self.served is None else "ended"
        if self.lives:
            self.died = None
            return self.phase if self.phase in OUTCOMES else "serving"
        return "killed" if self.is_here or self.died is not None else "unknown"

    def _until(self, now: float, beat: float | None) -> float:
        if self.outcome == "killed":
            ends = [
                self.gone,
                *(end for end, _ in self._ends.values()),
                *(one.time for one in self.log),
                self.died,
            ]
            return max(end for end in ends if end is not None)
        if self.over is not None:
            return self.over
        if self.lives:
            return now
        return max(filter(None, (beat, self.stop, self.served, self.began)), default=self.began)

    @property
    def seconds(self) -> float:
        """For how long main was up."""
        return (self.died if self.died is not None else self.until) - self.began

    @property
    def seconds_of_stop(self) -> float | None:
        """From the stop to its end, or from main's death until nothing was left."""
        began = self.died if self.died is not None else self.stop
        if began is None or (self.outcome == "killed" and not self.log and self.gone is None):
            return None
        return max(0.0, self.until - began)

    @property
    def workers(self) -> list[Process]:
        return [one for one in self.processes if one.is_worker]

    @property
    def first_workers(self) -> list[Process]:
        """Those of the server's start, those that were tried again included."""
        end = self.served if self.served is not None else self.stop
        return [one for one in self.workers if end is None or one.began <= end]

    def wall(self, moment: float) -> float:
        """Seconds since the epoch. As the clock was set when the server started."""
        return moment + self.clock

    # -- its processes ----------------------------------------------------------------------------

    def _processes(self, members: Iterable[Member]) -> list[Process]:
        found = sorted(map(Process, members), key=lambda one: one.began)
        places: dict[tuple[str, str], int] = {}
        latest: dict[tuple[str, str], Process] = {}
        for process in found:
            key = (process.role, process.name)
            places.setdefault(key, len(places))
            if process.role not in (HELPER, SERVICE):
                process.before = latest.get(key)
            latest[key] = process
            self._end(process)

        def order(one: Process) -> tuple[int, int, float]:
            rank = _ROLES.index(one.role) if one.role in _ROLES else len(_ROLES)
            return rank, places[one.role, one.name], one.began

        return sorted(found, key=order)

    def _end(self, process: Process) -> None:
        if process.role == MAIN:
            process.asked, process.ended = self.stop, self.died
        elif process.ended is None:
            process.ended, killed = self._ends.get(process.identity, (None, ""))
            if killed:
                process.killed, process.killer = killed, WATCHDOG
            if process.asked is None:
                process.asked = self.died  # the watchdog asks for its end in that moment
        process.until = max(process.began, self.until if process.ended is None else process.ended)

    # -- what has happened ------------------------------------------------------------------------

    def _read_events(self, events: Iterable[Fields]) -> Iterator[ReportEvent]:
        told = set()
        by_pid = {one.pid: one for one in self.processes}
        for fields in events:
            event = _event_of(fields)
            process = by_pid.get(event.pid)
            told.add((event.name, event.pid))
            if process is not None:
                _mark(process, event)
            elif event.name == "orphan.killed" and self.pid in by_pid:
                by_pid[self.pid].marks.append(
                    Mark("orphan", event.time, f"{event.process} is killed")
                )
            yield event
        for process in self.processes:
            if not process.did_not_start or ("worker.died", process.pid) in told:
                continue
            # One that failed the first start is told of by the end of the server.
            if process.asked is None and process.ended is not None:
                words = process.failure or fate(process)
                yield ReportEvent(process.ended, "start.failed", process.name, process.pid, words)


def _line(fields: Fields) -> ReportEvent | None:
    time = number(fields, "time")
    if time is None:
        return None
    return ReportEvent(time, "", "", 0, fields.get("text", ""), level=fields.get("level", ""))


def _event_of(fields: Fields) -> ReportEvent:
    process, pid = fields.get("process", "?"), integer(fields, "pid") or 0
    words = fields.get("reason", "").removeprefix(f"{process} [{pid}] ")
    return ReportEvent(
        number(fields, "time") or 0.0,
        fields.get("name", "?"),
        process,
        pid,
        words,
        integer(fields, "exit_code"),
        number(fields, "seconds"),
        cause=fields.get("cause", ""),
    )


_MARKS = ("worker.slow", "worker.replaced", "worker.recycled", "worker.crashloop")


def _mark(process: Process, event: ReportEvent) -> None:
    if event.name == "worker.died":
        process.cause = event.words.removeprefix("has died: ")
    elif event.name in _MARKS:
        kind = event.name.partition(".")[2]
        process.marks.append(Mark(kind, event.time, first_line(event.words) or kind))
