"""Why a process has ended, in plain words. Pure."""

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


def cause(exitcode: int | None, oom_kills: int | None = None, by_us: str | None = None) -> str:
    """What has ended a process.

    Args:
        exitcode: as `multiprocessing` gives it: negative where a signal has ended it. `None`: the
            process has ended, and nobody knows how.
        oom_kills: how many more processes of this cgroup the kernel's OOM killer has ended since
            the last death. `None`: not known.
        by_us: why the watchdog has killed it, if it has.
    """
    if exitcode is None:
        unknown = "exit status unknown: something in main has reaped it"
        return f"killed: {by_us} ({unknown})" if by_us is not None else unknown
    if exitcode >= 0:
        return f"exit code {exitcode}"
    name = _name(-exitcode)
    if by_us is not None:
        return f"killed by {name}: {by_us}"
    if name == "SIGKILL":
        if oom_kills:
            return "killed by SIGKILL, by the kernel's OOM killer (its cgroup counts one more)"
        hint = "but its cgroup counts none" if oom_kills == 0 else "see the kernel's log"
        return f"killed by SIGKILL, perhaps by the kernel's OOM killer ({hint})"
    meaning = _MEANINGS.get(name)
    return f"killed by {name}" + (f": {meaning}" if meaning else "")


def _name(signum: int) -> str:
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"signal {signum}"
