"""Where the Reaper's lines go: through Sanic's own logger, with a prefix.

A logger of our own was rejected: `sanic.reaper` has no handler, and `sanic.root.reaper` makes
sanic-ext's background Logger fail, which knows the configured names only.

A line has names in it that other processes have chosen, and words of their errors. So what a
terminal would obey is escaped in each line as a whole.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from sanic.log import logger as _logger

from .untrusted import printable_lines


class _Line(str):
    """The text of a record: `logging` formats it with `%`, and we make the result printable.

    Doing it here leaves `record.args` as they are, for whoever groups or filters by them, and adds
    no frame of ours to those among which `logging` looks for the caller.
    """

    def __mod__(self, arguments: Any) -> str:
        return printable_lines(super().__mod__(arguments))

    def __str__(self) -> str:
        return _Line(printable_lines(super().__str__()))


class _Prefix(logging.LoggerAdapter):  # type: ignore[type-arg]  # generic at runtime from 3.11
    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        return _Line(f"[reaper] {msg}"), kwargs


log = _Prefix(_logger, {})

LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40}
"""The levels by name, for lines that another process has worded."""
