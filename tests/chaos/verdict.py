"""What may be left after a history, and how main may have ended. Pure."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field

from support.census import Row

from .history import HARMLESS, History

DOCUMENTED = {0, 1, 75}
"""README.md. 78 is for a bad setting, and no history has one."""

LOOK = 1.5
"""Seconds between two looks of the watchdog at what workers have started, on a busy machine."""

DEADLY = {signal.SIGKILL, signal.SIGABRT}
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Facts:
    """What was done to main and its watchdog, as far as it excuses anything.

    Attributes:
        sent_to_main: each signal that main was sent,
        early: and those that it was sent before it began to start the server,
        late: or after the server had stopped.
        killed_at: when it was killed, in seconds since the machine's start.
        unguarded: whether there was no watchdog when main was killed, or was none soon after.
        starved: whether main or watchdog had no descriptor left.
    """

    sent_to_main: set[int] = field(default_factory=set)
    early: set[int] = field(default_factory=set)
    late: set[int] = field(default_factory=set)
    killed_at: float = math.inf
    unguarded: bool = False
    starved: bool = False


def expected_codes(history: History, facts: Facts) -> set[int]:
    """What a shell may see as main's exit code: documented, or a signal of the history's own."""
    deadly = {128 + signum for signum in facts.sent_to_main & DEADLY}
    # Before the server begins, and when it is over, main is a Python program like any other.
    outside = facts.early | facts.late
    deadly |= {128 + signum for signum in outside - {signal.SIGCONT, signal.SIGSTOP}}
    if _is_peaceful(history) and not deadly:
        return {0}
    return DOCUMENTED | deadly


def _is_peaceful(history: History) -> bool:
    """Whether nothing has happened but a healthy start and one stop."""
    subject = history.subject
    return (
        not history.steps
        and not subject.dies
        and not history.burning
        and subject.importing in HARMLESS
        and set(subject.listeners.values()) <= HARMLESS
        and not set(subject.config) & {"REAPER_HANDLER_TIMEOUT", "REAPER_MAX_LIFETIME"}
    )


def excuse(row: Row, environ: Mapping[str, str], facts: Facts) -> str:
    """Why this process may be left, by the known limits of docs/ownership.md; or nothing."""
    of_a_worker = row.name in ("sleep", "sh", "setsid")
    if row.state == "Z" or not of_a_worker or "sanic_reaper_run" in environ:
        return ""
    if facts.unguarded:
        return "no mark, and watchdog and main were killed together"
    if row.start / TICKS > facts.killed_at - LOOK:
        return "no mark, and started less than a look before main was killed"
    return ""
