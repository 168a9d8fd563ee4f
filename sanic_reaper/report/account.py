"""The account of one run: what its processes did and when, how it started, and how it ended.

Pure: a `server.Server` in, an `Account` out. Moments are on the monotonic clock of the server's
machine; `Account.wall` gives seconds since the epoch. What stands in a file may be anything, so a
number that is none counts as missing.
"""

from __future__ import annotations

from typing import NamedTuple

from ..model.kills import KILLS
from ..model.lifecycle import BLOCKED
from ..state.server import STALE
from ..tree.deaths import cause

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

LARGEST = 1e11
"""What is not smaller (or is no number, which is not either) has not been written by us: seconds of
three thousand years."""

_ROLES = ("main", "watchdog", "helper", "service")
"""The order in which processes are told of; workers and the user's own come after these."""


class Segment(NamedTuple):
    """What a process was at for a while."""

    kind: str
    """`import`, `starting`, `handler`, `background`, `serving`, `blocked`, `stopping`, `running`"""
    began: float
    ended: float
    label: str


class Mark(NamedTuple):
    """Something that happened to a process in one moment."""

    kind: str
    """`killed`, `died`, `slow`, `replaced`, `recycled`, `crashloop`, `orphan`"""
    time: float
    label: str


class Handler(NamedTuple):
    """A handler of a worker's start, or its background work."""

    name: str
    place: str
    """`file:line`, or "" where that is not known."""
    began: float
    ended: float | None
    """`None`: it still runs, or the process ended in it."""
    is_beside: bool
    has_failed: bool


class Happening(NamedTuple):
    """An event, or a line of the watchdog's from the time when main was gone."""

    time: float
    name: str
    """Of an event; `start.failed` for a start that was tried again; "" for a line."""
    process: str
    pid: int
    words: str
    exit_code: int | None = None
    seconds: float | None = None
    level: str = ""
    """Of a line of the log."""
    cause: str = ""
    """Of an event: one of `causes`."""


class Process:
    """One process of the server."""

    def __init__(self, member: Member) -> None:
        fields = member.fields
        self.identity: Identity = member.identity
        self.pid = member.identity[0]
        self.role = member.role
        self.name = member.name
        self.state = member.state
        self.began = _number(fields, "began") or 0.0
        self.ended = _number(fields, "ended")
        self.exit_code = _integer(fields, "exit_code")
        self.asked = _number(fields, "asked")
        self.killed = fields.get("killed", "")
        """Why it was killed,"""
        self.killer = fields.get("killer", "watchdog") if self.killed else ""
        """and by whom."""
        self.failure = fields.get("failure", "")
        self.requests = _integer(fields, "requests")
        self.stood_still = _number(fields, "stood_still") or 0.0
        self.imported = member.imported
        self.up = member.up
        self.ready = member.ready
        self.handlers = [_handler(one) for one in member.handlers]
        self.standstills = [_span(one) for one in member.standstills]
        self.before: Process | None = None
        """The one of the same name whose place it has taken."""
        self.cause = ""
        """Why it has ended, in the words of the log."""
        self.until = self.began
        """When it ended, or the last moment at which something is known of it."""
        self.segments: list[Segment] = []
        self.marks: list[Mark] = []
        if fields.get("doing") and self.ended is None:
            self.handlers.append(_handler_now(fields))
        since = _number(fields, "since")
        self.blocked_since = since if member.recorded == BLOCKED else None

    @property
    def title(self) -> str:
        return f"{self.name} [{self.pid}]"

    @property
    def is_worker(self) -> bool:
        return self.role == "worker"

    @property
    def seconds_to_up(self) -> float | None:
        """Its start, as its log has it: without background work."""
        return None if self.up is None else self.up - self.began

    @property
    def did_not_start(self) -> bool:
        return self.is_worker and self.ready is None and self.ended is not None

    @property
    def was_hurt(self) -> bool:
        """Whether it ended otherwise than it should have."""
        has_died = self.role == "main" and self.ended is not None
        return bool(has_died or self.killed or self.exit_code or self.failure)


_VERSIONS = ("reaper", "sanic", "python")


