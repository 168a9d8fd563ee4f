"""One server as `ps` shows it: its processes and their states."""

from __future__ import annotations

import os
import shlex
import time

from .. import platform
from ..model import lifecycle, roles
from ..model.roles import CHILD, MAIN
from ..platform import Identity, Row
from ..state.server import Member, Server
from ..state.strays import Stray
from . import elsewhere
from .terminal import columns, painter, printable, seconds, size, width

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Line:
    """One process, as `ps` shows it."""

    def __init__(self, row: Row, member: Member | None, evidence: str, now: float) -> None:
        self.row = row
        self.depth = 0
        self.parent: int | None = None
        self.evidence = evidence
        self.role = member.role if member else CHILD
        self.name = member.name if member else row.name
        self.age = platform.age(row.start)
        self.rss = platform.resident(row.pid)
        self.cpu, self.seen_at = platform.cpu_seconds(row.pid), time.monotonic()
        self.share: float | None = None
        """Share of a core that it has used since the last measurement. `None`: not known yet."""
        self.uid = platform.uid(row.pid)
        self.state, self.since = _state(row, member)
        self.for_ = self._for(now)
        self.doing = _doing(member, now)

    def _for(self, now: float) -> float | None:
        """Seconds since its state has changed. `None`: the main process has not recorded the change
        (it was stopped by a signal, for example)."""
        if self.since is not None:
            return now - self.since
        return self.age if self.state == lifecycle.RUNNING else None

    def compare(self, cpu: float, then: float, cpu_now: float, now: float) -> None:
        """Set its share of a core between two moments.

        Args:
            cpu: processor time at the first moment, in seconds.
            then: monotonic time of the first moment, in seconds.
            cpu_now: processor time at the second moment, in seconds.
            now: monotonic time of the second moment, in seconds.
        """
        if now > then:
            # A process that has exited in between has a processor time of 0.
            self.share = max(0.0, cpu_now - cpu) / (now - then)

    def as_data(self, orphan: bool) -> dict[str, Any]:
        return {
            "pid": self.row.pid,
            "uid": self.uid,
            "parent": self.parent,
            "role": self.role,
            "name": self.name,
            "state": self.state,
            "state_seconds": None if self.for_ is None else round(self.for_, 3),
            "age_seconds": round(self.age, 3),
            "rss_bytes": self.rss,
            "cpu_seconds": round(self.cpu, 2),
            "cpu_share": None if self.share is None else round(self.share, 3),
            "doing": self.doing,
            "orphan": orphan,
            "evidence": self.evidence,
        }


def _state(row: Row, member: Member | None) -> tuple[str, float | None]:
    """The state of a process, and the monotonic time of its change if that was recorded."""
    known = member is not None and member.recorded != lifecycle.ENDED
    recorded = member.recorded if member is not None and known else lifecycle.RUNNING
    state = lifecycle.observed(recorded, row.alive, row.halted)
    is_told = state == recorded or {state, recorded} == lifecycle.STALLED
    return state, member.moment("since") if member is not None and known and is_told else None


def _doing(member: Member | None, now: float) -> dict[str, Any] | None:
    if member is None or "doing" not in member.fields:
        return None
    fields = member.fields
    return {
        "name": fields["doing"],
        "file": fields.get("file", "?"),
        "line": int(fields.get("line", 0)),
        "seconds": round(now - float(fields["doing_since"]), 3),
    }


