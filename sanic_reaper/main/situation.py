"""Sums the slots of a server up for a service manager. Loaded only under one."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..model.lifecycle import FINISHES
from .notify import STARTING, UP, Situation
from .slot import Slot


def situation_of(slots: Sequence[Slot], has_been_ready: bool, startup_timeout: float) -> Situation:
    """The state of the server, as far as it concerns a service manager.

    Args:
        slots: the slots of the server.
        has_been_ready: whether all slots have served at the same time once.
        startup_timeout: seconds that a worker may take to start. 0: no limit.
    """
    now = time.monotonic()
    serving = [worker for slot in slots if (worker := slot.who_serves(now))]
    turns = any(worker.heartbeat and worker.heartbeat.turns(now) for worker in serving)
    if has_been_ready:
        return Situation(UP, len(slots), len(serving), turns)
    due = max((_start_due(slot, startup_timeout) for slot in slots), default=0.0)
    states = [slot.current.state for slot in slots if slot.current is not None]
    finishing = sum(state in FINISHES for state in states)
    return Situation(STARTING, len(slots), len(serving), turns, due, finishing)


def _start_due(slot: Slot, startup_timeout: float) -> float:
    """Monotonic deadline of the slot's start, or of its next start. 0: there is no limit."""
    if slot.restart_at is not None:
        return slot.restart_at + startup_timeout
    startup = slot.current.startup if slot.current is not None else None
    return 0.0 if startup is None or startup.ready is not None else startup.deadline
