"""The last line of a server's log: how long the stop took, and what had to be killed. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..model.roles import HELPER, PROCESS, ROLES, WORKER

_KINDS = (WORKER, HELPER, PROCESS)
"""The processes that the last line counts, in the order in which it names them."""


def goodbye(
    seconds: float,
    code: int,
    killed: Sequence[str],
    leftovers: int,
    survivors: Sequence[str] = (),
    killed_by_others: Sequence[str] = (),
) -> str:
    """The last line, in words. A number is named only where it is not zero.

    Args:
        seconds: how long the stop took.
        code: exit code of the server. Only 0 is called a clean stop.
        killed: kind of each process that the Reaper killed during the stop.
        leftovers: number of leftover processes that were killed after the workers had exited.
        survivors: for each process that could not be killed, the reason.
        killed_by_others: kind of each process that died of a SIGKILL which the Reaper did not send,
            and whose death no other line of the log reports.
    """
    parts = [*_of_each_kind(killed, "had to be killed")]
    if leftovers:
        parts.append(f"{count(leftovers, 'leftover process', 'leftover processes')} cleaned up")
    for reason in dict.fromkeys(survivors):
        number = survivors.count(reason)
        parts.append(
            f"{count(number, PROCESS, ROLES[PROCESS].plural)} could not be killed: {reason}"
        )
    parts += _of_each_kind(killed_by_others, "got SIGKILL from elsewhere")
    how = "" if parts or code else " cleanly"
    return f"stopped{how} in {seconds:.1f} s{': ' if parts else ''}{', '.join(parts)}"


def _of_each_kind(processes: Sequence[str], what: str) -> Iterator[str]:
    for kind in _KINDS:
        if kind in processes:
            yield f"{count(processes.count(kind), kind, ROLES[kind].plural)} {what}"


def count(number: int, one: str, many: str) -> str:
    """A number with its noun: `1 worker`, `2 workers`."""
    return f"{number} {one if number == 1 else many}"
