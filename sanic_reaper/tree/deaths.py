"""Words for how a process ended. Pure."""

from __future__ import annotations

import signal

_MEANINGS = {
    "SIGSEGV": "a crash in C code",
    "SIGBUS": "a crash in C code, or a file that was mapped and has been cut short",
    "SIGILL": "a crash in C code",
    "SIGFPE": "a crash in C code",
    "SIGABRT": "it has aborted itself, or was asked for its stack",
    "SIGXCPU": "its limit of CPU time",
}


def cause(exitcode: int | None, oom_kills: int | None = None, killed_for: str | None = None) -> str:
    """How a process ended, in the words of the log.

    Args:
        exitcode: its exit code; negative if a signal killed it. `None`: unknown.
        oom_kills: how many processes of this cgroup the kernel's OOM killer has killed since the
            last death. `None`: unknown.
        killed_for: why the watchdog killed the process, in the words of the log. `None`: it did
            not.
    """
    if exitcode is None:
        unknown = "exit status unknown: something in main has reaped it"
        return f"killed: {killed_for} ({unknown})" if killed_for is not None else unknown
    if exitcode >= 0:
        return f"exit code {exitcode}"
    name = name_of(-exitcode)
    if killed_for is not None:
        return f"killed by {name}: {killed_for}"
    if name == "SIGKILL":
        if oom_kills:
            return "killed by SIGKILL, by the kernel's OOM killer (its cgroup counts one more)"
        hint = "but its cgroup counts none" if oom_kills == 0 else "see the kernel's log"
        return f"killed by SIGKILL, perhaps by the kernel's OOM killer ({hint})"
    meaning = _MEANINGS.get(name)
    return f"killed by {name}" + (f": {meaning}" if meaning else "")


def name_of(signum: int) -> str:
    """The name of a signal, for the log. A number for one that has no name, as SIGRTMIN+1."""
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"signal {signum}"
