"""The fields of lines of the log: the facts of an event or of a signal, for a log of JSON objects.

A line gets its fields as `extra`, and Sanic's `JSONFormatter` writes each of them as a key. Text
formats do not show them. An event that no line of the text tells of has a line of its own where
the log is JSON, so that each event is there.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..model.kills import known
from ..tree import deaths
from . import log_format

if TYPE_CHECKING:
    from ..events import Event

FIELDS: Mapping[str, str] = {
    "reaper_event": "Name of the event, as hooks get it.",
    "worker": "Name of the worker, or of a process of `app.manager.manage`.",
    "orphan": "Name of a process that was left behind, in the process table.",
    "role": "Role of a process that is neither: `main`, `helper`, `watchdog`.",
    "pid": "Pid of the process.",
    "cause": "Why, in one word: of a death, a kill or a replacement.",
    "signal": "Name of the signal that was sent to the process, or that it has died of.",
    "evidence": "Why the process that gets the signal is the server's.",
    "exit_code": "Exit code of a process that has died, negative for a signal.",
    "seconds": "How long a worker took until it was ready, how long it has been blocked, how long "
    "a handler of its start has run, or a request has been in flight. For a signal: seconds after "
    "what the message names.",
}
"""Each field with its meaning. None of them is the name of an attribute of a `LogRecord`."""


def fields_of(event: Event) -> dict[str, object]:
    """The fields of an event. A field that is not known is absent."""
    is_orphan, code = event.name.startswith("orphan."), event.exit_code
    return known(
        reaper_event=event.name,
        worker=event.process if not is_orphan else "",
        orphan=event.process if is_orphan else "",
        pid=event.pid,
        cause=event.cause,
        signal=deaths.name_of(-code) if code is not None and code < 0 else "",
        evidence=event.reason if is_orphan else "",
        exit_code=code,
        seconds=event.seconds,
    )


def extra_of(event: Event | None) -> dict[str, object] | None:
    """What the line of the log that tells of an event gets as `extra`.

    Args:
        event: the event. `None`: the line tells of none.
    """
    return log_format.extra(fields_of(event)) if event is not None else None


def note(event: Event | None, level: int = logging.INFO) -> None:
    """Write a line about an event that no line of the text tells of, where the log is JSON."""
    if event is None:
        return
    reason = f": {event.reason}" if event.reason else ""
    text = f"{event.process} [{event.pid}]: {event.name}{reason}"
    log_format.write_json(level, text, fields_of(event))
