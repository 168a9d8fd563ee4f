"""Why a process ended or was replaced, in one word, for counters and hooks. Pure.

`deaths` has the words for the log.
"""

from __future__ import annotations

from ..model import recycling

DEATHS = ("exit", "signal", "oom", "hung", "startup", "killed", "unknown")
"""How a process ended. `exit`: an exit code; `signal`: a signal; `oom`: the kernel's OOM killer;
`hung`, `startup`: the Reaper killed it for that; `killed`: the Reaper killed it for another cause
of `kills.KILLS`; `unknown`: other code in the main process has reaped it."""

RESTARTS = (*DEATHS, "ordered", *recycling.CAUSES)
"""Why a worker was replaced: the death of its predecessor, an order, or a recycling limit."""


def of_death(exitcode: int | None, oom_kills: int | None = None, killed_for: str = "") -> str:
    """How a process ended: one of `DEATHS`.

    Args:
        exitcode, oom_kills: as `deaths.cause` has them.
        killed_for: the cause for which the watchdog has killed the process, one of `kills.KILLS`.
            "": the watchdog has not killed it.
    """
    if exitcode is not None and exitcode >= 0:
        return "exit"
    if killed_for:
        return killed_for if killed_for in DEATHS else "killed"
    if exitcode is None:
        return "unknown"
    return "oom" if exitcode == -9 and oom_kills else "signal"
