"""Words that both reports use: durations, moments, and what has happened."""

from __future__ import annotations

import time

from .process import Process, fate, first_line, killer
from .run_report import OUTCOMES, ReportEvent, RunReport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

NAMES = {
    "worker.started": "started",
    "worker.ready": "up",
    "worker.slow": "slow start",
    "worker.blocked": "blocked",
    "worker.died": "died",
    "worker.killed": "killed",
    "worker.replaced": "replaced",
    "worker.recycled": "recycled",
    "worker.crashloop": "crash loop",
    "orphan.killed": "left behind",
    "start.failed": "not started",
}
"""What the events are called in a report."""


def duration(seconds: float) -> str:
    if seconds < 99.995:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    size, unit, part, small = next(units for units in _UNITS if whole >= units[0])
    count, rest = divmod(whole, size)
    return f"{count} {unit} {rest // part} {small}"


_UNITS = ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))


def clock(moment: float, style: str = "%H:%M:%S") -> str:
    """A moment of the epoch in the local time of who reads."""
    try:
        return time.strftime(style, time.localtime(moment))
    except (OverflowError, ValueError, OSError):
        return "?"


DATE = "%Y-%m-%d %H:%M:%S"
ZONED = f"{DATE} %z"
"""With the time zone, in which all other moments of the report are too."""


def how_it_stands(report: RunReport) -> str:
    """How the run has ended, or what it is at: half a sentence."""
    outcome, words = report.outcome, first_line(report.words)
    if outcome == "serving" and report.served is not None:
        return f"serving since {clock(report.wall(report.served), DATE)}"
    if outcome in ("starting", "stopping"):
        return outcome
    if outcome == "killed":
        assert report.died is not None
        at = clock(report.wall(report.died), DATE)
        while_ = {"starting": " while it started", "stopping": " while it stopped"}
        return f"main died at {at}{while_.get(report.phase, '')}, without a stop of its own"
    if outcome == "unknown":
        return "how it ended is not known: the machine was restarted, or it is another container's"
    took = report.seconds_of_stop
    parts = [OUTCOMES[outcome]]
    if outcome == "ended" and words:
        parts.append(words)
    elif words:
        parts = [words.replace("stopping on", "stopped on", 1)]
    if took is not None:
        parts.append(f"the stop took {duration(took)}")
    if report.code is not None:
        parts.append(f"exit code {report.code}")
    return ", ".join(parts)


def losses(report: RunReport) -> str:
    """Who was lost, to stand beside how the run has ended. "": nobody."""
    found = []
    for number, verb in ((report.workers_killed, "killed"), (report.workers_died, "died")):
        if number:
            workers = f"{number} worker{'' if number == 1 else 's'}"
            was = "" if verb == "died" else "was " if number == 1 else "were "
            found.append(f"{workers} {was}{verb}")
    return ", ".join(found)


def lost_requests(report: RunReport) -> list[tuple[str, str]]:
    """The requests that were lost with workers that were killed: which worker, and the words."""
    return [(process.title, words) for process in report.workers for words in process.lost]


def made_with(report: RunReport) -> str:
    """The versions of what has run, in one phrase."""
    names = {"reaper": "sanic-reaper", "sanic": "Sanic", "python": "Python"}
    return ", ".join(f"{names[key]} {version}" for key, version in report.versions.items())


def steps(process: Process, until: float) -> list[tuple[float, str, str, str]]:
    """What a start was made of: seconds, what, where, remark."""
    rows = []
    if process.imported is not None:
        rows.append((process.imported - process.began, "import", "", ""))
    for one in process.handlers:
        end = until if one.ended is None else one.ended
        remarks = ["in the background"] if one.is_beside else []
        if one.has_failed:
            remarks.append("failed")
        elif one.ended is None:
            remarks.append("still runs" if process.ended is None else "the process ended in it")
        rows.append((max(0.0, end - one.began), one.name, one.place, ", ".join(remarks)))
    return rows


def how_it_started(process: Process) -> str:
    """In one phrase."""
    if up := _up(process):
        return up
    if process.ended is not None:
        after = duration(process.ended - process.began)
        return f"not up; it ended after {after}: {first_line(fate(process)) or 'no word why'}"
    return f"not up yet, after {duration(process.until - process.began)}"


