"""Decides which processes belong to the server, and on what evidence.

Pure: takes a snapshot of the process table, returns claims. Three kinds of evidence count. A name,
a command line or a process group is no evidence: a server shares its process group with the shell
that launched it.

1. *Descent*: the process is a child of a process of the server. A child is never older than its
   parent, so a pid that the kernel has given to another process since then is no parent. The main
   process also becomes a parent by adoption (it is a subreaper). Where it can have adopted another
   program's child, being its child proves nothing, and further evidence is required.
2. *Memory*: an earlier snapshot has shown that a process with this pid and this creation time
   belongs to the server by descent.
3. *Mark*: the process was executed with this run's marker in its environment.

A process that was executed with the run's *detached* marker is exempt, and so is each of its
descendants.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

    from ..platform.base import Identity, Row


class Verdict:
    """What one look at the process table says."""

    __slots__ = ("claims", "owners", "spared")

    def __init__(self) -> None:
        self.claims: dict[Identity, str] = {}
        """Each living process that is ours, without the roots: its evidence, for the log."""
        self.owners: dict[Identity, Identity] = {}
        """For each of them the root that it comes from, which may be gone. Not all are known."""
        self.spared: set[Identity] = set()
        """Each living process that is ours and meant to outlive us."""


def judge(
    table: Mapping[int, Row],
    roots: Mapping[Identity, str],
    known: Mapping[Identity, str],
    owners: Mapping[Identity, Identity],
    spared: set[Identity],
    is_detached: Callable[[Row], bool],
    is_marked: Callable[[Row], bool],
    owner_of: Callable[[Row], Identity | None],
    adopter: Identity | None = None,
    is_proved: Callable[[Row], bool] = lambda row: False,
) -> Verdict:
    """Find what is ours in `table`.

    Args:
        table: the process table, or the part of it that is to be judged, by pid.
        roots: processes known to be ours, with what the log calls them. They are claimed by
            whoever registered them, not here.
        known: the claims of earlier verdicts.
        owners: those of earlier verdicts.
        spared: what earlier verdicts spared.
        is_detached: whether a process bears the detached mark.
        is_marked: whether a process bears this run's mark. Asked only of those that neither
            descent nor memory claims, as an answer costs a look at another file.
        owner_of: the root that a process says it comes from. Asked once of each.
        adopter: the root that may have adopted the child of a stranger, if there is one.
        is_proved: whether something else proves that a child of the adopter's is ours. Asked only
            of those that memory does not claim.
    """
    verdict = Verdict()
    children: dict[int, list[Row]] = {}
    for row in table.values():
        children.setdefault(row.ppid, []).append(row)

    def spare(row: Row) -> None:
        pending = [row]
        while pending:
            row = pending.pop()
            verdict.spared.add(row.identity)
            pending.extend(_younger(children, row))

    def own(row: Row, root: Identity | None) -> None:
        owner = owners.get(row.identity) or owner_of(row) or root
        if owner is not None:
            verdict.owners[row.identity] = owner

    def descend(row: Row, label: str, root: Identity | None) -> None:
        pending = [row]
        while pending:
            parent = pending.pop()
            for child in _younger(children, parent):
                identity = child.identity
                if identity in roots or identity in verdict.claims or identity in verdict.spared:
                    continue
                if identity in spared or is_detached(child):
                    spare(child)
                    continue
                if parent.identity == adopter and identity not in known and not is_proved(child):
                    continue
                verdict.claims[identity] = known.get(identity) or f"descends from {label}"
                own(child, root)
                pending.append(child)

    for identity, label in roots.items():
        root = table.get(identity[0])
        if root is not None and root.identity == identity:
            descend(root, f"{label} [{root.pid}]", identity)

    def claim(row: Row, evidence: str) -> None:
        if row.identity in spared or is_detached(row):
            spare(row)
        else:
            verdict.claims[row.identity] = evidence
            own(row, None)
            descend(row, f"{row.name} [{row.pid}]", verdict.owners.get(row.identity))

    for row in table.values():
        identity = row.identity
        if identity in roots or identity in verdict.claims or identity in verdict.spared:
            continue
        if identity in known:
            claim(row, known[identity])
        elif row.alive and is_marked(row):
            claim(row, "bears this run's mark")

    verdict.claims = {
        identity: evidence
        for identity, evidence in verdict.claims.items()
        if table[identity[0]].alive
    }
    return verdict


def _younger(children: Mapping[int, list[Row]], parent: Row) -> list[Row]:
    return [row for row in children.get(parent.pid, ()) if row.start >= parent.start]


def precedes(
    row: Row,
    began: int,
    predecessors: set[Identity],
    table: Mapping[int, Row],
    ours: Container[Identity],
) -> bool:
    """Whether a process of ours, or an ancestor of it that is ours as well, is older than the
    server.

    A script may have started something before it ran the server, and may want to end it itself
    when the server has stopped: so that is not ours to end while main lives.

    Args:
        began: the creation time of the first process of the server.
        predecessors: older ones that are too young for the clock to tell: it ticks 100 times a
            second, and a script that goes on with another server is faster than that.
        ours: what the verdict claims, without the roots. An orphan that main does not adopt comes
            to a process that is older than everybody, and is not ours.
    """
    ancestor: Row | None = row
    while ancestor is not None and ancestor.identity in ours:
        if ancestor.start < began or ancestor.identity in predecessors:
            return True
        ancestor = table.get(ancestor.ppid)
    return False
