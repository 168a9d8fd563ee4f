"""Tracks the descendants of a server: who descends from whom, noted while the ancestors live.

Assumes that somebody scans about once a second, and at once when a process of the server exits.
Guarantees that a descendant which one scan has shown stays known, by pid and creation time, when
its ancestors have exited.
"""

from __future__ import annotations

import os
import time

from .. import platform
from ..model.kills import STARTED_BY_MAIN
from . import birthmark, evidence, ownership
from .process import Handle, answers
from .sessions import Sessions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Set

    from ..platform.base import Identity, Row

SCAN_EVERY = 1.0
"""Seconds between two scans of the process tree while nothing happens."""

SCAN_SHARE = 0.001
"""The largest share of one core that scans may take. On a crowded host the scans become rarer."""


class DescendantTracker:
    """The processes of a server that nobody has registered.

    Args:
        main: the main process of the server.
        run: the id of the run. Descendants have it in their environment, unless they removed it.

    Attributes:
        adopted_zombies: zombies that the main process has adopted, and that nobody waits for.
        registered: children of the main process that were not adopted, although they have the
            birthmark.
        began: the creation time of the server's first process, in clock ticks.
        preexisting_children: children that the main process had started itself before the server.
        preexisting: those of `known` that are, or descend from, one of `preexisting_children`, or
            from another process that is older than the server.
        has_strangers: whether the main process has, or has had, children that are not the server's.
            The main process adopts the orphans of those children too.
    """

    def __init__(self, main: Handle, run: str) -> None:
        self.adopted_zombies: set[Identity] = set()
        self.registered: set[Identity] = set()
        self.began = 0
        self.preexisting_children: set[Identity] = set()
        self.preexisting: set[Identity] = set()
        self.has_strangers = False
        self._main = main
        self._run = run
        self._uid = os.geteuid()
        self._last = ownership.Classification()
        self._scanned: set[Identity] = set()
        self._seen_elsewhere: set[Identity] = set()
        self._sessions = Sessions(main.pid)

    @property
    def known(self) -> dict[Identity, str]:
        """Each descendant that lived at the last scan, with the evidence for it."""
        return self._last.evidence

    def exclude(self, identity: Identity) -> None:
        """Exempt a process that was there before the server, and all that descends from it."""
        self._last.exempt.add(identity)

    # -- scans ------------------------------------------------------------------------------------

    def scan(self, roots: Mapping[Identity, str]) -> float:
        """Note who descends from whom, for the time when the ancestors have exited.

        Args:
            roots: the registered processes of the server, each with its title.

        Returns:
            Seconds until the next scan: more where a scan takes long.

        Raises:
            OSError: the process table can't be read. What is known stays known.
        """
        before = time.process_time()
        table = platform.subtree(pid for pid, _ in [*roots, *self.known])
        if table is None:
            table = platform.table()
        self._classify(table, roots, with_markers=False)
        return max(SCAN_EVERY, (time.process_time() - before) / SCAN_SHARE)

    def find_leftovers(
        self,
        roots: Mapping[Identity, str],
        helpers: Mapping[Identity, str],
        exempt_preexisting: bool = False,
        of: Set[Identity] | None = None,
    ) -> dict[Identity, str]:
        """Scan the whole process table for the processes that are to be killed.

        Args:
            roots: as `scan` has them. Roots are not among the leftovers.
            helpers: registered processes that are to be killed all the same.
            exempt_preexisting: whether `preexisting` processes are left alone.
            of: the roots whose descendants are to be killed. `None`: the descendants of all roots.

        Returns:
            The living leftovers, each with the evidence that it belongs to the server.

        Raises:
            OSError: the process table can't be read: there is no descriptor left to do so.
        """
        self._classify(platform.table(), roots, with_markers=True)
        found = {
            identity: reason
            for identity, reason in self.known.items()
            if not (exempt_preexisting and identity in self.preexisting)
            and (of is None or self._last.owners.get(identity) in of)
        }
        living = (identity for identity in helpers if Handle(*identity, None).alive())
        found.update(dict.fromkeys(living, STARTED_BY_MAIN))
        return found

    def has_seen_every_child(self) -> bool:
        """Whether the last scan has shown every child that the main process has now.

        The process table is no snapshot: a process that forks and exits all the time may never be
        where the table is read. But the main process adopts every process that has lost its parent.
        So each descendant is a child of the main process, or descends from a living child. A child
        that has come since the scan, or has just exited, is a reason to scan again.

        The children are listed twice, because the kernel's list may miss a child while its siblings
        change.
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
            elif row.identity not in self._scanned:
                return False
        return True

    # -- what belongs to the server ---------------------------------------------------------------

    def _classify(
        self, table: dict[int, Row], roots: Mapping[Identity, str], with_markers: bool
    ) -> None:
        self._scanned = {row.identity for row in table.values()}
        questions = ownership.Questions(
            self._is_detached,
            self._is_marked if with_markers else _never,
            evidence.owner_of,
            self._is_proved,
        )
        adopter = self._main.identity if self.has_strangers else None
        found = ownership.classify(table, roots, self._last, questions, adopter)
        new = found.evidence.keys() - self.known.keys()
        self._last = found
        self._find_preexisting(table)
        self._sessions.note(new, self.known.keys(), self.preexisting, found.exempt)
        self._find_adopted_zombies(table, roots)

    def _find_preexisting(self, table: dict[int, Row]) -> None:
        self.preexisting = {
            identity
            for identity in self.known
            if identity in self.preexisting
            or ownership.started_before(
                table[identity[0]], self.began, self.preexisting_children, table, self.known
            )
        }

    def _is_detached(self, row: Row) -> bool:
        return evidence.is_detached(row, self._run)

    def _is_marked(self, row: Row) -> bool:
        return evidence.is_marked(row, self._run, self._main.start, self._uid)

    def _is_proved(self, row: Row) -> bool:
        """Whether a child of the main process belongs to the server, although the main process may
        have adopted it from a stranger."""
        return (
            row.identity in self.preexisting_children
            or self._is_marked(row)
            or self._has_birthmark(row)
            or self._sessions.has_member(row)
        )

    def _has_birthmark(self, row: Row) -> bool:
        return row.start >= self.began and birthmark.is_borne(platform.ignored_signals(row.pid))

    # -- zombies ----------------------------------------------------------------------------------

    def _find_adopted_zombies(self, table: dict[int, Row], roots: Mapping[Identity, str]) -> None:
        """Find the zombies that the main process has provably adopted: nobody waits for them.

        The proof is that the process was seen with another parent, or has the birthmark, or is in a
        session in which the main process cannot have forked it. Without proof a zombie is left: it
        may be a child of the main process's own, and its exit status is for whoever started it.
        """
        ours = self.known.keys() | self._last.exempt | self._seen_elsewhere
        self._seen_elsewhere = {
            row.identity
            for row in table.values()
            if row.identity in ours
            and (row.ppid != self._main.pid or row.identity in self._seen_elsewhere)
        }
        self.adopted_zombies = {
            row.identity
            for row in table.values()
            if row.ppid == self._main.pid
            and not row.alive
            and row.identity not in roots
            and row.identity not in self.registered
            and self._is_adopted(row)
        }

    def _is_adopted(self, row: Row) -> bool:
        return (
            row.identity in self._seen_elsewhere
            or self._has_birthmark(row)
            or (
                row.identity not in self.preexisting_children
                and row.start >= self.began
                and self._sessions.is_foreign(row)
            )
        )


def _never(row: Row) -> bool:
    return False
