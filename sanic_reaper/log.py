"""The Reaper's log: Sanic's own logger, with a prefix.

A logger of its own was rejected: `sanic.reaper` has no handler, and `sanic.root.reaper` breaks
sanic-ext's background Logger, which accepts only the configured names.

Lines contain names and error texts that other processes chose. So each line is escaped as a whole.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from sanic.log import logger as _logger

from .untrusted import printable_lines

PREFIX = "[reaper]"
"""The first word of each line."""


class _Line(str):
    """The text of a log record, which escapes itself when `logging` formats it with `%`.

    This leaves `record.args` unchanged, for tools that group or filter by them, and adds no frame
    to the stack in which `logging` looks for the caller.
    """

    def __mod__(self, arguments: Any) -> str:
        return printable_lines(super().__mod__(arguments))

    def __str__(self) -> str:
        return _Line(printable_lines(super().__str__()))


class _Prefix(logging.LoggerAdapter):  # type: ignore[type-arg]  # generic at runtime from 3.11
    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        return _Line(f"{PREFIX} {msg}"), kwargs


log = _Prefix(_logger, {})

LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40}
"""The levels by name, for lines that another process has worded."""
