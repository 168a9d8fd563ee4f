"""What workers leave behind: found while they live, ended when they are gone."""

from __future__ import annotations

import os
import select
import signal
import time

from .. import platform
from ..model.kills import FOREIGN, NO_SIGNAL, STARTED_BY_MAIN
from . import birthmark, marked, ownership
from .process import Handle, answers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Set

    from ..platform.base import Identity, Row

NEVER = float("inf")

TAIL = 1.0
"""Seconds between SIGTERM and SIGKILL for what is not a worker."""

STUBBORN = 5.0
"""Seconds after which even SIGKILL has had no effect, and we give up."""

LOOK_EVERY = 1.0
"""Seconds between two looks at the process tree while nothing happens."""

LOOK_SHARE = 0.001
"""The share of one core that those looks may take: on a crowded host they become rarer."""

LOOK_AGAIN = 0.25
"""Seconds between two looks at the whole process table while what it showed is being ended."""

MOST_SESSIONS = 1000
"""Sessions that are kept in mind. Beyond that, those in which nobody is are forgotten."""

BLIND = 0.05
"""The same where no descriptor tells that one of them has ended."""


class Target:
    """Something left behind that is being ended."""

    __slots__ = ("asked_at", "evidence", "handle", "killed_at", "name")

    def __init__(self, handle: Handle, name: str, evidence: str, asked_at: float) -> None:
        self.handle = handle
        self.name = name
        self.evidence = evidence
        self.asked_at = asked_at
        self.killed_at: float | None = None


