"""The helpers of a command that exit by themselves when it is over: Python's resource tracker and
fork server, and the watchdog of a server with the Reaper.

Each waits on a channel to the process that has started it, and exits when that breaks: within
milliseconds, but after the command. A signal would cut their cleaning short (the tracker removes
leaked semaphores), and a line in the log would accuse a command that has left nothing behind.

A command line is no evidence by itself. As long as such a helper has the channels that its command
line names, it exits when they break, however long that takes. Once it has closed them it is about
to exit, or was none: that shows within `PATIENCE`.
"""

from __future__ import annotations

from .. import platform
from ..tree.watchdogs import watchdog_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PATIENCE = 2.0
"""Seconds that a helper which has begun to exit may take for that, however short the grace is."""

NEVER = float("inf")

TRACKER = b"from multiprocessing.resource_tracker import main;"
FORK_SERVER = b"from multiprocessing.forkserver import main;"


def patience_with(pid: int) -> float:
    """Seconds for which nobody needs to signal a process, as it exits by itself. `NEVER`: until the
    grace is over; 0: it is none of these helpers."""
    channels = channels_of(platform.command(pid))
    kinds = {fd: platform.channel(pid, fd) for fd in channels}
    # In this order: what has begun to exit meanwhile has neither command line nor descriptors.
    if platform.is_exiting(pid):
        return PATIENCE
    return patience(channels, kinds)


def patience(channels: dict[int, str], kinds: dict[int, str]) -> float:
    """The same, from what its command line names, and what it has under these numbers."""
    if not channels:
        return 0.0
    if all(kinds[fd] in (kind, "?") for fd, kind in channels.items()):
        return NEVER
    # Whatever comes from a fork server has its command line; but it has closed those descriptors,
    # and the first of its own, a pipe, has taken the number of the first of them.
    listener = next(iter(channels))
    if len(channels) > 1 and kinds[listener] == "pipe":
        return 0.0
    return PATIENCE


def channels_of(command: Sequence[bytes]) -> dict[int, str]:
    """By its command line, the descriptors that such a helper waits on, and what they are. Empty:
    it is none.
    """
    watchdog = watchdog_of(command)
    if watchdog is not None:
        return {watchdog.channel: "socket"}
    try:
        code = command[command.index(b"-c") + 1]
        if TRACKER in code:
            return {int(_arguments(code)[0]): "pipe"}
        if FORK_SERVER in code:
            listener, alive = map(int, _arguments(code)[:2])
            return {listener: "socket", alive: "pipe"}
    except (ValueError, IndexError):
        pass
    return {}


def _arguments(code: bytes) -> list[bytes]:
    """Those of the last line's call, as far as there are numbers: `main(3, 7, ...)`."""
    _, _, inner = code.partition(b"main(")
    return inner.rstrip(b")").split(b",")
