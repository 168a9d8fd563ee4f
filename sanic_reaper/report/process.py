"""One process of a run: its start, its handlers, its standstills, and how it ended. Pure.

What stands in a state file may be anything, so a number that is none counts as missing.
"""

from __future__ import annotations

from typing import NamedTuple

from ..model.lifecycle import BLOCKED
from ..model.roles import MAIN, WATCHDOG, WORKER
from ..tree.deaths import cause

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..platform.base import Identity
    from ..state import Fields
    from ..state.server import Member

LARGEST = 1e11
"""What is not smaller (or is no number, which is not either) has not been written by us: seconds of
three thousand years."""


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


class Process:
    """One process of the server."""

    def __init__(self, member: Member) -> None:
        fields = member.fields
        self.identity: Identity = member.identity
        self.pid = member.identity[0]
        self.role = member.role
        self.name = member.name
        self.state = member.state
        self.began = number(fields, "began") or 0.0
        self.ended = number(fields, "ended")
        self.exit_code = integer(fields, "exit_code")
        self.asked = number(fields, "asked")
        self.killed = fields.get("killed", "")
        """Why the process was killed. "": it was not."""
        self.killer = fields.get("killer", WATCHDOG) if self.killed else ""
        """The role of the process that killed it."""
        self.failure = fields.get("failure", "")
        self.requests = integer(fields, "requests")
        self.stood_still = number(fields, "stood_still") or 0.0
        self.imported = member.imported
        self.up = member.up
        self.ready = member.ready
        self.handlers = [_handler(one) for one in member.handlers]
        self.standstills = [_span(one) for one in member.standstills]
        self.lost = [words.removeprefix("lost: ") for words in member.lost]
        """The requests that it had in flight when it was killed, each in words."""
        self.before: Process | None = None
        """The process of the same name that this one replaced."""
        self.cause = ""
        """Why the process died, in the words of the log."""
        self.until = self.began
        """When the process ended, or the last moment at which something is known of it."""
        self.segments: list[Segment] = []
        self.marks: list[Mark] = []
        if fields.get("doing") and self.ended is None:
            self.handlers.append(_handler_now(fields))
        since = number(fields, "since")
        self.blocked_since = since if member.recorded == BLOCKED else None

    @property
    def title(self) -> str:
        return f"{self.name} [{self.pid}]"

    @property
    def is_worker(self) -> bool:
        return self.role == WORKER

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
        has_died = self.role == MAIN and self.ended is not None
        return bool(has_died or self.killed or self.exit_code or self.failure)


def number(fields: Fields, key: str) -> float | None:
    try:
        number = float(fields[key])
    except (KeyError, ValueError):
        return None
    return number if abs(number) < LARGEST else None


def integer(fields: Fields, key: str) -> int | None:
    found = number(fields, key)
    return None if found is None else int(found)


def _handler(fields: Fields) -> Handler:
    file, line = fields.get("file", ""), fields.get("line", "")
    return Handler(
        fields.get("name", "?"),
        f"{file}:{line}" if file else "",
        number(fields, "began") or 0.0,
        number(fields, "ended"),
        "beside" in fields,
        "failed" in fields,
    )


def _handler_now(fields: Fields) -> Handler:
    """The one that runs in a worker that lives."""
    began = fields.get("doing_since", "0")
    file, line = fields.get("file", ""), fields.get("line", "")
    return _handler({"name": fields["doing"], "file": file, "line": line, "began": began})


def _span(fields: Fields) -> tuple[float, float]:
    began = number(fields, "began") or 0.0
    return began, number(fields, "ended") or began


def fate(process: Process) -> str:
    """How it has ended, in words; "" if it has not, or nobody has seen it."""
    if process.killed:
        return f"killed by {killer(process)}: {process.killed}"
    if process.ended is None:
        return ""
    if process.exit_code is None:
        return "died" if process.role == MAIN else "ended"
    if process.exit_code < 0 and process.cause:
        return process.cause
    return cause(process.exit_code)


def killer(process: Process) -> str:
    return process.killer if process.killer == MAIN else "the watchdog"


def first_line(text: str) -> str:
    return text.split("\n", 1)[0]
