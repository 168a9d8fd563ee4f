"""Why a process was ended or replaced, in one word: for counters and hooks, which need few of them.

The log has more to say. Pure.
"""

from __future__ import annotations

from ..model import recycling

DEATHS = ("exit", "signal", "oom", "hung", "startup", "killed", "unknown")
"""How a process ended: an exit code, a signal, the kernel's OOM killer; or a kill of the Reaper's,
because its loop hung, its start failed, or for another reason of `kills.KILLS`. `unknown`:
something else in main has reaped it."""

RESTARTS = (*DEATHS, "ordered", *recycling.CAUSES)
"""What a worker was replaced for: the death of the one before, an order, or one of its limits."""


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
