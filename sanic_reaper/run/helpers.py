"""Recognises helpers that exit by themselves after the command: Python's resource tracker and fork
server, and the watchdog of a server with the Reaper.

Each waits on a channel to the process that has started it, and exits when the channel closes: after
the command, but within milliseconds. A signal would cut their cleaning short (the tracker removes
leaked semaphores), and a log line would blame a command that has left nothing behind.

A command line is no evidence by itself. A process that has the channels which its command line
names is such a helper, and exits when they close, however long that takes. A process that has
closed them is about to exit, or is no helper. `PATIENCE` decides which.
"""

from __future__ import annotations

from .. import platform
from ..tree.watchdogs import watchdog_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PATIENCE = 2.0
"""Seconds for a helper that has begun to exit, even if the grace period is shorter."""

NEVER = float("inf")

TRACKER = b"from multiprocessing.resource_tracker import main;"
FORK_SERVER = b"from multiprocessing.forkserver import main;"


def patience_with(pid: int) -> float:
    """Seconds for which a process is not signalled, because it exits by itself.

    `NEVER`: until the grace period is over. 0: the process is not one of these helpers.
    """
    channels = channels_of(platform.command(pid))
    kinds = {fd: platform.channel(pid, fd) for fd in channels}
    # Last: a process that has begun to exit meanwhile has neither command line nor descriptors.
    if platform.is_exiting(pid):
        return PATIENCE
    return patience(channels, kinds)


def patience(channels: dict[int, str], kinds: dict[int, str]) -> float:
    """Decide `patience_with`. Pure.

    Args:
        channels: the descriptors that the command line names, and their kinds.
        kinds: the kinds of what the process has under these numbers. `?`: not known.
    """
    if not channels:
        return 0.0
    if all(kinds[fd] in (kind, "?") for fd, kind in channels.items()):
        return NEVER
    # A child of a fork server has the server's command line, but has closed those descriptors. Its
    # own first descriptor, a pipe, has the number of the first of them.
    listener = next(iter(channels))
    if len(channels) > 1 and kinds[listener] == "pipe":
        return 0.0
    return PATIENCE


def channels_of(command: Sequence[bytes]) -> dict[int, str]:
    """The descriptors that a helper waits on, and their kinds, from its command line.

    Empty: it is not the command line of a helper.
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
    """The arguments of the call in a program: `main(3, 7, ...)`."""
    _, _, inner = code.partition(b"main(")
    return inner.rstrip(b")").split(b",")
