"""Writes lines to standard error, for processes without Sanic and without `logging`."""

from __future__ import annotations

import os
import select
import time

from .untrusted import printable

__all__ = ["log", "printable", "write"]


def log(level: str, text: str) -> None:
    """Write one line in the format of Sanic's log.

    Args:
        level: name of the level, such as `WARNING`.
        text: the message.
    """
    moment = time.strftime("%Y-%m-%d %H:%M:%S +0000", time.gmtime())
    write(f"[{moment}] [{os.getpid()}] [{level}] [reaper] {printable(text)}")


def write(line: str) -> None:
    """Write one line, or drop it if the pipe is full: its reader must not keep a process alive."""
    try:
        stderr = select.poll()
        stderr.register(2, select.POLLOUT)
        if stderr.poll(0):
            os.write(2, f"{line}\n".encode("utf-8", "backslashreplace"))
    except OSError:
        pass
