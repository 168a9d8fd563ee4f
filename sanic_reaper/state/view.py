"""The servers of this machine, as somebody sees them who is none of them: from what they have left
in their users' directories, and from the process table.

Nothing here imports Sanic, or anything else that takes long: a probe calls it every few seconds.
"""

from __future__ import annotations

import os
from functools import cache

from .. import environment, platform, state
from ..model import lifecycle
from ..tree import ownership
from ..tree.process import Handle
from ..tree.remains import is_detached, is_marked
from . import statedir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ..platform.base import Identity, Row
    from . import Fields

STALE = 5.0
"""Seconds without a beat after which main's loop is said to stand still. It beats each second."""


class Member:
    """One process of a server, from what main has written of it."""

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self.identity: Identity = (int(fields["pid"]), int(fields["start"]))
        self.role = fields.get("role", "process")
        self.name = fields.get("name", "?")
        self.state = self.recorded
        """Its state: what main has recorded, and since `Server.observe` also what the kernel says.
        """
        self.imported: float | None = None
        self.ready: float | None = None
        self.handlers: list[Fields] = []
        self.standstills: list[Fields] = []

    def moment(self, key: str) -> float | None:
        """A field that is a moment on the monotonic clock, or a number of seconds."""
        value = self.fields.get(key)
        return None if value is None else float(value)

    @property
    def recorded(self) -> str:
        """The state that main has written down."""
        return self.fields.get("state", lifecycle.RUNNING)

    @property
    def title(self) -> str:
        return f"{self.role} {self.name}" if self.role != self.name else self.role


class Server:
    """One run of one server.

    Args:
        uid: the user whose directory it stands in.
        directory: that directory.
        records: those of its state.
        log: those of the watchdog, from the time when main was gone.
        kin: those of the watchdog on what the workers have started.
        beat: when main's loop has last turned.
    """

    def __init__(
        self,
        uid: int,
        directory: str,
        records: Iterable[tuple[str, Fields]],
        log: Iterable[tuple[str, Fields]] = (),
        kin: Iterable[tuple[str, Fields]] = (),
        beat: float | None = None,
    ) -> None:
        self.uid = uid
        self.directory = directory
        self.beat = beat
        self.fields: Fields = {}
        self.kin = {(int(fields["pid"]), int(fields["start"])) for _, fields in kin}
        """What the workers have started, as far as the watchdog has seen it."""
        self.members: dict[Identity, Member] = {}
        self.events: list[Fields] = []
        self.counters: dict[str, float] = {}
        """By name, whatever the role and the cause."""
        self.counts: dict[tuple[str, str, str], float] = {}
        """By name, role and cause: see `journal.Counted`."""
        self.end = list(log)
        """What the watchdog has written since main was gone: `log`, `ended`, and at last `gone`."""
        self.log = [fields for kind, fields in self.end if kind == "log"]
        for kind, fields in records:
            self._take(kind, fields)
        if int(self.fields.get("version", 0)) != state.VERSION:
            raise ValueError("another version of the format")
        self.run = self.fields["run"]
        self.app = self.fields["app"]
        self.main: Identity = (int(self.fields["pid"]), int(self.fields["start"]))

    def _take(self, kind: str, fields: Fields) -> None:
        if kind == "server":
            self.fields = fields
        elif kind == "process":
            member = Member(fields)
            self.members[member.identity] = member
        elif kind == "event":
            self.events.append(fields)
        elif kind == "counter":
            name, value = fields["name"], float(fields["value"])
            self.counters[name] = self.counters.get(name, 0.0) + value
            self.counts[name, fields.get("role", ""), fields.get("cause", "")] = value
        elif kind in ("start", "handler", "standstill"):
            owner = self.members[int(fields["pid"]), int(fields["start"])]
            if kind == "handler":
                owner.handlers.append(fields)
            elif kind == "standstill":
                owner.standstills.append(fields)
            else:
                owner.imported = float(fields["imported"]) if "imported" in fields else None
                owner.ready = float(fields["ready"]) if "ready" in fields else None

    @property
    def phase(self) -> str:
        return self.fields.get("phase", "starting")

    @property
    def wanted(self) -> int:
        return int(self.fields.get("wanted", 0))

    @property
    def began(self) -> float:
        return float(self.fields["began"])

    @property
    def is_here(self) -> bool:
        """Whether its pids mean something to us: the same boot, the same PID namespace."""
        return (self.fields.get("boot"), self.fields.get("namespace")) == _here()

    @property
    def lives(self) -> bool:
        """Whether main does."""
        return self.is_here and _lives(self.main, self.uid)

    @property
    def is_over(self) -> bool:
        """Whether it was stopped in order. What main does after that is no server's work."""
        return self.phase == "stopped"

    @property
    def watchdog_lives(self) -> bool:
        """Whether somebody is at work who ends what is left."""
        return self.is_here and any(
            member.role == "watchdog" and _lives(member.identity, self.uid)
            for member in self.members.values()
        )

    @property
    def workers(self) -> list[Member]:
        """Those that have not ended, and have not been told to."""
        return [
            one
            for one in self.members.values()
            if one.role == "worker"
            and one.recorded not in lifecycle.LEAVING
            and one.state not in lifecycle.LEAVING
        ]

    @property
    def serving(self) -> set[str]:
        """The names of the workers that serve. A worker that is replaced without downtime and its
        successor have the same name."""
        return {one.name for one in self.workers if one.state in lifecycle.SERVES}

    def observe(self, row: Callable[[int], Row | None]) -> None:
        """Correct the recorded states by the process table, which is newer: who was killed a moment
        ago, or is stopped by SIGSTOP, does not serve.

        Args:
            row: what the table says of a pid.
        """
        main = row(self.main[0]) if self.is_here else None
        if main is None or main.start != self.main[1]:
            return  # there is no table to ask, or it shows us nobody else (hidepid)
        for member in self.members.values():
            if member.recorded == lifecycle.ENDED:
                continue
            pid, start = member.identity
            found = row(pid)
            alive = found is not None and found.start == start and found.alive
            halted = found is not None and found.halted
            member.state = lifecycle.observed(member.recorded, alive, halted)

    def turns(self, now: float) -> bool:
        """Whether main's loop does."""
        return self.beat is not None and now - self.beat < STALE

    def belongs(self, table: Mapping[int, Row]) -> dict[Identity, str]:
        """Its living processes but main, with the evidence that they are: see `ownership`."""
        if not self.is_here:
            return {}
        roots = {self.main: "main"}
        recorded = {
            identity: "registered by main"
            for identity in self.members
            if identity != self.main and _is_in(table, identity)
        }
        recorded.update(
            (identity, "seen by the watchdog as one of theirs")
            for identity in self.kin
            if _is_in(table, identity)
        )
        verdict = ownership.judge(
            table,
            roots,
            recorded,
            {},
            set(),
            lambda row: is_detached(row, self.run),
            lambda row: is_marked(row, self.run, self.main[1], self.uid),
            lambda row: None,
        )
        # Whoever writes the file can put any pid into it: it proves nothing of other users'.
        return {
            identity: evidence
            for identity, evidence in verdict.claims.items()
            if platform.uid(identity[0]) == self.uid
        }


