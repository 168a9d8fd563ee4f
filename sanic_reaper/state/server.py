"""One run of one server, as another process sees it: the records of the main process and of the
watchdog, corrected by the process table.

Imports nothing that takes long, such as Sanic: a probe calls this module every few seconds.
"""

from __future__ import annotations

from functools import cache

from .. import platform, state
from ..model import lifecycle
from ..model.kills import STARTED_BY_MAIN
from ..model.roles import MAIN, PROCESS, WATCHDOG, WORKER, title
from ..tree import ownership
from ..tree.evidence import is_detached, is_marked
from ..tree.process import Handle
from . import records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ..platform.base import Identity, Row
    from . import Fields

STALE = 5.0
"""Seconds without a beat after which main's loop counts as stuck. It beats once a second."""


GONE_AFTER = 600.0
"""Seconds without a beat after which a server of another PID namespace counts as gone."""


class Member:
    """One process of a server, from the records of the main process.

    Attributes:
        fields: the fields of its `process` record.
        identity: its pid and creation time.
        role: one of `roles.ROLES`, or any word of a newer version.
        name: its name.
        state: its state: the recorded one and, after `Server.observe`, what the kernel says.
        imported: when the import of the app ended, in monotonic seconds.
        up: when its start was over, in monotonic seconds.
        ready: when its background work was done too, in monotonic seconds.
        handlers: the fields of its `handler` records.
        standstills: the fields of its `standstill` records.
        lost: the requests that it had in flight when it was killed, each in words.
    """

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self.identity = records.identity_of(fields)
        self.role = fields.get("role", PROCESS)
        self.name = fields.get("name", "?")
        self.state = self.recorded
        self.imported: float | None = None
        self.up: float | None = None
        self.ready: float | None = None
        self.handlers: list[Fields] = []
        self.standstills: list[Fields] = []
        self.lost: list[str] = []

    def moment(self, key: str) -> float | None:
        """A field that is a moment in monotonic seconds, or a duration. `None`: it is missing."""
        value = self.fields.get(key)
        return None if value is None else float(value)

    @property
    def recorded(self) -> str:
        """The state that the main process has recorded."""
        return self.fields.get("state", lifecycle.RUNNING)

    @property
    def title(self) -> str:
        return title(self.role, self.name)


