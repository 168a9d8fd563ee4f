"""The signals that ask a process where it is: `faulthandler` answers them with its stack.

Apart from what reads such an answer (`stacks`): a worker has no use for that.
"""

from __future__ import annotations

import signal

REQUESTS: tuple[int, ...] = (
    tuple(signal.SIGRTMAX - number for number in (3, 4, 8, 9, 10))
    if hasattr(signal, "SIGRTMAX")
    else (signal.SIGUSR2,)
)
"""The signals by which main may ask a worker where it is: the first one that the user's code does
not handle. SIGRTMAX-5 to -7 have another use (`tree/birthmark.py`)."""

REQUEST = REQUESTS[0]
"""The signal by which main itself is asked."""