class Picture:
    """One server at one moment."""

    def __init__(self, app: str, main: Identity, uid: int, lines: list[Line]) -> None:
        self.app, self.main, self.uid = app, main, uid
        self.processes = lines
        self.server: Server | None = None
        self.run = ""
        self.lives = False
        self.turns = False
        self.directory = ""
        self.now = time.monotonic()

    @classmethod
    def of(cls, server: Server, table: dict[int, Row], now: float) -> Picture:
        belongs = dict(server.belongs(table))
        lives = server.lives
        if lives:
            belongs[server.main] = MAIN
            belongs.update(_zombies_of(belongs, table))
        picture = cls(
            server.app,
            server.main,
            server.uid,
            _tree(server.main, belongs, server.members, table, now),
        )
        picture.server, picture.lives, picture.now = server, lives, now
        picture.run = server.run
        picture.turns = server.turns(now)
        picture.directory = server.fields.get("directory", "")
        return picture

    @classmethod
    def of_stray(cls, stray: Stray, table: dict[int, Row]) -> Picture:
        lines = _tree(stray.main, stray.processes, {}, table, time.monotonic())
        picture = cls(stray.app, stray.main, stray.uid, lines)
        picture.run, picture.directory = stray.run, stray.directory
        return picture

    @property
    def is_worth_showing(self) -> bool:
        """Whether `ps` shows it. A stopped server is not shown, even if its script runs on."""
        over = self.server is not None and self.server.is_over
        rest = [line for line in self.processes if line.row.identity != self.main]
        if over:
            return bool(rest) and not self.lives
        return bool(self.processes)

    @property
    def state(self) -> str:
        if self.server is None or not self.lives:
            return "orphaned"
        if not self.turns and not self.server.is_over:
            return "stuck"
        return self.server.phase

    def as_data(self) -> dict[str, Any]:
        server = self.server
        fields = server.fields if server is not None else {}
        return {
            "app": self.app,
            "main": self.main[0],
            "uid": self.uid,
            "state": self.state,
            "run": self.run,
            "workers_wanted": server.wanted if server is not None else None,
            "workers_serving": _serving(server),
            "address": fields.get("address"),
            "start_method": fields.get("method"),
            "directory": self.directory,
            "processes": [line.as_data(not self.lives) for line in self.processes],
        }

    # -- for people -------------------------------------------------------------------------------

    def lines(self) -> list[str]:
        paint = painter()
        colour = {"serving": "green", "orphaned": "red", "stuck": "red"}.get(self.state, "yellow")
        head = f"{paint(printable(self.app), 'bold')}  {paint(self.headline(), colour)}"
        rows: list[tuple[str, ...]] = [
            ("PID", "ROLE", "NAME", "STATE", "FOR", "AGE", "RSS", "CPU", "DOING")
        ]
        rows += [self._row(line) for line in self.processes]
        right = {0, 4, 5, 6, 7}
        if os.geteuid() == 0:  # root sees the processes of all users
            users = ["USER", *(_user(line.uid) for line in self.processes)]
            rows = [(*row[:1], user, *row[1:]) for row, user in zip(rows, users, strict=True)]
            right = {0, 5, 6, 7, 8}
        texts = columns(rows, right=frozenset(right))
        most = width()
        colours = ["dim", *(_COLOUR.get(line.state, "") for line in self.processes)]
        if not self.lives:
            colours[1:] = ["red"] * len(self.processes)
        body = [paint(text[:most], at) for text, at in zip(texts, colours, strict=True)]
        return [head, *body]

    def headline(self) -> str:
        server = self.server
        if server is None:
            return (
                f"main process {self.main[0]} has died and left {self._orphans()} "
                f"(in {printable(self.directory)}): {self._remedy()}"
            )
        if not self.lives:
            helped = server.watchdog_lives
            more = "its watchdog is killing them" if helped else self._remedy()
            return f"main process {self.main[0]} has died and left {self._orphans()}: {more}"
        since = float(server.fields.get("since", self.now))
        words = f"{self.state} for {seconds(self.now - since)}"
        if self.state == "stuck":
            words = f"main loop stalled for {seconds(self.now - (server.beat or since))}"
        serving = f"{_serving(server)} of {server.wanted} workers serve"
        address = printable(server.fields.get("address", ""))
        return f"{words}, {serving}, {address}, {server.fields.get('method') or 'fork'}"

    def _remedy(self) -> str:
        """The command that kills the orphans, from any directory."""
        whom = "it" if len(self.processes) == 1 else "them"
        return printable(f"`sanic-reaper sweep --app {shlex.quote(self.app)}` kills {whom}")

    def _orphans(self) -> str:
        number = len(self.processes)
        return "1 orphan" if number == 1 else f"{number} orphans"

    def _row(self, line: Line) -> tuple[str, ...]:
        indent = "  " * line.depth
        doing = ""
        if line.doing is not None:
            file = line.doing["file"].rpartition("/")[2]
            doing = (
                f"in {line.doing['name']}, {file}:{line.doing['line']}, "
                f"{seconds(line.doing['seconds'])}"
            )
        return (
            str(line.row.pid),
            printable(line.role),
            indent + printable(line.name),
            line.state if self.lives else f"{line.state}, orphan",
            "-" if line.for_ is None else seconds(line.for_),
            seconds(line.age),
            size(line.rss),
            "-" if line.share is None else f"{100 * line.share:.1f}%",
            printable(doing),
        )


_COLOUR = {
    **dict.fromkeys(lifecycle.STALLED, "red"),
    lifecycle.FAILED: "red",
    lifecycle.ZOMBIE: "red",
    lifecycle.STARTING: "yellow",
    lifecycle.FINISHING_START: "yellow",
    lifecycle.BACKGROUND: "yellow",
    lifecycle.STOPPING: "yellow",
}


def _user(uid: int | None) -> str:
    return "?" if uid is None else printable(elsewhere.user(uid))


def _serving(server: Server | None) -> int | None:
    if server is None:
        return None
    return len(server.serving)


def _zombies_of(belongs: dict[Identity, str], table: dict[int, Row]) -> dict[Identity, str]:
    """The zombies among the children of the server's processes. They cannot be killed, so
    `Server.belongs` does not list them."""
    parents = {pid for pid, _ in belongs}
    return {
        row.identity: "has exited, and its parent has not reaped it"
        for row in table.values()
        if not row.alive and row.ppid in parents
    }


def _tree(
    main: Identity,
    belongs: dict[Identity, str],
    members: dict[Identity, Member],
    table: dict[int, Row],
    now: float,
) -> list[Line]:
    """The processes, each below its parent. The main process comes first."""
    lines = {
        identity[0]: Line(table[identity[0]], members.get(identity), evidence, now)
        for identity, evidence in belongs.items()
        if identity[0] in table
    }
    children: dict[int | None, list[Line]] = {}
    for pid, line in lines.items():
        parent: int | None = line.row.ppid if line.row.ppid in lines else main[0]
        line.parent = parent if parent in lines and parent != pid else None
        children.setdefault(line.parent, []).append(line)
    found: list[Line] = []

    def add(line: Line, depth: int) -> None:
        line.depth = depth
        found.append(line)
        for child in sorted(children.get(line.row.pid, []), key=_order):
            add(child, depth + 1)

    for line in sorted(children.get(None, []), key=_order):
        add(line, 0)
    return found


def _order(line: Line) -> tuple[int, str, int]:
    return roles.order(line.role), line.name, line.row.pid
