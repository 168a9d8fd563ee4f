"""The states of a worker: which event moves a worker from which state to which, and the sets of
states that every reader shares. Pure.

The main process moves each worker through `TRANSITIONS`, and nothing else decides on a worker's
state. A reader (`ps`, `health`, `/live`, `/ready`, `/metrics`, `/status`, systemd's STATUS) adds
what the kernel says at that moment (`observed`). "Does it serve?" is membership in `SERVES`.

The names are written into the state file and appear in `--json`, `/status` and `/metrics`. They are
plain strings: the commands start in a few milliseconds, and `enum` alone costs several.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

State: TypeAlias = "str"
"""A state of a process, in the words of the state file (but see `SHOWN`)."""

LifecycleEvent: TypeAlias = "str"
"""Something that may move a worker to another state. (Events for users' hooks: `events.Event`.)"""

# -- the states -----------------------------------------------------------------------------------

STARTING = "starting"
"""The worker imports the app, or its `before_server_start` handlers run."""
FINISHING_START = "finishing start"
"""The worker has acked and answers requests; its `after_server_start` handlers still run."""
BACKGROUND = "background"
"""The worker answers 503 until its `@background` work is done."""
SERVING = "serving"
"""The worker answers requests, and no part of its start keeps a request from being answered."""
BLOCKED = "blocked"
"""The worker's event loop has not turned for a second or longer. It has been serving."""
BLOCKED_FINISHING = "blocked (finishing start)"
"""The event loop of a worker that was finishing its start has not turned for a second."""
BLOCKED_BACKGROUND = "blocked (background)"
"""The event loop of a worker whose `@background` work is not done has not turned for a second."""
STOPPED = "stopped"
"""The kernel has stopped the process: SIGSTOP, or a debugger. Only a reader finds that out."""
FAILED = "failed"
"""The worker's start has failed, or has taken too long; it is about to exit or to be killed."""
STOPPING = "stopping"
"""The worker was told to stop, alone or with the server."""
ENDED = "ended"
"""The process has exited, or was killed."""
ZOMBIE = "zombie"
"""The process has exited, and its parent has not reaped it yet. Only a reader finds that out."""
RUNNING = "running"
"""A living process that is no worker."""

SHOWN: Mapping[State, State] = {BLOCKED_FINISHING: BLOCKED, BLOCKED_BACKGROUND: BLOCKED}
"""The states that are shown by the name of another one. Readers need not know what was before."""

# -- the events -----------------------------------------------------------------------------------

LISTENS = "listens"
"""The worker listens on its port, as it reports itself or by Sanic's ack."""
UP = "up"
"""The worker's `after_server_start` handlers have returned."""
OPEN = "open"
"""The worker answers requests, although some of its `@background` work still runs."""
READY = "ready"
"""The start of the worker is complete."""
FAIL = "fail"
"""The worker has reported that it can't start, and why."""
LATE = "late"
"""A deadline of the worker's start has passed."""
STALL = "stall"
"""The worker's event loop has not turned for a second."""
TURN = "turn"
"""The worker's event loop turns again."""
STOP = "stop"
"""The worker is told to stop, alone or with the server."""
EXIT = "exit"
"""The process has exited, or was killed."""

EVENTS = (LISTENS, UP, OPEN, READY, FAIL, LATE, STALL, TURN, STOP, EXIT)

# -- the table ------------------------------------------------------------------------------------

_ANY_TIME: Mapping[LifecycleEvent, State] = {
    FAIL: FAILED,
    LATE: FAILED,
    STOP: STOPPING,
    EXIT: ENDED,
}
"""The events that can happen in each state before the stop, whatever the state is."""

_ROWS: Mapping[State, Mapping[LifecycleEvent, State]] = {
    STARTING: {LISTENS: FINISHING_START, UP: BACKGROUND, READY: SERVING, **_ANY_TIME},
    FINISHING_START: {
        LISTENS: FINISHING_START,
        UP: BACKGROUND,
        READY: SERVING,
        STALL: BLOCKED_FINISHING,
        **_ANY_TIME,
    },
    BLOCKED_FINISHING: {
        LISTENS: BLOCKED_FINISHING,
        UP: BLOCKED_BACKGROUND,
        READY: BLOCKED,
        TURN: FINISHING_START,
        **_ANY_TIME,
    },
    BACKGROUND: {LISTENS: BACKGROUND, OPEN: SERVING, READY: SERVING, **_ANY_TIME},
    BLOCKED_BACKGROUND: {
        LISTENS: BLOCKED_BACKGROUND,
        OPEN: BLOCKED,
        READY: BLOCKED,
        TURN: BACKGROUND,
        **_ANY_TIME,
    },
    # Sanic's ack may be read after the worker's own words, and `open` is told with each work done.
    SERVING: {LISTENS: SERVING, OPEN: SERVING, READY: SERVING, STALL: BLOCKED, **_ANY_TIME},
    BLOCKED: {LISTENS: BLOCKED, OPEN: BLOCKED, READY: BLOCKED, TURN: SERVING, **_ANY_TIME},
    # What such a worker still reports of its start changes nothing.
    FAILED: {**dict.fromkeys((LISTENS, UP, OPEN, READY), FAILED), **_ANY_TIME},
    STOPPING: {
        **dict.fromkeys((LISTENS, UP, OPEN, READY, FAIL, LATE, STOP), STOPPING),
        EXIT: ENDED,
    },
    RUNNING: {STOP: STOPPING, EXIT: ENDED},
    ENDED: {},
}

TRANSITIONS: Mapping[tuple[State, LifecycleEvent], State] = {
    (state, event): after for state, row in _ROWS.items() for event, after in row.items()
}
"""The state after an event, by the state before it. An event without a row means that somebody
counted wrong, or that user code writes into a worker's pipe: it is logged once and ignored."""

STATES = tuple(_ROWS)
"""The states in which the main process knows its processes."""

# -- sets of states -------------------------------------------------------------------------------

SERVES = frozenset((SERVING,))
"""The worker does its work. `--ready` and `/ready` count these, `ps` and systemd's STATUS too."""

ANSWERS = SERVES | {FINISHING_START, BACKGROUND}
"""The worker's event loop takes requests, be the answer a 503. `--live` and `/live` want one."""

STALLED = frozenset((BLOCKED, STOPPED))
"""The worker holds its requests without answering them, and may go on later."""

GONE = frozenset((ENDED, ZOMBIE))
"""The process can't be signalled any more."""

LEAVING = GONE | {STOPPING}
"""The worker does not count towards the configured number of workers."""

FINISHES = frozenset((FINISHING_START, BLOCKED_FINISHING))
"""The worker's `after_server_start` handlers run."""

BLOCKS = frozenset((BLOCKED, BLOCKED_FINISHING, BLOCKED_BACKGROUND))
"""The worker's event loop does not turn: the states that `SHOWN` calls `BLOCKED`, and that one."""

MUST_TURN = FINISHES | {SERVING, BLOCKED}
"""Requests wait for the worker's event loop. `@background` work that turns them away has limits of
its own."""

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
"""The states of a worker that has not ended, as readers know them, in the order in which they are
shown."""


def observed(state: str, alive: bool, halted: bool) -> str:
    """A recorded state, corrected by what the process table says of the process now.

    Args:
        alive: the process is there and is no zombie.
        halted: it is stopped by a signal, or by a debugger that traces it.
    """
    if not alive:
        return ZOMBIE
    return STOPPED if halted else state
