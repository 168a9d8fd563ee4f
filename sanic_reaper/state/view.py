"""The servers of this machine, as somebody sees them who is none of them: from what they have left
in their users' directories, and from the process table.

Nothing here imports Sanic, or anything else that takes long: a probe calls it every few seconds.
"""

from __future__ import annotations

import os
import time
from functools import cache
from itertools import islice

from .. import platform, state
from ..model import lifecycle
from ..model.kills import STARTED_BY_MAIN
from ..tree import marked, ownership
from ..tree.process import Handle
from ..tree.remains import is_detached, is_marked
from ..untrusted import printable
from . import records, statedir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ..platform.base import Identity, Row
    from . import Fields

STALE = 5.0
"""Seconds without a beat after which main's loop is said to stand still. It beats each second."""


GONE_AFTER = 600.0
"""Seconds without a beat after which a server that can't be seen from here is taken for gone."""


class Member:
    """One process of a server, from what main has written of it."""

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self.identity = records.identity_of(fields)
        self.role = fields.get("role", "process")
        self.name = fields.get("name", "?")
        self.state = self.recorded
        """Its state: what main has recorded, and since `Server.observe` also what the kernel says.
        """
        self.imported: float | None = None
        self.up: float | None = None
        """When its start was over,"""
        self.ready: float | None = None
        """and when its background work was done too. On the monotonic clock."""
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
        written: the records of its state.
        log: those of the watchdog, from the time when main was gone.
        kin: those of the watchdog on what the workers have started.
        beat: when main's loop has last turned.

    Raises:
        OtherVersion: another version of sanic-reaper has written this.
        ValueError: there is no server among the records.
    """

    def __init__(
        self,
        uid: int,
        directory: str,
        written: Iterable[tuple[str, Fields]],
        log: Iterable[tuple[str, Fields]] = (),
        kin: Iterable[tuple[str, Fields]] = (),
        beat: float | None = None,
    ) -> None:
        self.uid = uid
        self.directory = directory
        self.beat = beat
        self.silent_for: float | None = None
        """Seconds since main has last written its beat, by the clock on the wall, which other PID
        namespaces, other boots and other machines have too. `None`: unknown."""
        self.fields: Fields = {}
        self.kin = {
            records.identity_of(fields) for kind, fields in records.believable(kin) if kind == "kin"
        }
        """What the workers have started, as far as the watchdog has seen it."""
        self.members: dict[Identity, Member] = {}
        self.events: list[Fields] = []
        self.counters: dict[str, float] = {}
        """By name, whatever the role and the cause."""
        self.counts: dict[tuple[str, str, str], float] = {}
        """By name, role and cause: see `journal.Counted`."""
        self.end = list(records.believable(log))
        """What the watchdog has written since main was gone: `log`, `ended`, and at last `gone`."""
        self.log = [fields for kind, fields in self.end if kind == "log"]
        for kind, fields in records.believable(written):
            self._take(kind, fields)
        if not self.fields:
            raise ValueError("it tells of no server")
        self.run = self.fields["run"]
        self.app = self.fields["app"]
        self.main = records.identity_of(self.fields)

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
            owner = self.members.get(records.identity_of(fields))
            if owner is None:
                return
            if kind == "handler":
                owner.handlers.append(fields)
            elif kind == "standstill":
                owner.standstills.append(fields)
            else:
                owner.imported = float(fields["imported"]) if "imported" in fields else None
                owner.ready = float(fields["ready"]) if "ready" in fields else None
                owner.up = float(fields["up"]) if "up" in fields else owner.ready

    @property
    def phase(self) -> str:
        return self.fields["phase"]

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
        """Whether main does. `False` also where nobody can know: see `is_gone`."""
        return self.is_here and _lives(self.main, self.uid)

    @property
    def is_gone(self) -> bool:
        """Whether main is known to be gone, so that what it has left may be ended, or tidied up.

        Of another PID namespace, or another machine that shares the directory, no pid can be asked:
        there it is gone that has not beaten for long. A paused container goes on one day: it finds
        out that its files are missing, and writes them anew.
        """
        if self.is_here:
            return not Handle(*self.main, None).alive()
        return self.silent_for is not None and self.silent_for > GONE_AFTER

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
            identity: STARTED_BY_MAIN
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
    """Whether a process lives that a file of this user's tells of. It is to be that user's, or
    anybody could say so of any process; but a server of root's may have given up being root."""
    return Handle(*identity, None).alive() and uid in (0, platform.uid(identity[0]))


