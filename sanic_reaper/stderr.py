"""Writes lines to standard error, for processes without Sanic and without `logging`."""

from __future__ import annotations

import os
import select
import time

from .untrusted import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["log", "printable", "write"]


def log(level: str, text: str, fields: Mapping[str, object] | None = None) -> None:
    """Write one line in the format of Sanic's log.

    Args:
        level: name of the level, such as `WARNING`.
        text: the message.
        fields: further keys of the line, a JSON object with the keys of Sanic's `JSONFormatter`.
            `None`: the line is text.
    """
    moment = time.strftime("%Y-%m-%d %H:%M:%S +0000", time.gmtime())
    if fields is None:
        write(f"[{moment}] [{os.getpid()}] [{level}] [reaper] {printable(text)}")
    else:
        line = {"timestamp": moment, "level": level, "message": f"[reaper] {text}", **fields}
        write("{" + ",".join(f'"{key}":{_value(value)}' for key, value in line.items()) + "}")


def _value(value: object) -> str:
    """A number or a text in JSON. The `json` module would cost the watchdog 120 KB."""
    if not isinstance(value, str):
        return str(value)
    escaped = printable(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def write(line: str) -> None:
    """Write one line, or drop it if the pipe is full: its reader must not keep a process alive."""
    try:
        stderr = select.poll()
        stderr.register(2, select.POLLOUT)
        if stderr.poll(0):
            os.write(2, f"{line}\n".encode("utf-8", "backslashreplace"))
    except OSError:
        pass
