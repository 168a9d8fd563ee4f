"""Which handlers of Sanic's log write a JSON object a line, and what that changes for the Reaper.

Whether a handler does is tried: its formatter gets a record that is written nowhere. So Sanic's
`JSONFormatter` counts, and so does that of any other package.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from sanic.log import logger

from ..log import PREFIX
from ..protocol import watchdog as wire
from ..untrusted import printable, printable_lines


def _sample() -> logging.LogRecord:
    """A record as those of the log are, made by the user's record factory if there is one."""
    return logger.makeRecord(logger.name, logging.INFO, __file__, 0, PREFIX, (), None)


def handlers() -> Iterator[logging.Handler]:
    """The handlers that get the lines of Sanic's log."""
    found: logging.Logger | None = logger
    while found is not None:
        yield from found.handlers
        found = found.parent if found.propagate else None


def writes_json(handler: logging.Handler) -> bool:
    """Whether a handler writes a JSON object a line."""
    if handler.formatter is None:
        return False
    try:
        line = handler.formatter.format(_sample())
        return isinstance(json.loads(line), dict)
    except Exception:  # no JSON; or the user's formatter fails, as it will for each line
        return False


def of_log() -> str:
    """The format of the log, one of `protocol.watchdog.FORMATS`.

    Where some handlers write to the console, the others do not count. The watchdog writes to
    standard error too.
    """
    found = [*handlers()]
    console = [handler for handler in found if _writes_to_console(handler)]
    return wire.JSON if any(map(writes_json, console or found)) else wire.TEXT


def _writes_to_console(handler: logging.Handler) -> bool:
    stream = getattr(handler, "stream", None)
    console = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    return stream is not None and any(stream is one for one in console)


def extra(fields: Mapping[str, object] | None) -> dict[str, object] | None:
    """What a line of the log gets as `extra`. `None`: nothing, because its text would change.

    Sanic's text formatters add a line for each extra key, in debug mode and with `LOG_EXTRA`.

    Args:
        fields: the fields of the line. `None`: it has none.
    """
    if fields is None:
        return None
    found = [*handlers()]
    adds_lines = any(getattr(handler.formatter, "LOG_EXTRA", False) for handler in found)
    if adds_lines and not any(map(writes_json, found)):
        return None
    return _extra(fields)


def _extra(fields: Mapping[str, object]) -> dict[str, object]:
    """The fields as `extra`. One whose name is taken has `reaper_` in front.

    `logging` raises KeyError for an extra that a record has already, and a record factory of the
    user's can give each record a `pid` or a `worker`.
    """
    taken: Iterable[str] = ()
    with suppress(Exception):  # a factory that fails does so for each line of the log
        taken = vars(_sample())
    found = {f"reaper_{name}" if name in taken else name: fields[name] for name in fields}
    return {
        name: printable(value) if isinstance(value, str) else value
        for name, value in found.items()
        if name not in taken
    }


def write_json(level: int, text: str, fields: Mapping[str, object]) -> None:
    """Write a line to the handlers that write JSON, and to no other one. An error drops the line.

    Args:
        level: level of the line, as `logging` has it.
        text: the line.
        fields: its fields.
    """
    with suppress(Exception):
        if not logger.isEnabledFor(level):
            return
        found = [one for one in handlers() if level >= one.level and writes_json(one)]
        if not found:
            return
        message, more = printable_lines(f"{PREFIX} {text}"), _extra(fields)
        record = logger.makeRecord(logger.name, level, __file__, 0, message, (), None, extra=more)
        if logger.filter(record):
            for handler in found:
                handler.handle(record)