@cache
def _here() -> tuple[str, str]:
    return state.boot(), state.namespace()


def _is_in(table: Mapping[int, Row], identity: Identity) -> bool:
    row = table.get(identity[0])
    return row is not None and row.start == identity[1] and row.alive


def _lives(identity: Identity, uid: int) -> bool:
    return Handle(*identity, None).alive() and platform.uid(identity[0]) == uid


# -- finding them -------------------------------------------------------------------------------


def servers(uids: Iterable[int] | None = None) -> list[Server]:
    """Every run of which something can be read, the oldest first.

    Args:
        uids: whose; those that this process may see, where none are given.
    """
    found: dict[str, Server] = {}
    for uid in statedir.users() if uids is None else uids:
        for path in statedir.places(uid):
            for server in _in_directory(path, uid):
                found.setdefault(server.run, server)
    return sorted(found.values(), key=lambda server: server.began)


def load(path: str, uid: int, run: str) -> Server:
    """One server, of which it is known where it has left word of itself.

    Raises:
        OSError: there is nothing that could be read, or believed.
    """
    directory = statedir.open_directory(path, uid)
    try:
        return _read(directory, path, uid, run)
    except (ValueError, KeyError) as error:
        raise OSError(f"{path}/{run}{state.STATE} is not to be understood: {error}") from error
    finally:
        os.close(directory)


def _in_directory(path: str, uid: int) -> Iterator[Server]:
    try:
        directory = statedir.open_directory(path, uid)
    except OSError:
        return
    try:
        for name in os.listdir(directory):
            if name.endswith(state.STATE) and not name.startswith("."):
                server = _load(directory, path, uid, name.removesuffix(state.STATE))
                if server is not None:
                    yield server
    finally:
        os.close(directory)


def _load(directory: int, path: str, uid: int, run: str) -> Server | None:
    try:
        return _read(directory, path, uid, run)
    except (OSError, ValueError, KeyError):
        return None  # no longer there, no file of ours, or of another version


def _read(directory: int, path: str, uid: int, run: str) -> Server:
    records = state.parse(statedir.read(directory, run + state.STATE))
    log = state.parse(_read_if_there(directory, run + state.END))
    kin = state.parse(_read_if_there(directory, run + state.KIN))
    beat = _read_if_there(directory, run + state.BEAT)
    server = Server(uid, path, records, log, kin, float(beat) if beat else None)
    server.observe(platform.row)
    return server


def _read_if_there(directory: int, name: str) -> bytes:
    try:
        return statedir.read(directory, name)
    except FileNotFoundError:
        return b""


class Stray:
    """What is left of a run that no file tells of, by the marks that it bears."""

    def __init__(self, run: str, main: Identity, app: str, directory: str, uid: int) -> None:
        self.run, self.main, self.app, self.directory = run, main, app, directory
        self.uid = uid
        self.processes: dict[Identity, str] = {}


def strays(table: Mapping[int, Row], uids: Iterable[int | None], known: set[str]) -> list[Stray]:
    """Processes whose marks say that their main is one that is gone.

    Args:
        uids: whose processes are looked at.
        known: runs that a file tells of.
    """
    wanted, (_, here) = set(uids), _here()
    found: dict[str, Stray] = {}
    for row in table.values():
        uid = platform.uid(row.pid)
        if not row.alive or uid is None or uid not in wanted:
            continue
        environ = platform.environ(row.pid)
        run, main = environment.run_of(environ), environment.main_of(environ)
        if not run or run in known or main is None or row.start < main[0][1]:
            continue
        # Of another PID namespace, the pid in the mark says nothing to us.
        if Handle(*main[0], None).alive() or state.namespace(row.pid) != here:
            continue
        stray = found.setdefault(f"{uid}:{run}", Stray(run, *main, uid))
        stray.processes[row.identity] = "bears this run's mark"
    return list(found.values())
