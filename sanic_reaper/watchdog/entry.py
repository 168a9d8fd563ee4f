"""The watchdog process: a `Watch`, turned until nothing is left to watch.

The main process starts it as `python -I -S` with a command of one line (see
`main/watchdog_process.py`). It runs in a session of its own, so neither Ctrl+C, nor a hang-up of
the terminal, nor a kill of the main process's group reaches it. It needs nothing from anybody: when
the main process has exited, the watchdog does its work and exits.
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
"""A service manager sends SIGTERM to every process of a service at once. The watchdog's work begins
then; it must not be the first to go."""

_FAILURES = 5
"""Unforeseen errors after which the watchdog gives up. Main then starts another one."""


def main(argv: list[str]) -> None:
    """`argv`: main's pid and creation time, the channel's descriptor, the run's id, the grace."""
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
            log("ERROR", f"watchdog: {_where(error)}: {error!r}")
            if failures >= _FAILURES:
                raise
    os._exit(0)  # nothing is to be flushed, and the interpreter would take 3 ms to take itself down


def _where(error: BaseException) -> str:
    """The innermost line, without the `traceback` module and its two megabytes."""
    trace = error.__traceback__
    assert trace is not None
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
