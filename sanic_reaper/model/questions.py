"""What both ends of a worker's pipe must know: its version, and the signals that ask for a stack.

`faulthandler` answers such a signal with the stack of each thread. `stacks` reads the answer: it is
a module of its own, because no worker needs it.
"""

from __future__ import annotations

import signal

VERSION = 2
"""The version of what a worker says to the main process (`protocol/worker.py`), and is told by it.

To be raised when a word is added, or gets more fields."""

REQUESTS: tuple[int, ...] = (
    tuple(signal.SIGRTMAX - number for number in (3, 4, 8, 9, 10))
    if hasattr(signal, "SIGRTMAX")
    else (signal.SIGUSR2,)
)
"""The signals by which the main process can ask a worker for its stack. A worker takes the first
one that the user's code does not handle. `tree/birthmark.py` uses SIGRTMAX-5 to -7."""

EVERY_REQUEST = "requests"
"""Written into the worker's pipe before the signal: describe every request in flight."""

EVERY_TASK = "tasks"
"""The same: describe every task of the event loop."""

RECEIVING = "receiving the body"
"""The stage of a request whose handler waits for the rest of the body."""

CLOSED = "closed"
"""The connection of a request whose client has gone. Sanic forgets the connection, and cancels its
task: a handler that cleans up, or does not let itself be cancelled, goes on."""

REQUEST = REQUESTS[0]
"""The signal that asks the main process for its own stack."""
