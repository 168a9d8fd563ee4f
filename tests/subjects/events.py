"""How a subject tells the test what happens to it: a line of JSON each, in the file EVENTS."""

from __future__ import annotations

import json
import multiprocessing
import os
import time


def emit(event: str, **more: object) -> None:
    """Append one event; a single write, so that processes never mix their lines."""
    name = multiprocessing.current_process().name
    line = {"event": event, "pid": os.getpid(), "start": start_of("self"), "name": name, **more}
    fd = os.open(os.environ["EVENTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(fd, json.dumps({**line, "time": time.monotonic()}).encode() + b"\n")
    finally:
        os.close(fd)


def count(event: str) -> int:
    """How often this has happened so far, in whatever process."""
    with open(os.environ["EVENTS"]) as lines:
        return sum(json.loads(line)["event"] == event for line in lines)


def start_of(pid: int | str | None) -> int:
    """The creation time of a process: with it a pid names one process for good. 0: not known."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return int(stat.read().rpartition(")")[2].split()[19])
    except FileNotFoundError:
        if os.path.exists("/proc/self"):
            raise
        return 0
