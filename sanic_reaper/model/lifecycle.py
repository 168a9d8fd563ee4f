"""The states of a worker, and the sets of states that every reader shares.

The main process derives a worker's state from the worker's reports (`of_worker`). A reader (`ps`,
`health`, `/live`, `/ready`, `/metrics`, `/status`, systemd's STATUS) adds what the kernel says at
that moment (`observed`). "Does it serve?" is membership in `SERVES`, and nothing else.

The names are written into the state file and appear in `--json`, `/status` and `/metrics`. They are
plain strings: the commands start in a few milliseconds, and `enum` alone costs several.
"""

from __future__ import annotations

STARTING = "starting"
"""The worker imports the app, or its `before_server_start` handlers run."""
FINISHING_START = "finishing start"
"""The worker has acked and answers requests; its `after_server_start` handlers still run."""
BACKGROUND = "background"
"""The worker answers 503 until its `@background` work is done."""
SERVING = "serving"
"""The worker answers requests, and nothing of its start is left to do."""
BLOCKED = "blocked"
"""The worker's event loop has not turned for a second or longer."""
STOPPED = "stopped"
"""The kernel has stopped the process: SIGSTOP, or a debugger."""
FAILED = "failed"
"""The worker's start has failed, or has taken too long; it is about to exit or to be killed."""
STOPPING = "stopping"
"""The worker was told to stop, alone or with the server."""
ENDED = "ended"
"""The process has exited, or was killed."""
ZOMBIE = "zombie"
"""The process has ended, and its parent has not waited for it yet."""
RUNNING = "running"
"""A process that is no worker, and lives."""

SERVES = frozenset((SERVING,))
"""The worker does its work. `--ready` and `/ready` count these, `ps` and systemd's STATUS too."""

ANSWERS = SERVES | {FINISHING_START, BACKGROUND}
"""The worker's event loop takes requests, be the answer a 503. `--live` and `/live` want one."""

STALLED = frozenset((BLOCKED, STOPPED))
"""The worker holds its requests without answering them, and may go on later."""

GONE = frozenset((ENDED, ZOMBIE))
"""There is nobody left to signal."""

LEAVING = GONE | {STOPPING}
"""The worker does not count among those that the server wants."""

LIVING = (
    STARTING,
    FINISHING_START,
    BACKGROUND,
    SERVING,
    BLOCKED,
    STOPPED,
    FAILED,
    STOPPING,
)
"""The states of a worker that has not ended, in the order in which they are shown."""


def of_worker(
    *,
    told_to_stop: bool = False,
    failed: bool = False,
    acked: bool = False,
    finishing: bool = False,
    ready: bool = False,
    opened: bool = False,
    blocked: bool = False,
) -> str:
    """The state of a living worker, from what it has reported.

    Args:
        told_to_stop: it was told to stop, alone or with the server.
        failed: its start has failed, or its deadline has passed.
        acked: it has told Sanic that it listens.
        finishing: its `after_server_start` handlers still run.
        ready: nothing of its start is left to do.
        opened: it has background work to do, and answers requests all the same.
        blocked: its event loop has stood still for so long that it counts as blocked.
    """
    if told_to_stop:
        return STOPPING
    if failed:
        return FAILED
    if not acked and not ready:
        return STARTING
    if blocked:
        return BLOCKED
    if finishing:
        return FINISHING_START
    return SERVING if ready or opened else BACKGROUND


def observed(state: str, alive: bool, halted: bool) -> str:
    """A recorded state, corrected by what the process table says of the process now.

    Args:
        alive: the process is there and is no zombie.
        halted: it is stopped by a signal, or by a debugger that traces it.
    """
    if not alive:
        return ZOMBIE
    return STOPPED if halted else state
