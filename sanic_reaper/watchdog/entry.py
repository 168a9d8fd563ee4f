"""The watchdog process: turns a `Watch` until no process is left to watch.

The main process starts it as `python -I -S` with a command of one line (see
`main/watchdog_process.py`). It runs in a session of its own, so neither Ctrl+C, nor a hang-up of
the terminal, nor a kill of the main process's group reaches it. It depends on no other process:
when the main process has exited, the watchdog does its work and exits.
"""

from __future__ import annotations

import os
import signal

from .. import platform
from ..protocol import watchdog as wire
from ..protocol.channel import Channel
from ..stderr import log
from ..tree.process import Handle
from .progress import GONE
from .watch import Watch

NAME = "reaper-watchdog"

_DEAF = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)
"""Signals that the watchdog ignores. A service manager sends SIGTERM to every process of a service
at once, and the watchdog's work begins only then."""

_FAILURES = 5
"""Number of unexpected errors after which the watchdog exits. Main then starts another watchdog."""


def main(argv: list[str]) -> None:
    """Run the watchdog until no process is left to watch.

    Args:
        argv: pid and creation time of the main process, the channel's descriptor, the id of the
            run, and the seconds that orphaned workers may drain.
    """
    pid, start, fd, run, grace = argv
    for signum in _DEAF:
        signal.signal(signum, signal.SIG_IGN)
    try:
        platform.name_process(NAME)
    except OSError:
        pass
    main_process = Handle.open(int(pid), int(start)) or Handle(int(pid), int(start), None)
    channel = Channel(int(fd))
    platform.keep_reserve()
    watch = Watch(main_process, run, float(grace), channel, log)
    channel.send(wire.HELLO, wire.VERSION)
    failures = 0
    while watch.phase != GONE:
        try:
            watch.turn()
        except Exception as error:
            failures += 1
            watch.reporter.write("ERROR", f"watchdog: {_where(error)}: {error!r}")
            if failures >= _FAILURES:
                raise
    os._exit(0)  # nothing needs a flush, and the interpreter's own exit takes 3 ms


def _where(error: BaseException) -> str:
    """The innermost file and line of an error. The `traceback` module would cost two megabytes."""
    trace = error.__traceback__
    assert trace is not None
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