def _count(server: Server, name: str, known: Iterable[str]) -> int:
    """How often an event was about a worker, with one of these causes."""
    numbers = [server.counts.get((name, "worker", cause), 0.0) for cause in known]
    return int(sum(number for number in numbers if 0 <= number < LARGEST))


def _number(fields: Fields, key: str) -> float | None:
    try:
        number = float(fields[key])
    except (KeyError, ValueError):
        return None
    return number if abs(number) < LARGEST else None


def _integer(fields: Fields, key: str) -> int | None:
    number = _number(fields, key)
    return None if number is None else int(number)


def _handler(fields: Fields) -> Handler:
    file, line = fields.get("file", ""), fields.get("line", "")
    return Handler(
        fields.get("name", "?"),
        f"{file}:{line}" if file else "",
        _number(fields, "began") or 0.0,
        _number(fields, "ended"),
        "beside" in fields,
        "failed" in fields,
    )


def _handler_now(fields: Fields) -> Handler:
    """The one that runs in a worker that lives."""
    began = fields.get("doing_since", "0")
    file, line = fields.get("file", ""), fields.get("line", "")
    return _handler({"name": fields["doing"], "file": file, "line": line, "began": began})


def _span(fields: Fields) -> tuple[float, float]:
    began = _number(fields, "began") or 0.0
    return began, _number(fields, "ended") or began


class Account:
    """What is known of a run.

    Args:
        server: as its files show it.
        now: on the monotonic clock.
        lives: whether main does.
        is_here: whether it is of this boot and this PID namespace. If not, nobody can tell from
            here whether main lives.
    """

    def __init__(self, server: Server, now: float, lives: bool, is_here: bool = True) -> None:
        fields = server.fields
        self.app, self.run, self.uid = server.app, server.run, server.uid
        self.pid = server.main[0]
        self.directory = fields.get("directory", "")
        self.method = fields.get("method", "")
        self.address = fields.get("address", "")
        self.host = fields.get("host", "")
        self.versions = {name: fields[name] for name in _VERSIONS if fields.get(name)}
        """Of the Reaper, Sanic and Python; of those that are known."""
        self.wanted = _integer(fields, "wanted") or 0
        self.phase = server.phase
        self.code = _integer(fields, "code")
        self.words = fields.get("words", "")
        """Why it has ended."""
        self.lives = lives
        self.is_here = is_here
        self.counters = {
            name: number for name, number in server.counters.items() if abs(number) < LARGEST
        }
        self.began = _number(fields, "began") or 0.0
        self.clock = _number(fields, "clock") or 0.0
        self.served = _number(fields, "began_serving")
        """When it began to serve,"""
        self.stop = _number(fields, "began_stopping")
        """to stop,"""
        self.over = _number(fields, "began_stopped")
        """and when it had."""
        self.log = [one for one in map(_line, server.log) if one is not None]
        """What the watchdog did when main was gone."""
        self.died: float | None = None
        """When main was found dead."""
        self.gone: float | None = None
        """When the watchdog saw that nothing is left,"""
        self._ends: dict[Identity, tuple[float, str]] = {}
        """and what ended before that: when, and why it was killed, if it was."""
        self._read_the_end(server.end)
        self.outcome = self._outcome()
        if self.outcome == "killed" and self.died is None:
            self.died = server.beat or self.stop or self.served or self.began
        self.until = max(self.began, self._until(now, server.beat))
        """The last moment of which something is known."""
        self.is_stuck = lives and server.beat is not None and now - server.beat >= STALE
        self.processes = self._processes(server.members.values())
        self.events = sorted(self._happenings(server.events), key=lambda one: one.time)
        for process in self.processes:
            _tell(process, self)
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
            time = _number(fields, "time")
            if time is None:
                continue
            if kind == "ended":
                identity = (_integer(fields, "pid") or 0, _integer(fields, "start") or 0)
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
            if process.role not in ("helper", "service"):
                process.before = latest.get(key)
            latest[key] = process
            self._end(process)

        def order(one: Process) -> tuple[int, int, float]:
            rank = _ROLES.index(one.role) if one.role in _ROLES else len(_ROLES)
            return rank, places[one.role, one.name], one.began

        return sorted(found, key=order)

    def _end(self, process: Process) -> None:
        if process.role == "main":
            process.asked, process.ended = self.stop, self.died
        elif process.ended is None:
            process.ended, killed = self._ends.get(process.identity, (None, ""))
            if killed:
                process.killed, process.killer = killed, "watchdog"
            if process.asked is None:
                process.asked = self.died  # the watchdog asks for its end in that moment
        process.until = max(process.began, self.until if process.ended is None else process.ended)

    # -- what has happened ------------------------------------------------------------------------

    def _happenings(self, events: Iterable[Fields]) -> Iterator[Happening]:
        told = set()
        by_pid = {one.pid: one for one in self.processes}
        for fields in events:
            happening = _happening(fields)
            process = by_pid.get(happening.pid)
            told.add((happening.name, happening.pid))
            if process is not None:
                _mark(process, happening)
            elif happening.name == "orphan.killed" and self.pid in by_pid:
                by_pid[self.pid].marks.append(
                    Mark("orphan", happening.time, f"{happening.process} is ended")
                )
            yield happening
        for process in self.processes:
            if not process.did_not_start or ("worker.died", process.pid) in told:
                continue
            # One that failed the first start is told of by the end of the server.
            if process.asked is None and process.ended is not None:
                words = process.failure or fate(process)
                yield Happening(process.ended, "start.failed", process.name, process.pid, words)


