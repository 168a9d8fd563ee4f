"""Decides to whom `run` passes a signal on. Pure: no system calls."""

from __future__ import annotations

import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..platform.base import Arrival

NOBODY = "nobody"
COMMAND = "command"
GROUP = "group"

FROM_THE_TERMINAL = frozenset(
    (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGHUP, signal.SIGCONT, signal.SIGWINCH)
)
"""Signals that the terminal sends to each process of its foreground group."""

HANDLED_HERE = frozenset((signal.SIGTTIN, signal.SIGTTOU))
"""Signals of the terminal to a background group that reads or writes. `run` handles them."""

CAUSED_BY_RUN = frozenset((signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTSTP))
"""Signals that `run` causes itself: it writes a line that nobody reads, or suspends its own job."""

NOT_PASSED_ON = frozenset((signal.SIGCHLD, signal.SIGKILL, signal.SIGSTOP))
"""Signals that are never passed on: SIGCHLD is for `run`, and the others reach no handler."""

BLOCKED_SIGNALS = frozenset(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
"""Every signal that can be blocked, real-time signals included. SIGSEGV and similar signals are
passed on too: Linux kills a process for a fault of its own although it has blocked the signal
(`force_sig_info_to_task`). So such a signal comes from another process: systemd sends SIGABRT to a
service that hangs."""


def route(arrival: Arrival, me: int, in_foreground: bool, resumable: bool, resuming: bool) -> str:
    """To whom a signal is passed on: `COMMAND`, its whole `GROUP`, or `NOBODY`.

    Args:
        arrival: the signal, and who has sent it.
        me: our own pid.
        in_foreground: whether our group has the terminal. Used only if the system does not tell
            whether the kernel has sent the signal.
        resumable: whether a shell could continue a job that a key has suspended.
        resuming: whether our job has been suspended, so that SIGCONT comes from `fg` or `bg`.
    """
    signum = arrival.signum
    if signum in NOT_PASSED_ON or (signum in CAUSED_BY_RUN and arrival.sender == me):
        return NOBODY
    if arrival.from_kernel is None and signum in (signal.SIGPIPE, signal.SIGXFSZ):
        return NOBODY  # perhaps caused by `run`: better lost than the command killed
    if signum == signal.SIGCONT and resuming:
        return GROUP
    by_terminal = in_foreground if arrival.from_kernel is None else arrival.from_kernel
    if not by_terminal:
        return COMMAND
    if signum in HANDLED_HERE:
        return NOBODY
    if signum == signal.SIGTSTP and not resumable:
        # The kernel does the same with an orphaned process group (setpgid(2)).
        return NOBODY
    return GROUP if signum in FROM_THE_TERMINAL else COMMAND