# -- finding them -------------------------------------------------------------------------------


MOST_FILES = 10_000
"""Entries of a user's directory that are looked at."""

MOST_RUNS = 100
"""Runs of another user's that are read,"""

MOST_BYTES = 4 * 1024 * 1024
"""and bytes of their files: what a user writes shall not keep root busy, or fill its memory."""


FRESH = 60.0
"""Seconds since its last sign of life for which a server of another version counts as running."""


class Unread:
    """A state file that could not be understood.

    Args:
        uid: the user in whose directory it lies.
        path: where that is.
        why: for people to read.
        age: seconds since its server has last shown a sign of life. `None`: unknown.
    """

    def __init__(self, uid: int, path: str, why: str, age: float | None) -> None:
        self.uid, self.path, self.why, self.age = uid, path, why, age

    @property
    def seems_alive(self) -> bool:
        """Whether somebody writes beside that file, as a running server does each second."""
        return self.age is not None and self.age < FRESH

    def __str__(self) -> str:
        return f"{self.path} is not understood: {self.why}"


def servers(uids: Iterable[int] | None = None, unread: list[Unread] | None = None) -> list[Server]:
    """Every run of which something can be read, the oldest first.

    Args:
        uids: whose; those that this process may see, where none are given.
        unread: is given the files of servers that can't be understood.
    """
    found: dict[tuple[int, str], Server] = {}
    for uid in statedir.users() if uids is None else uids:
        room = Room(uid)
        for path in statedir.places(uid):
            for server in _in_directory(path, room, [] if unread is None else unread):
                key = (uid, server.run)
                if key not in found or _is_fresher(server, found[key]):
                    found[key] = server
    return sorted(found.values(), key=lambda server: server.began)


def _is_fresher(one: Server, other: Server) -> bool:
    """A main that can't write to its directory any more goes on in another one."""
    return (one.beat or 0.0) > (other.beat or 0.0)


class Room:
    """How much of a user's files is read: all of our own."""

    def __init__(self, uid: int) -> None:
        self.uid = uid
        is_own = uid == os.geteuid()
        self.runs = MOST_FILES if is_own else MOST_RUNS
        self.bytes = MOST_FILES * statedir.LONGEST if is_own else MOST_BYTES


def load(path: str, uid: int, run: str) -> Server:
    """One server, of which it is known where it has left word of itself; or did, before it had to
    go elsewhere.

    Raises:
        OSError: there is nothing that could be read, or believed.
    """
    found, failure = None, None
    for user, place in _where_it_may_be(path, uid):
        try:
            server = _load_from(place, user, run)
        except OSError as error:
            failure = failure or error
            continue
        if server.turns(time.monotonic()):
            return server
        if found is None or _is_fresher(server, found):
            found = server
    if found is None:
        raise failure or OSError("there is no place")
    return found


def _where_it_may_be(path: str, uid: int) -> Iterator[tuple[int, str]]:
    yield uid, path
    for user in dict.fromkeys((uid, os.geteuid())):  # main may have given up being root
        for place in statedir.places(user):
            if (user, place) != (uid, path):
                yield user, place


def _load_from(path: str, uid: int, run: str) -> Server:
    """Raises: OSError."""
    directory = statedir.open_directory(path, uid)
    try:
        return _read(directory, path, Room(uid), run)
    except ValueError as error:
        raise OSError(f"{path}/{run}{state.STATE} is not to be understood: {error}") from error
    finally:
        os.close(directory)


