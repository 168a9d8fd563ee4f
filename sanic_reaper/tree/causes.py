"""Why a process was ended or replaced, in one word: for counters and hooks, which need few of them.

The log has more to say. Pure.
"""

from __future__ import annotations

from ..model import recycling
from ..model.kills import KILLS

DEATHS = ("exit", "signal", "oom", "hung", "startup", "killed", "unknown")
"""How a process ended: an exit code, a signal, the kernel's OOM killer; or a kill of the Reaper's,
because its loop hung, its start failed, or for another reason of `kills.KILLS`. `unknown`:
something else in main has reaped it."""

RESTARTS = (*DEATHS, "ordered", *recycling.CAUSES)
"""What a worker was replaced for: the death of the one before, an order, or one of its limits."""


def of_kill(words: str) -> str:
    """The word for what the watchdog has said."""
    return next((cause for cause, said in KILLS.items() if said == words), "other")


def of_death(exitcode: int | None, oom_kills: int | None = None, by_us: str | None = None) -> str:
    """One of `DEATHS`.

    Args:
        exitcode, oom_kills, by_us: as `deaths.cause` has them.
    """
    if exitcode is not None and exitcode >= 0:
        return "exit"
    if by_us is not None:
        cause = of_kill(by_us)
        return cause if cause in DEATHS else "killed"
    if exitcode is None:
        return "unknown"
    return "oom" if exitcode == -9 and oom_kills else "signal"
