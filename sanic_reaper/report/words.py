"""Words that both reports use: durations, moments, and what has happened."""

from __future__ import annotations

import time

from .account import OUTCOMES, Account, Happening, Process, fate, first_line, killer

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


def how_it_stands(account: Account) -> str:
    """How the run has ended, or what it is at: half a sentence."""
    outcome, words = account.outcome, first_line(account.words)
    if outcome == "serving" and account.served is not None:
        return f"serving since {clock(account.wall(account.served), DATE)}"
    if outcome in ("starting", "stopping"):
        return outcome
    if outcome == "killed":
        assert account.died is not None
        at = clock(account.wall(account.died), DATE)
        while_ = {"starting": " while it started", "stopping": " while it stopped"}
        return f"main died at {at}{while_.get(account.phase, '')}, without a stop of its own"
    if outcome == "unknown":
        return "how it ended is not known: the machine was restarted, or it is another container's"
    took = account.seconds_of_stop
    parts = [OUTCOMES[outcome]]
    if outcome == "ended" and words:
        parts.append(words)
    elif words:
        parts = [words.replace("stopping on", "stopped on", 1)]
    if took is not None:
        parts.append(f"the stop took {duration(took)}")
    if account.code is not None:
        parts.append(f"exit code {account.code}")
    return ", ".join(parts)


def losses(account: Account) -> str:
    """Who was lost, to stand beside how the run has ended. "": nobody."""
    found = []
    for number, verb in ((account.workers_killed, "killed"), (account.workers_died, "died")):
        if number:
            workers = f"{number} worker{'' if number == 1 else 's'}"
            was = "" if verb == "died" else "was " if number == 1 else "were "
            found.append(f"{workers} {was}{verb}")
    return ", ".join(found)


def made_with(account: Account) -> str:
    """The versions of what has run, in one phrase."""
    names = {"reaper": "sanic-reaper", "sanic": "Sanic", "python": "Python"}
    return ", ".join(f"{names[key]} {version}" for key, version in account.versions.items())


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


class Told:
    """A line of what has happened, for people."""

    def __init__(self, happening: Happening, name: str, words: str) -> None:
        self.time = happening.time
        self.event = happening.name
        self.name = name
        self.who = f"{happening.process} [{happening.pid}]" if happening.pid else ""
        self.words = words
        self.is_bad = happening.name in _BAD or happening.level in ("WARNING", "ERROR")


_BAD = ("worker.died", "worker.killed", "worker.crashloop", "worker.blocked", "start.failed")


def told(account: Account, happenings: Iterable[Happening]) -> list[Told]:
    """What is worth a line: a start that is followed by its end of the matter is not."""
    happenings = list(happenings)
    final = {one.pid for one in happenings if one.name in ("worker.replaced", "worker.recycled")}
    final.update(one.pid for one in account.first_workers)  # whose starts are told by themselves
    by_pid = {one.pid: one for one in account.processes}
    lines = []
    for one in happenings:
        if one.name == "worker.started" or (one.name == "worker.ready" and one.pid in final):
            continue
        process = by_pid.get(one.pid)
        lines.append(Told(one, NAMES.get(one.name, one.name), _words(one, process)))
    return lines


def _words(one: Happening, process: Process | None) -> str:
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


def parts(account: Account) -> tuple[list[Happening], list[Happening], list[Happening]]:
    """What happened in the start, in between, and from the stop on."""
    start: list[Happening] = []
    between: list[Happening] = []
    stop: list[Happening] = []
    ending = account.stop if account.stop is not None else account.died
    for one in account.events:
        if ending is not None and one.time >= ending:
            stop.append(one)
        elif account.served is None or one.time < account.served:
            start.append(one)
        else:
            between.append(one)
    return start, between, stop


def counts(account: Account) -> list[tuple[str, int]]:
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
    return [(words, int(account.counters.get(name, 0))) for words, name in wanted]


def printable(text: str) -> str:
    """Without what would speak to a terminal, and without what XML forbids.

    An app's name, a handler's, a file's: whoever writes them decides what is in them.
    """
    if text.isprintable():
        return text
    return "".join(char if char == "\n" or _is_harmless(char) else "\ufffd" for char in text)


def _is_harmless(char: str) -> bool:
    return char == "\t" or char == " " or char.isprintable()
