"""The last line of a server's log: how long the stop took, and what it took. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

WORKER, HELPER, PROCESS = "worker", "helper", "process"
"""What the server consists of: its workers, its SyncManagers, and the user's own processes."""

_PLURALS = {WORKER: "workers", HELPER: "helpers", PROCESS: "processes"}


def goodbye(
    seconds: float,
    code: int,
    killed: Sequence[str],
    leftovers: int,
    survivors: Sequence[str] = (),
    killed_by_others: Sequence[str] = (),
) -> str:
    """Put the end of a server into words. A number is named only where it is not zero.

    Args:
        seconds: how long the stop took.
        code: the exit code of the server. "cleanly" is said of 0 alone.
        killed: what each process was that the Reaper killed during the stop.
        leftovers: how many processes the workers had left behind, and are ended too.
        survivors: why each process could not be killed that is still there.
        killed_by_others: what each process was that died of a SIGKILL which the Reaper did not
            send, and whose death no other line of the log tells.
    """
    parts = [*_of_each_kind(killed, "had to be killed")]
    if leftovers:
        parts.append(f"{count(leftovers, 'leftover process', 'leftover processes')} cleaned up")
    for reason in dict.fromkeys(survivors):
        number = survivors.count(reason)
        parts.append(f"{count(number, PROCESS, 'processes')} could not be killed: {reason}")
    parts += _of_each_kind(killed_by_others, "got SIGKILL from elsewhere")
    how = "" if parts or code else " cleanly"
    return f"stopped{how} in {seconds:.1f} s{': ' if parts else ''}{', '.join(parts)}"


def _of_each_kind(processes: Sequence[str], what: str) -> Iterator[str]:
    for kind, plural in _PLURALS.items():
        if kind in processes:
            yield f"{count(processes.count(kind), kind, plural)} {what}"


def count(number: int, one: str, many: str) -> str:
    """A number with its noun: `1 worker`, `2 workers`."""
    return f"{number} {one if number == 1 else many}"