def _line(fields: Fields) -> Happening | None:
    time = _number(fields, "time")
    if time is None:
        return None
    return Happening(time, "", "", 0, fields.get("text", ""), level=fields.get("level", ""))


def _happening(fields: Fields) -> Happening:
    process, pid = fields.get("process", "?"), _integer(fields, "pid") or 0
    words = fields.get("reason", "").removeprefix(f"{process} [{pid}] ")
    return Happening(
        _number(fields, "time") or 0.0,
        fields.get("name", "?"),
        process,
        pid,
        words,
        _integer(fields, "exit_code"),
        _number(fields, "seconds"),
        cause=fields.get("cause", ""),
    )


_MARKS = ("worker.slow", "worker.replaced", "worker.recycled", "worker.crashloop")


def _mark(process: Process, happening: Happening) -> None:
    if happening.name == "worker.died":
        process.cause = happening.words.removeprefix("has died: ")
    elif happening.name in _MARKS:
        kind = happening.name.partition(".")[2]
        process.marks.append(Mark(kind, happening.time, first_line(happening.words) or kind))


def fate(process: Process) -> str:
    """How it has ended, in words; "" if it has not, or nobody has seen it."""
    if process.killed:
        return f"killed by {killer(process)}: {process.killed}"
    if process.ended is None:
        return ""
    if process.exit_code is None:
        return "died" if process.role == "main" else "ended"
    if process.exit_code < 0 and process.cause:
        return process.cause
    return cause(process.exit_code)


def killer(process: Process) -> str:
    return process.killer if process.killer == "main" else "the watchdog"


def first_line(text: str) -> str:
    return text.split("\n", 1)[0]


# -- what each was at -----------------------------------------------------------------------------


def _tell(process: Process, account: Account) -> None:
    """Fill in its segments, the broad ones first, and how it ended."""
    if process.is_worker:
        process.segments = list(_of_worker(process))
    elif process.role == "main":
        process.segments = list(_of_main(process, account))
    else:
        process.segments = [Segment("running", process.began, process.until, "running")]
    if process.ended is not None and (process.killed or (process.exit_code or 0) < 0):
        process.marks.append(Mark("killed", process.ended, fate(process)))
    elif process.ended is not None and (process.exit_code or process.role == "main"):
        process.marks.append(Mark("died", process.ended, fate(process)))


def _of_main(process: Process, account: Account) -> Iterator[Segment]:
    last = process.until
    stop = last if account.stop is None else min(account.stop, last)
    served = stop if account.served is None else min(account.served, stop)
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
            yield Segment("blocked", stood, min(went_on, last), "its event loop stands still")
    if process.asked is not None and last > asked:
        yield Segment("stopping", asked, last, "stopping")
