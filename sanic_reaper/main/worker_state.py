"""The state of a process that main has started, from all that main knows of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model import lifecycle
from .heartbeat import STANDSTILL

if TYPE_CHECKING:
    from .processes import WatchedProcess


def state_of(process: WatchedProcess, now: float, stopping: bool = False) -> tuple[str, float]:
    """The state of a living process (see `lifecycle`), and since when it has had it.

    Args:
        now: on the monotonic clock.
        stopping: whether the server is.
    """
    launch, pulse = process.launch, process.pulse
    stopping = stopping or process.is_dismissed
    if launch is None:
        return lifecycle.STOPPING if stopping else lifecycle.RUNNING, now
    stood_still = pulse.seconds if pulse is not None else 0.0
    state = lifecycle.of_worker(
        told_to_stop=stopping,
        failed=launch.failure is not None or launch.has_expired,
        acked=launch.is_up or launch.finishes,
        finishing=launch.finishes,
        ready=launch.is_ready,
        opened=launch.is_open,
        blocked=stood_still >= STANDSTILL,
    )
    since = {
        lifecycle.STARTING: launch.began,
        lifecycle.BLOCKED: now - stood_still,
        lifecycle.FINISHING_START: launch.listens or now,
        lifecycle.BACKGROUND: launch.up or now,
        lifecycle.SERVING: launch.ready or now,
    }
    return state, since.get(state, now)
