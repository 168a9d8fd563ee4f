"""In debug mode: asyncio's line about a slow callback names the user's handler.

asyncio describes a task by its outermost coroutine. During a start that coroutine is the Reaper's.
"""

from __future__ import annotations

import logging

from .explanations import PACKAGE
from .stepping import NOWHERE, HandlerRun

NOT_THE_USERS = "Sanic's part of the start, or an extension's,"
"""The name in the line if no handler of the user's has blocked the event loop."""


def name_handlers() -> None:
    """Name handlers in asyncio's lines from now on. A second call changes nothing."""
    logging.getLogger("asyncio").addFilter(_name)


def _name(record: logging.LogRecord) -> bool:
    """Put the handler that blocked the loop last into `Executing %s took %.3f seconds`."""
    args = record.args
    if isinstance(args, tuple) and len(args) == 2 and PACKAGE in str(args[0]):
        place, HandlerRun.last_blocking = HandlerRun.last_blocking, NOWHERE  # once
        what = NOT_THE_USERS if place is NOWHERE else f"start handler {place}"
        record.args = (what, args[1])
    return True
