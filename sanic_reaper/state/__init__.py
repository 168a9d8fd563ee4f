"""The files of a run in its user's directory: their names, and the format of their records.

======================  ===========================================================================
`RUN.state`             written by main: the server, its processes, its events. Replaced as a whole
`RUN.beat`              written by main: when its loop last turned, in monotonic seconds
`RUN.kin`               written by the watchdog: the descendants of the server that scans have shown
`RUN.end`               written by the watchdog after main's death: what it did, one line for each
`RUN.socket`            the socket on which main answers questions
`RUN.stack`             written by `faulthandler` in main: the stacks that a signal has asked for
======================  ===========================================================================

`RUN` is the id of the run. A line is a record: its kind, and then its fields as `key=value`, with
tabs between them. JSON was the alternative, and costs a megabyte more in the watchdog. Moments are
in seconds on the monotonic clock, which all processes of a machine share and which cannot be set.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

VERSION = 1
"""Version of the format. A reader leaves files of another version alone, and says so."""

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
    """One record as a line of a file.

    Args:
        kind: what the record is about: `server`, `process`, `event`.
        fields: its fields. A field that is `None` is left out.
    """
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
    """The bytes of a text, also of one that UTF-8 can't encode."""
    return text.encode("utf-8", "backslashreplace")


def parse(content: bytes) -> list[tuple[str, Fields]]:
    """The records of a file, each with its kind and its fields.

    A last line without a line end is left out: its writer has not finished it.
    """
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
    """The id of the machine's boot. Pids and creation times of another boot mean nothing."""
    return _text_of("/proc/sys/kernel/random/boot_id")


def namespace(pid: int | str = "self") -> str:
    """The PID namespace of a process, outside of which its pid means nothing. "": unknown."""
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
