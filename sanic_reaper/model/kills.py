"""The words for a signal that the Reaper sends. Every such line of a log is made here, from fields.

Pure. The watchdog imports this module.
"""

from __future__ import annotations

import signal

from .roles import PROCESS, WORKER, title

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

NO_SIGNAL = 0
"""In place of a signal's number: no signal was sent, because the kernel would refuse it."""

STARTUP = "startup"
HUNG = "hung"
REPLACED = "replaced"
STOP = "stop"
FORCED = "forced"

KILLS: Mapping[str, str] = {
    STARTUP: "did not start in time",
    HUNG: "its event loop was blocked",
    REPLACED: "did not stop in time after it was replaced",
    STOP: "did not stop in time",
    FORCED: "the stop was forced",
}
"""Why the watchdog kills a process that main has started. Each cause, as messages, events and
metrics name it, with its words for the log."""

STARTED_BY_MAIN = "started by main"
"""The evidence for a process that main has started itself."""

FOREIGN = "runs as another user and may not be signalled"
"""Why no signal was sent to a process."""

MARKED = "bears this run's marker"
"""The evidence for a process that has the marker of the run in its environment."""


def name_of(signum: int) -> str:
    """The name of a signal, for the log."""
    return "no signal" if signum == NO_SIGNAL else signal.Signals(signum).name


def sentence(
    signum: int,
    role: str,
    name: str,
    pid: int,
    evidence: str,
    why: str,
    seconds: float,
    since: str,
    run: str = "",
) -> str:
    """The line of the log for one signal to one process.

    Args:
        signum: the signal that was sent, or `NO_SIGNAL`.
        role: one of `roles.ROLES`, or "" for a process that has none.
        name, pid: which process.
        evidence: why the process is the server's.
        why: what it is killed for. "": nothing but being left behind.
        seconds: how long after `since` the signal was sent.
        since: what happened then: `the stop`, `its start`.
        run: the earlier run that has left the process, if it is not one of this run.
    """
    left = f", left by {run}" if run else ""
    reason = f", {why}" if why else ""
    return (
        f"{name_of(signum)} to {title(role, name)} [{pid}]{left}: "
        f"{evidence}{reason}; {seconds:.2f} s after {since}"
    )


def fields(
    signum: int,
    role: str,
    name: str,
    pid: int,
    evidence: str,
    why: str,
    seconds: float,
    since: str,
    cause: str = "",
) -> dict[str, object]:
    """The fields of that line, for a log of JSON objects. A field that is not known is absent.

    Args:
        signum, role, name, pid, evidence, why, seconds, since: as `sentence` has them.
        cause: one of `KILLS`. "": none of them.
    """
    is_worker, is_sent = role in (WORKER, PROCESS), signum != NO_SIGNAL
    event = ""
    if is_sent and not role:
        event = "orphan.killed"
    elif is_worker and signum == signal.SIGKILL:
        event = "worker.killed"
    return known(
        reaper_event=event,
        worker=name if is_worker else "",
        orphan=name if not role else "",
        role=role if not is_worker else "",
        pid=pid,
        cause=cause,
        signal=name_of(signum) if is_sent else "",
        evidence=evidence,
        seconds=seconds,
    )


def known(**fields: object) -> dict[str, object]:
    """The fields that are known, each number of seconds to the millisecond."""
    return {
        name: round(value, 3) if isinstance(value, float) else value
        for name, value in fields.items()
        if value is not None and value != ""
    }
