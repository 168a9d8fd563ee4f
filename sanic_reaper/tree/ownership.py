"""Decides which processes belong to the server, on what evidence, and to which of its processes.

Pure: takes a snapshot of the process table, returns a `Classification`. Three kinds of evidence
count. A name, a command line or a process group is no evidence: a server shares its process group
with the shell that launched it.

1. *Descent*: the process is a child of a process of the server. A child is never older than its
   parent, so a pid that the kernel has given to another process since then is no parent. The main
   process also becomes a parent by adoption (it is a subreaper). Where it can have adopted another
   program's child, being its child proves nothing, and further evidence is required.
2. *Memory*: an earlier snapshot has shown that a process with this pid and this creation time
   belongs to the server by descent.
3. *Marker*: the process was executed with this run's marker in its environment.

A process that was executed with the run's *detached* marker is exempt, and so is each of its
descendants.
"""

from __future__ import annotations

from ..model.kills import MARKED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

    from ..platform.base import Identity, Row


class Classification:
    """Which processes of one snapshot belong to the server.

    Attributes:
        evidence: each living process that belongs to the server and is no root, with the evidence
            for it, in the words of the log.
        owners: for each of these the root that it comes from, which may have exited. A process
            whose owner is unknown is not in it.
        exempt: each process of the server that is meant to outlive it.
    """

    __slots__ = ("evidence", "exempt", "owners")

    def __init__(self) -> None:
        self.evidence: dict[Identity, str] = {}
        self.owners: dict[Identity, Identity] = {}
        self.exempt: set[Identity] = set()


class Questions:
    """What the process table does not tell of a process. Each answer needs another file.

    Attributes:
        is_detached: whether the process bears the run's detached marker.
        is_marked: whether the process bears the run's marker. Asked only of processes without
            evidence by descent or memory.
        owner_of: the root that the process names as its owner, if any. Asked once of each process.
        is_proved: whether other evidence proves that a child of the adopter belongs to the server.
            Asked only of children without evidence by memory.
    """

    __slots__ = ("is_detached", "is_marked", "is_proved", "owner_of")

    def __init__(
        self,
        is_detached: Callable[[Row], bool],
        is_marked: Callable[[Row], bool],
        owner_of: Callable[[Row], Identity | None] = lambda row: None,
        is_proved: Callable[[Row], bool] = lambda row: False,
    ) -> None:
        self.is_detached = is_detached
        self.is_marked = is_marked
        self.owner_of = owner_of
        self.is_proved = is_proved


def classify(
    table: Mapping[int, Row],
    roots: Mapping[Identity, str],
    earlier: Classification,
    questions: Questions,
    adopter: Identity | None = None,
) -> Classification:
    """Decide which processes of a snapshot belong to the server.

    Args:
        table: the process table, or the part of it that is to be classified, by pid.
        roots: processes that are known to belong to the server, each with its title for the log.
        earlier: the classification of the snapshot before, which is the memory.
        questions: what the table does not tell.
        adopter: the root that may have adopted another program's child, if there is one.
    """
    classifier = _Classifier(table, roots, earlier, questions, adopter)
    classifier.find_by_descent()
    classifier.find_by_memory_and_marker()
    return classifier.living()


