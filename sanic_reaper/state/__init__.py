"""What a server leaves in its user's directory: the words of a few files.

======================  ===========================================================================
`RUN.state`             main's: the server, its processes, what has happened. Replaced as a whole
`RUN.beat`              main's: when its loop has last turned, seconds on the monotonic clock
`RUN.kin`               the watchdog's: what the workers have started, as far as it has been seen
`RUN.end`               the watchdog's, once main is gone: what it did, a line each
`RUN.socket`            where main answers questions
`RUN.stack`             what C writes when main is asked by a signal where it is itself
======================  ===========================================================================

`RUN` is the id of the run. A line is a record: its kind, and then its fields as `key=value`, with
tabs between them. JSON was the alternative: a megabyte more in the watchdog. Moments are seconds on
the monotonic clock, which all processes of a machine share and nobody can set.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

VERSION = 1
"""Of the format. Who reads another one says so, and leaves it alone."""

STATE, BEAT, KIN, END, SOCKET, STACK = ALL = (
    ".state",
    ".beat",
    ".kin",
    ".end",
    ".socket",
    ".stack",
)

Fields: TypeAlias = "dict[str, str]"


def line(kind: str, **fields: object) -> str:
    """One record. `None` leaves a field out."""
    words = [f"{key}={_escape(value)}" for key, value in fields.items() if value is not None]
    return "\t".join([kind, *words]) + "\n"


def _escape(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    parts = text.split("\\\\")
    return "\\".join(part.replace("\\t", "\t").replace("\\n", "\n") for part in parts)


def encode(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def parse(content: bytes) -> list[tuple[str, Fields]]:
    """The records of a file. A last line without an end is one that is being written."""
    records = []
    for text in content.decode("utf-8", "replace").split("\n")[:-1]:
        kind, *words = text.split("\t")
        fields = {}
        for word in words:
            key, found, value = word.partition("=")
            if found:
                fields[key] = _unescape(value)
        records.append((kind, fields))
    return records


def boot() -> str:
    """Which run of the machine this is: pids and creation times of another one mean nothing."""
    return _text_of("/proc/sys/kernel/random/boot_id")


def namespace(pid: int | str = "self") -> str:
    """In which PID namespace a process lives: its pid means something there only. "": unknown."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


def _text_of(path: str) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, 4096).decode().strip()
    finally:
        os.close(fd)
