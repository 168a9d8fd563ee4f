"""The last line of a server's log: how long the stop took, and what it took. Pure."""

from __future__ import annotations

from collections.abc import Sequence

WORKER, HELPER, PROCESS = "worker", "helper", "process"
"""What the server consists of: its workers, its SyncManagers, and the user's own processes."""

_PLURALS = {WORKER: "workers", HELPER: "helpers", PROCESS: "processes"}


def goodbye(
    seconds: float, code: int, killed: Sequence[str], leftovers: int, survivors: Sequence[str] = ()
) -> str:
    """Put the end of a server into words. A number is named only where it is not zero.

    Args:
        seconds: how long the stop took.
        code: the exit code of the server. "cleanly" is said of 0 alone.
        killed: what each process was that SIGKILL had to end during the stop.
        leftovers: how many processes the workers had left behind, and are ended too.
        survivors: why each process could not be killed that is still there.
    """
    parts = [
        f"{count(killed.count(kind), kind, plural)} had to be killed"
        for kind, plural in _PLURALS.items()
        if kind in killed
    ]
    if leftovers:
        parts.append(f"{count(leftovers, 'leftover process', 'leftover processes')} cleaned up")
    for reason in dict.fromkeys(survivors):
        number = survivors.count(reason)
        parts.append(f"{count(number, PROCESS, 'processes')} could not be killed: {reason}")
    how = "" if parts or code else " cleanly"
    return f"stopped{how} in {seconds:.1f} s{': ' if parts else ''}{', '.join(parts)}"


def count(number: int, one: str, many: str) -> str:
    """A number with its noun: `1 worker`, `2 workers`."""
    return f"{number} {one if number == 1 else many}"