class Server:
    """One run of one server.

    Args:
        uid: the owner of the directory of the run's files.
        directory: that directory.
        written: the records of the main process.
        log: the records of the watchdog, from the time after the main process's death.
        kin: the records of the watchdog about descendants.
        beat: when main's loop last turned, in monotonic seconds. `None`: unknown.

    Attributes:
        silent_for: seconds since the main process last wrote a file, by the wall clock, which other
            PID namespaces, other boots and other machines share. `None`: unknown.
        fields: the fields of the `server` record.
        kin: the descendants that the watchdog has recorded.
        members: the recorded processes.
        events: the fields of the `event` records.
        counters: the counters by name, summed over roles and causes.
        counts: the counters by name, role and cause: see `journal.Counted`.
        end: the records of the watchdog: `log`, `ended` and, last, `gone`.
        log: the fields of its `log` records.

    Raises:
        OtherVersion: another version of sanic-reaper has written the records.
        ValueError: there is no `server` record.
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
        self.fields: Fields = {}
        self.kin = {
            records.identity_of(fields) for kind, fields in records.believable(kin) if kind == "kin"
        }
        self.members: dict[Identity, Member] = {}
        self.events: list[Fields] = []
        self.counters: dict[str, float] = {}
        self.counts: dict[tuple[str, str, str], float] = {}
        self.end = list(records.believable(log))
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
        elif kind in ("start", "handler", "standstill", "lost"):
            owner = self.members.get(records.identity_of(fields))
            if owner is None:
                return
            if kind == "handler":
                owner.handlers.append(fields)
            elif kind == "standstill":
                owner.standstills.append(fields)
            elif kind == "lost":
                owner.lost.append(fields["text"])
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
    def guards_only(self) -> bool:
        """Whether Sanic's own manager runs the workers, so that main knows nothing of them."""
        return "guards_only" in self.fields

    @property
    def began(self) -> float:
        return float(self.fields["began"])

    @property
    def is_here(self) -> bool:
        """Whether its pids mean something here: same boot, same PID namespace."""
        return (self.fields.get("boot"), self.fields.get("namespace")) == here()

    @property
    def lives(self) -> bool:
        """Whether the main process lives. `False` also if that can't be known: see `is_gone`."""
        return self.is_here and _lives(self.main, self.uid)

    @property
    def is_gone(self) -> bool:
        """Whether the main process is known to have died, so that its leftovers may be removed.

        Pids of another PID namespace, or of another machine that shares the directory, can't be
        checked. There a main process counts as dead if it has written nothing for `GONE_AFTER`. If
        it was only paused, with its container, it writes its files again when it continues.
        """
        if self.is_here:
            return not Handle(*self.main, None).alive()
        return self.silent_for is not None and self.silent_for > GONE_AFTER

    @property
    def is_over(self) -> bool:
        """Whether the server was stopped in order. Its main process can still run the script."""
        return self.phase == "stopped"

    @property
    def watchdog_lives(self) -> bool:
        """Whether the watchdog lives. It kills all leftovers."""
        return self.is_here and any(
            member.role == WATCHDOG and _lives(member.identity, self.uid)
            for member in self.members.values()
        )

    @property
    def workers(self) -> list[Member]:
        """The workers that have not exited, and were not told to stop."""
        return [
            one
            for one in self.members.values()
            if one.role == WORKER
            and one.recorded not in lifecycle.LEAVING
            and one.state not in lifecycle.LEAVING
        ]

    @property
    def living_workers(self) -> list[Member]:
        """The workers that have not exited. One that stops can still have requests in flight."""
        return [
            one
            for one in self.members.values()
            if one.role == WORKER and lifecycle.ENDED not in (one.recorded, one.state)
        ]

    @property
    def serving(self) -> set[str]:
        """The names of the workers that serve. An outgoing worker and its replacement share one
        name."""
        return {one.name for one in self.workers if one.state in lifecycle.SERVES}

    def observe(self, row: Callable[[int], Row | None]) -> None:
        """Correct the recorded states by the process table, which is newer.

        A worker that was killed a moment ago, or is stopped by SIGSTOP, does not serve.

        Args:
            row: reads a row of the process table, by pid.
        """
        main = row(self.main[0]) if self.is_here else None
        if main is None or main.start != self.main[1]:
            return  # there is no process table, or it shows no other process (hidepid)
        for member in self.members.values():
            if member.recorded == lifecycle.ENDED:
                continue
            pid, start = member.identity
            found = row(pid)
            alive = found is not None and found.start == start and found.alive
            halted = found is not None and found.halted
            member.state = lifecycle.observed(member.recorded, alive, halted)

    def turns(self, now: float) -> bool:
        """Whether main's loop turns.

        Args:
            now: in monotonic seconds.
        """
        return self.beat is not None and now - self.beat < STALE

    def belongs(self, table: Mapping[int, Row]) -> dict[Identity, str]:
        """The living processes of the server except main, each with the evidence: see `ownership`.

        Args:
            table: the process table.
        """
        if not self.is_here:
            return {}
        roots = {self.main: MAIN}
        recorded = {
            identity: STARTED_BY_MAIN
            for identity in self.members
            if identity != self.main and _is_in(table, identity)
        }
        recorded.update(
            (identity, "descends from a worker, by the watchdog's record")
            for identity in self.kin
            if _is_in(table, identity)
        )
        earlier = ownership.Classification()
        earlier.evidence = recorded
        questions = ownership.Questions(
            lambda row: is_detached(row, self.run),
            lambda row: is_marked(row, self.run, self.main[1], self.uid),
        )
        found = ownership.classify(table, roots, earlier, questions)
        # The file can name any pid, so it is no evidence about processes of other users.
        return {
            identity: evidence
            for identity, evidence in found.evidence.items()
            if platform.uid(identity[0]) == self.uid
        }


@cache
def here() -> tuple[str, str]:
    """The id of this boot of the machine, and this PID namespace."""
    return state.boot(), state.namespace()


def _is_in(table: Mapping[int, Row], identity: Identity) -> bool:
    row = table.get(identity[0])
    return row is not None and row.start == identity[1] and row.alive


def _lives(identity: Identity, uid: int) -> bool:
    """Whether a process lives that a file of a user names.

    The process must run as that user: a file can name any process. Root's files are trusted,
    because a server that root has started can have given up root.
    """
    return Handle(*identity, None).alive() and uid in (0, platform.uid(identity[0]))
