"""In debug mode: asyncio's line about a slow callback names the user's handler, not our file.

asyncio describes a task by the outermost coroutine, and around a start that one is ours.
"""

from __future__ import annotations

import logging

from .explanations import PACKAGE
from .stepping import NOWHERE, Run

OTHERS = "Sanic's part of the start, or an extension's,"
"""What has held the loop if no handler of the user's has."""


def name_them() -> None:
    """For all of this process's life. A second call changes nothing."""
    logging.getLogger("asyncio").addFilter(_name)


def _name(record: logging.LogRecord) -> bool:
    """`Executing %s took %.3f seconds`, with the handler that has just held the loop."""
    args = record.args
    if isinstance(args, tuple) and len(args) == 2 and PACKAGE in str(args[0]):
        place, Run.last_long = Run.last_long, NOWHERE  # the next line is about another one
        what = OTHERS if place is NOWHERE else f"start handler {place}"
        record.args = (what, args[1])
    return True