class Remains:
    """The processes of ours that nobody registered.

    Args:
        main: the main process of the server.
        run: the id that they bear in their environment, unless they have cleaned it.
        poll: where the descriptors of those that are being ended are registered.
        report: told of each signal: level, number, name, pid, evidence, why (or "").
        tell_of: told once of each that is ended: identity, name, evidence.
        tail: seconds between SIGTERM and SIGKILL.
    """

    stubborn = STUBBORN

    def __init__(
        self,
        main: Handle,
        run: str,
        poll: select.poll,
        report: Callable[[str, int, str, int, str, str], None],
        tell_of: Callable[[Identity, str, str], None],
        tail: float = TAIL,
    ) -> None:
        self.known: dict[Identity, str] = {}
        self.unwaited: set[Identity] = set()
        self._owners: dict[Identity, Identity] = {}
        self.targets: dict[Identity, Target] = {}
        self.ended = 0
        self._main = main
        self._run = run
        self._poll = poll
        self._report = report
        self._tell_of = tell_of
        self._tail = tail
        self._uid = os.geteuid()
        self._spared: set[Identity] = set()
        self.registered: set[Identity] = set()
        """Children of main's that are not adopted, although they bear the birthmark."""
        self._elsewhere: set[Identity] = set()
        self._refused: dict[Identity, str] = {}
        self._first_asked: float | None = None
        self._last_asked = 0.0
        self._seen: set[Identity] = set()
        self._sessions: set[int | None] = set()
        """Sessions in which ours are, or were, and nobody else."""
        self._main_sessions: set[int | None] = {None, _session(main.pid)}
        """Those that main has been in. A listener may call `setsid`."""
        self.began = 0
        """The creation time of the first process of the server."""
        self.predecessors: set[Identity] = set()
        """Children that main had when the server began, and that are its own."""
        self.strangers = False
        """Whether main has, or has had, children that are not the server's. What these start may
        come to main as orphans, which it adopts."""
        self.preceding: set[Identity] = set()
        """Those that main had before the server, and what has been seen below them."""

    @property
    def given_up(self) -> set[Identity]:
        """Those that could not be ended."""
        return set(self._refused)

    @property
    def survivors(self) -> list[str]:
        """Why each of those that could not be ended could not, in a few words."""
        return list(self._refused.values())

    def spare(self, identity: Identity) -> None:
        """It was there before the server: not ours, nor what descends from it."""
        self._spared.add(identity)

    def precede(self, identity: Identity) -> None:
        """Main has started it before the server: ours only when main is gone."""
        self.predecessors.add(identity)

    # -- finding them -----------------------------------------------------------------------------

    def remember(self, roots: Mapping[Identity, str]) -> float:
        """Note who descends from whom, for when the tree is broken.

        Returns:
            Seconds until the next look, by what this one has cost.

        Raises:
            OSError: there is no process table to be read. What is known stays known.
        """
        before = time.process_time()
        table = platform.subtree(pid for pid, _ in [*roots, *self.known])
        if table is None:
            table = platform.table()
        self._seen = {row.identity for row in table.values()}
        self._judge(table, roots, marks=False)
        return max(LOOK_EVERY, (time.process_time() - before) / LOOK_SHARE)

    def _judge(
        self, table: dict[int, Row], roots: Mapping[Identity, str], marks: bool
    ) -> dict[Identity, str]:
        verdict = ownership.judge(
            table,
            roots,
            self.known,
            self._owners,
            self._spared,
            self._is_detached,
            self._is_marked if marks else _nobody,
            _owner_of,
            self._main.identity if self.strangers else None,
            self._is_proved,
        )
        new = verdict.claims.keys() - self.known.keys()
        self.known = verdict.claims
        self._owners = verdict.owners
        self._spared = verdict.spared
        self.preceding = {
            identity
            for identity in verdict.claims
            if identity in self.preceding
            or ownership.precedes(
                table[identity[0]], self.began, self.predecessors, table, verdict.claims
            )
        }
        self._note_sessions(new)
        self._find_zombies(table, roots)
        return dict(verdict.claims)

    def _is_detached(self, row: Row) -> bool:
        return is_detached(row, self._run)

    def _is_marked(self, row: Row) -> bool:
        return is_marked(row, self._run, self._main.start, self._uid)

    def _is_proved(self, row: Row) -> bool:
        """Whether a child of main's is ours, where it may be the orphan of a stranger."""
        return (
            row.identity in self.predecessors
            or self._is_marked(row)
            or self._is_of_worker(row)
            or self._is_of_session(row)
        )

    def _note_sessions(self, new: Set[Identity]) -> None:
        """Note in which sessions ours are, and nobody else. A process is born into its session, or
        leads it: so a daemon that goes on in a child again and again is known by its session. What
        the script starts is in main's own, or leads one.

        Args:
            new: those that were not known before.
        """
        self._main_sessions.add(_session(self._main.pid))
        if len(self._sessions) > MOST_SESSIONS:
            self._sessions.clear()
            new = self.known.keys()
        if new := new - self.preceding:
            others = {_session(pid) for pid, _ in (*self._spared, *self.preceding)}
            found = {_session(pid) for pid, start in new if Handle(pid, start, None).alive()}
            self._sessions |= found - others - self._main_sessions

    def _is_of_session(self, row: Row) -> bool:
        return bool(self._sessions) and _session(row.pid) in self._sessions - {row.pid}

    def _is_born_elsewhere(self, row: Row) -> bool:
        """Whether a child of main's is in a session that is neither main's nor its own: only
        another process can have forked it there."""
        found = _session(row.pid) if row.start >= self.began else None
        return found is not None and found not in self._main_sessions | {row.pid}

    def _is_of_worker(self, row: Row) -> bool:
        return row.start >= self.began and birthmark.is_borne(platform.ignored_signals(row.pid))

    def _find_zombies(self, table: dict[int, Row], roots: Mapping[Identity, str]) -> None:
        """Zombies of main's that are proved to be adopted: nobody in main waits for them.

        They have been seen with another parent, have the birthmark, or are in a session in which
        main cannot have forked them. What is not proved is left, as it may be main's own: its exit
        status is for whoever has started it.
        """
        ours = self.known.keys() | self._spared | self._elsewhere
        self._elsewhere = {
            row.identity
            for row in table.values()
            if row.identity in ours
            and (row.ppid != self._main.pid or row.identity in self._elsewhere)
        }
        self.unwaited = {
            row.identity
            for row in table.values()
            if row.ppid == self._main.pid
            and not row.alive
            and row.identity not in roots
            and row.identity not in self.registered
            and (
                row.identity in self._elsewhere
                or self._is_of_worker(row)
                or (row.identity not in self.predecessors and self._is_born_elsewhere(row))
            )
        }

    # -- ending them ------------------------------------------------------------------------------

    def end(
        self,
        roots: Mapping[Identity, str],
        helpers: Mapping[Identity, str],
        services: set[Identity],
        deadline: float,
        spare_preceding: bool = False,
        of: Set[Identity] | None = None,
    ) -> float:
        """Signal what is there; to be called again until `targets` is empty.

        Args:
            roots: what is ours and not to be ended here.
            helpers: what was registered and is to be ended here all the same.
            services: those of them that end by themselves when nobody uses them any more.
            deadline: when SIGKILL needs no SIGTERM before it.
            spare_preceding: whether what main had before the server is not to be ended here.
            of: the roots whose descendants are to be ended; those of all, if none are given.

        Returns:
            Seconds until the next look, unless one of them ends sooner (`has_ended`).

        Raises:
            OSError: the process table can't be read, for there is no descriptor left to do so.
        """
        now = time.monotonic()
        table = platform.table()
        self._seen = {row.identity for row in table.values()}
        claims = {
            identity: evidence
            for identity, evidence in self._judge(table, roots, marks=True).items()
            if not (spare_preceding and identity in self.preceding)
            and (of is None or self._owners.get(identity) in of)
        }
        claims.update(_living(helpers))
        for identity in self._refused:
            claims.pop(identity, None)
        for identity in [gone for gone in self.targets if gone not in claims]:
            self._let_go(self.targets.pop(identity))
        for identity, evidence in claims.items():
            if identity not in self.targets:
                self._aim(identity, helpers.get(identity), evidence, now)
        if self.targets:
            self._first_asked = now if self._first_asked is None else self._first_asked
            self._last_asked = now
        elif now - self._last_asked > self._tail:
            self._first_asked = None
        for identity, target in list(self.targets.items()):
            self._press(identity, target, now, deadline, asking=identity not in services)
        blind = any(target.handle.fd is None for target in self.targets.values())
        return BLIND if blind else LOOK_AGAIN

    def is_proven(self) -> bool:
        """Whether the last look has shown every child that main has now.

        The process table is no snapshot: what forks and ends all the time may never be where it is
        read. But main adopts all that has lost its parent, so who descends from it is its child, or
        descends from a child of it that lives. A child that has come since, or has just gone, is
        reason to look again. Twice, for the kernel's list may miss one while its siblings change.
        """
        return all(self._has_seen(platform.children(self._main.pid)) for _ in range(2))

    def _has_seen(self, pids: list[int] | None) -> bool:
        if pids is None:  # no such list on this system
            return True
        for pid in pids:
            row = platform.row(pid)
            if row is None:
                if not answers(pid):
                    return False
            elif row.identity not in self._seen:
                return False
        return True

    def has_ended(self, ready: set[int]) -> bool:
        """Whether one of them has, by the descriptors that `poll` found readable."""
        return any(target.handle.fd in ready for target in self.targets.values())

    def _aim(self, identity: Identity, name: str | None, evidence: str, now: float) -> None:
        handle = Handle.open(*identity)
        if handle is None:
            return
        row = platform.row(handle.pid)
        title = name or (row.name if row is not None else "?")
        self.targets[identity] = Target(handle, title, evidence, now)
        self._tell_of(identity, title, evidence)
        if handle.fd is not None:
            self._poll.register(handle.fd, select.POLLIN)

    def _let_go(self, target: Target) -> None:
        if target.handle.fd is not None:
            self._poll.unregister(target.handle.fd)
        target.handle.close()
        self.ended += 1

    def _press(
        self, identity: Identity, target: Target, now: float, deadline: float, asking: bool
    ) -> None:
        """SIGTERM at first sight, SIGKILL when its time is up.

        No SIGTERM for what ends by itself. No time for what comes when the others have had theirs:
        it was started by one that has been asked to end, and may start the next one.
        """
        late = self._first_asked is not None and now - self._first_asked >= 2 * self._tail
        if target.killed_at is not None:
            if now >= target.killed_at + self.stubborn:
                why = "even SIGKILL does not end it; giving up"
                self._refuse(identity, target, why, signal.SIGKILL, "survives SIGKILL")
        elif now >= deadline or now - target.asked_at >= self._tail or (late and asking):
            target.killed_at = now
            self._signal(identity, target, "WARNING", signal.SIGKILL)
        elif target.asked_at == now and asking:
            self._signal(identity, target, "INFO", signal.SIGTERM)

    def _signal(self, identity: Identity, target: Target, level: str, signum: int) -> None:
        if not may_signal(target.handle):
            self._refuse(identity, target, FOREIGN)
            return
        self._report(level, signum, target.name, target.handle.pid, target.evidence, "")
        target.handle.send(signum)
        target.handle.send(signal.SIGCONT)

    def _refuse(
        self,
        identity: Identity,
        target: Target,
        why: str,
        signum: int = NO_SIGNAL,
        reason: str = "runs as another user",
    ) -> None:
        """It can't be ended, and nothing waits for it any more.

        Args:
            why, signum: for the line in the log; the signal is the one that was sent.
            reason: the same in a few words, for the last line of all.
        """
        self._report("ERROR", signum, target.name, target.handle.pid, target.evidence, why)
        self._refused[identity] = reason
        self._let_go(self.targets.pop(identity))
        self.ended -= 1


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:  # it has ended; or a security module says nothing of it
        return None


def may_signal(handle: Handle) -> bool:
    """Whether we may signal a process; also where it has ended, for nobody is hurt then."""
    try:
        handle.send(NO_SIGNAL)
    except PermissionError:
        return False
    return True


def _living(helpers: Mapping[Identity, str]) -> dict[Identity, str]:
    living = (identity for identity in helpers if Handle(*identity, None).alive())
    return dict.fromkeys(living, STARTED_BY_MAIN)


def is_detached(row: Row, run: str) -> bool:
    """Whether a process bears the detached mark of a run."""
    return row.alive and marked.is_detached(platform.environ(row.pid), run)


def is_marked(row: Row, run: str, since: int, uid: int) -> bool:
    """Whether a process bears the mark of a run, and may.

    Nobody older than main, and nobody else's: any user could write our mark on his own.

    Args:
        since: when main was created.
        uid: the user whose the run is.
    """
    return (
        row.start >= since
        and platform.uid(row.pid) == uid
        and marked.is_marked(platform.environ(row.pid), run)
    )


def _owner_of(row: Row) -> Identity | None:
    return marked.owner(platform.environ(row.pid))


def _nobody(row: Row) -> bool:
    return False