def _up(process: Process) -> str:
    """When it was up, in the number of its log; and when its background work was done too."""
    seconds = process.seconds_to_up
    if seconds is None or process.did_not_start:
        return ""
    words = f"up after {duration(seconds)}"
    if process.ready is None:
        return f"{words}, and not ready yet"
    assert process.up is not None
    if process.ready > process.up:
        words += f", ready after {duration(process.ready - process.began)}"
    return words


def breakdown(process: Process) -> str:
    """What the start of a worker was made of, in a line."""
    found = [f"{what} {duration(seconds)}" for seconds, what, _, _ in steps(process, process.until)]
    return ", ".join(found[:4]) + (f", and {len(found) - 4} more" if len(found) > 4 else "")


class EventLine:
    """A line of what has happened, for people."""

    def __init__(self, event: ReportEvent, name: str, words: str) -> None:
        self.time = event.time
        self.event = event.name
        self.name = name
        self.who = f"{event.process} [{event.pid}]" if event.pid else ""
        self.words = words
        self.is_bad = event.name in _BAD or event.level in ("WARNING", "ERROR")


_BAD = ("worker.died", "worker.killed", "worker.crashloop", "worker.blocked", "start.failed")


def event_lines(report: RunReport, events: Iterable[ReportEvent]) -> list[EventLine]:
    """What is worth a line: a start that is followed by its end of the matter is not."""
    events = list(events)
    final = {one.pid for one in events if one.name in ("worker.replaced", "worker.recycled")}
    final.update(one.pid for one in report.first_workers)  # whose starts are told by themselves
    by_pid = {one.pid: one for one in report.processes}
    lines = []
    for one in events:
        if one.name == "worker.started" or (one.name == "worker.ready" and one.pid in final):
            continue
        process = by_pid.get(one.pid)
        lines.append(EventLine(one, NAMES.get(one.name, one.name), _words(one, process)))
    return lines


def _words(one: ReportEvent, process: Process | None) -> str:
    up = _up(process) if process is not None else ""
    if one.name == "worker.ready":
        return f"{up}: {breakdown(process)}" if process is not None and up else "up"
    if one.name in ("worker.replaced", "worker.recycled"):
        before = process.before if process is not None else None
        place = f"in place of [{before.pid}]" if before is not None else "in place of another"
        return f"{place}, {up}" if up else place
    if one.name == "worker.killed":
        return f"by {killer(process)}: {one.words}" if process is not None else one.words
    return one.words.replace(f"the event loop of {one.process} [{one.pid}]", "its event loop", 1)


def parts(report: RunReport) -> tuple[list[ReportEvent], list[ReportEvent], list[ReportEvent]]:
    """What happened in the start, in between, and from the stop on."""
    start: list[ReportEvent] = []
    between: list[ReportEvent] = []
    stop: list[ReportEvent] = []
    ending = report.stop if report.stop is not None else report.died
    for one in report.events:
        if ending is not None and one.time >= ending:
            stop.append(one)
        elif report.served is None or one.time < report.served:
            start.append(one)
        else:
            between.append(one)
    return start, between, stop


def counts(report: RunReport) -> list[tuple[str, int]]:
    """How often each event was, that a reader may ask for."""
    wanted = (
        ("died", "worker.died"),
        ("replaced", "worker.replaced"),
        ("recycled", "worker.recycled"),
        ("killed", "worker.killed"),
        ("blocked", "worker.blocked"),
        ("slow to start", "worker.slow"),
        ("left behind, and ended", "orphan.killed"),
    )
    return [(words, int(report.counters.get(name, 0))) for words, name in wanted]


def printable(text: str) -> str:
    """Without what would speak to a terminal, and without what XML forbids.

    An app's name, a handler's, a file's: whoever writes them decides what is in them.
    """
    if text.isprintable():
        return text
    return "".join(char if char == "\n" or _is_harmless(char) else "\ufffd" for char in text)


def _is_harmless(char: str) -> bool:
    return char == "\t" or char == " " or char.isprintable()