class _Classifier:
    """The steps of `classify`, whose arguments it takes."""

    __slots__ = ("_adopter", "_children", "_earlier", "_found", "_questions", "_roots", "_table")

    def __init__(
        self,
        table: Mapping[int, Row],
        roots: Mapping[Identity, str],
        earlier: Classification,
        questions: Questions,
        adopter: Identity | None,
    ) -> None:
        self._table, self._roots, self._earlier = table, roots, earlier
        self._questions, self._adopter = questions, adopter
        self._found = Classification()
        self._children: dict[int, list[Row]] = {}
        for row in table.values():
            self._children.setdefault(row.ppid, []).append(row)

    def find_by_descent(self) -> None:
        """Classify what descends from a root."""
        for identity, title in self._roots.items():
            row = self._table.get(identity[0])
            if row is not None and row.identity == identity:
                self._add_descendants(row, f"{title} [{row.pid}]", identity)

    def find_by_memory_and_marker(self) -> None:
        """Classify what descends from no root any more, each with its descendants."""
        for row in self._table.values():
            if self._is_classified(row):
                continue
            if row.identity in self._earlier.evidence:
                self._add_with_descendants(row, self._earlier.evidence[row.identity])
            elif row.alive and self._questions.is_marked(row):
                self._add_with_descendants(row, MARKED)

    def living(self) -> Classification:
        """What was found, without the processes that have exited: a zombie can have children."""
        self._found.evidence = {
            identity: evidence
            for identity, evidence in self._found.evidence.items()
            if self._table[identity[0]].alive
        }
        return self._found

    # -- one process ------------------------------------------------------------------------------

    def _is_classified(self, row: Row) -> bool:
        identity, found = row.identity, self._found
        return identity in self._roots or identity in found.evidence or identity in found.exempt

    def _is_exempt(self, row: Row) -> bool:
        return row.identity in self._earlier.exempt or self._questions.is_detached(row)

    def _may_be_strangers(self, child: Row, parent: Row) -> bool:
        return (
            parent.identity == self._adopter
            and child.identity not in self._earlier.evidence
            and not self._questions.is_proved(child)
        )

    def _add(self, row: Row, evidence: str, root: Identity | None) -> None:
        self._found.evidence[row.identity] = evidence
        owner = self._earlier.owners.get(row.identity) or self._questions.owner_of(row) or root
        if owner is not None:
            self._found.owners[row.identity] = owner

    # -- one process and what descends from it ----------------------------------------------------

    def _add_with_descendants(self, row: Row, evidence: str) -> None:
        if self._is_exempt(row):
            self._exempt_with_descendants(row)
        else:
            self._add(row, evidence, None)
            owner = self._found.owners.get(row.identity)
            self._add_descendants(row, f"{row.name} [{row.pid}]", owner)

    def _add_descendants(self, ancestor: Row, title: str, root: Identity | None) -> None:
        pending = [ancestor]
        while pending:
            parent = pending.pop()
            for child in self._children_of(parent):
                if self._is_classified(child):
                    continue
                if self._is_exempt(child):
                    self._exempt_with_descendants(child)
                elif not self._may_be_strangers(child, parent):
                    known = self._earlier.evidence.get(child.identity)
                    self._add(child, known or f"descends from {title}", root)
                    pending.append(child)

    def _exempt_with_descendants(self, row: Row) -> None:
        pending = [row]
        while pending:
            row = pending.pop()
            self._found.exempt.add(row.identity)
            pending.extend(
                child
                for child in self._children_of(row)
                if child.identity not in self._found.exempt  # a torn snapshot can show a circle
            )

    def _children_of(self, parent: Row) -> list[Row]:
        children = self._children.get(parent.pid, ())
        return [row for row in children if row.start >= parent.start]


def started_before(
    row: Row,
    began: int,
    preexisting: Container[Identity],
    table: Mapping[int, Row],
    evidence: Container[Identity],
) -> bool:
    """Whether a process, or an ancestor that belongs to the server as well, is older than it.

    A script may have started a process before it ran the server, and may want to stop it itself
    when the server has stopped. So such a process is the script's while the main process lives.

    Args:
        row: a process that belongs to the server.
        began: the creation time of the server's first process, in clock ticks.
        preexisting: processes that are older although their creation time does not tell: the clock
            ticks 100 times a second, and a script that goes on with another server is faster.
        table: the snapshot.
        evidence: the processes that belong to the server, as `Classification.evidence` has them.
            The parent of an orphan that the main process has not adopted is older than the server,
            but does not belong to it.
    """
    ancestor: Row | None = row
    while ancestor is not None and ancestor.identity in evidence:
        if ancestor.start < began or ancestor.identity in preexisting:
            return True
        ancestor = table.get(ancestor.ppid)
    return False