def _in_directory(path: str, room: Room, unread: list[Unread]) -> Iterator[Server]:
    try:
        directory = statedir.open_directory(path, room.uid)
    except OSError:
        return
    try:
        for run in runs_in(directory):
            room.runs -= 1
            if room.runs < 0 or room.bytes < 0:
                return
            try:
                yield _read(directory, path, room, run)
            except OSError:
                continue  # no longer there, or no file of its user's
            except ValueError as error:
                file = printable(f"{path}/{run}{state.STATE}")
                age = _silence(directory, run)
                unread.append(Unread(room.uid, file, str(error), age))
    finally:
        os.close(directory)


def runs_in(directory: int) -> list[str]:
    """The ids of the runs of which there is a state file in an open directory."""
    with os.scandir(directory) as entries:
        names = [entry.name for entry in islice(entries, MOST_FILES)]
    return [
        name.removesuffix(state.STATE)
        for name in names
        if name.endswith(state.STATE) and not name.startswith(".")
    ]


def _read(directory: int, path: str, room: Room, run: str) -> Server:
    """Raises: OSError, ValueError."""

    def content(end: str) -> bytes:
        found = statedir.read(directory, run + end)
        room.bytes -= len(found)
        if room.bytes < 0:
            raise OSError(f"user {room.uid} has written more than is read of another user")
        return found

    def content_if_there(end: str) -> bytes:
        try:
            return content(end)
        except FileNotFoundError:
            return b""

    beat = records.moment(content_if_there(state.BEAT))
    written = state.parse(content(state.STATE))
    log = state.parse(content_if_there(state.END))
    kin = state.parse(content_if_there(state.KIN))
    server = Server(room.uid, path, written, log, kin, beat)
    if server.run != run:
        raise ValueError("it tells of another run")
    server.observe(platform.row)
    server.silent_for = _silence(directory, run)
    return server


def _silence(directory: int, run: str) -> float | None:
    """Seconds since main has last written something."""
    ages = (statedir.age_of(directory, run + end) for end in (state.BEAT, state.STATE))
    return min((age for age in ages if age is not None), default=None)


class Stray:
    """What is left of a run that no file tells of, by the marks that it bears."""

    def __init__(self, run: str, main: Identity, app: str, directory: str, uid: int) -> None:
        self.run, self.main, self.app, self.directory = run, main, app, directory
        self.uid = uid
        self.processes: dict[Identity, str] = {}


def strays(
    table: Mapping[int, Row], uids: Iterable[int | None], known: set[tuple[int, str]]
) -> list[Stray]:
    """Processes whose marks say that their main is one that is gone.

    Args:
        uids: whose processes are looked at.
        known: runs that a file tells of: its user, its id.
    """
    wanted = set(uids)
    found: dict[str, Stray] = {}
    for row in table.values():
        uid = platform.uid(row.pid)
        if not row.alive or uid is None or uid not in wanted:
            continue
        environ = platform.environ(row.pid)
        run, main = marked.run_of(environ), marked.main_of(environ)
        if not run or (uid, run) in known or main is None or row.start < main.identity[1]:
            continue
        if not _is_stray(row, main):
            continue
        new = Stray(run, main.identity, main.app, main.directory, uid)
        stray = found.setdefault(f"{uid}:{run}", new)
        stray.processes[row.identity] = "bears this run's mark"
    return list(found.values())


def _is_stray(row: Row, main: marked.Main) -> bool:
    """Whether main is known to be gone: of a process of another PID namespace, or one that a main
    of another namespace has started (a container's own `unshare`), the mark's pid says nothing."""
    _, here = _here()
    if main.namespace not in ("", here) or state.namespace(row.pid) != here:
        return False
    return not Handle(*main.identity, None).alive()
