"""Whom a signal is for that has come for `run`. Pure: where it comes from in, an address out."""

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
"""What the terminal sends to each process of the group in its foreground."""

TAKEN_UP_HERE = frozenset((signal.SIGTTIN, signal.SIGTTOU))
"""What it sends to a group in its background that reads or writes."""

SELF_INFLICTED = frozenset((signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTSTP))
"""What `run` itself gets for a line that nobody reads, or when it suspends its own job."""

KEPT = frozenset((signal.SIGCHLD, signal.SIGKILL, signal.SIGSTOP))
"""The first is for `run`; the others reach it without being asked for."""

TAKEN = frozenset(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
"""Every signal that can be blocked, the real-time ones included. That holds for SIGSEGV and its
like too: Linux ends a process whose own fault it is all the same (`force_sig_info_to_task`), so
what comes in here has been sent by somebody, as systemd sends SIGABRT to a service that hangs."""


def route(arrival: Arrival, me: int, in_foreground: bool, resumable: bool, resuming: bool) -> str:
    """Whom a signal is passed on to: the command alone, its whole group, or nobody.

    Args:
        me: our own pid.
        in_foreground: whether our group has the terminal. Asked of where nobody tells whether the
            kernel has sent a signal.
        resumable: whether somebody could continue a job that a key has suspended.
        resuming: whether our job has been suspended, and a SIGCONT is that of `fg` or `bg`.
    """
    signum = arrival.signum
    if signum in KEPT or (signum in SELF_INFLICTED and arrival.sender == me):
        return NOBODY
    if arrival.from_kernel is None and signum in (signal.SIGPIPE, signal.SIGXFSZ):
        return NOBODY  # ours, or somebody's: rather lost than the command killed for our line
    if signum == signal.SIGCONT and resuming:
        return GROUP
    by_terminal = in_foreground if arrival.from_kernel is None else arrival.from_kernel
    if not by_terminal:
        return COMMAND
    if signum in TAKEN_UP_HERE:
        return NOBODY
    if signum == signal.SIGTSTP and not resumable:
        # As the kernel itself does with a group that nobody would continue (setpgid(2), orphaned).
        return NOBODY
    return GROUP if signum in FROM_THE_TERMINAL else COMMAND
