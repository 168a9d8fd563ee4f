"""The log lines about a worker's start: where the time went, and what a stop has cancelled."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..compat import sanic_app
from ..log import log
from .finishing import CANCEL_GRACE
from .handlers import Place
from .stepping import BLOCKED

if TYPE_CHECKING:
    from .handler_runner import Record
    from .startup import Startup


def worker() -> tuple[str, int]:
    """Name and pid of this worker. A process without a main process is called `server`."""
    return sanic_app.worker_name() or "server", os.getpid()


def log_up(start: Startup, moment: float, extensions: float) -> None:
    """Log where the time of a start went.

    Args:
        moment: monotonic time at which the start was complete.
        extensions: seconds that listeners of Sanic Extensions took.
    """
    assert start.imported is not None
    parts = time_parts(
        start.records,
        start.primary.name if start.primary is not None else None,
        # Without a main process nobody knows when the import began.
        start.imported - start.began if start.is_supervised else None,
        moment - start.imported,
        extensions,
    )
    level = logging.INFO if start.is_supervised else logging.DEBUG
    total = moment - start.began
    log.log(level, "%s [%d] is up after %.2f s: %s", *worker(), total, ", ".join(parts))


def log_cancelled(start: Startup, is_over: bool, error: BaseException | None) -> None:
    """Log what a stop has cancelled.

    Args:
        is_over: whether the `after_server_start` listeners have ended.
        error: what they have raised.
    """
    if not is_over:
        places = ", ".join(str(run.place) for run in start.running)
        log.warning(
            "%s [%d] stops before its start is complete, and does not wait any longer for handlers "
            "that still run %g s after they were cancelled: %s",
            *(*worker(), CANCEL_GRACE, places),
        )
    elif isinstance(error, asyncio.CancelledError):
        places = ", ".join(
            f"{Place(*one[:3])}, after {one.seconds:.2f} s"
            for one in start.records
            if one.error is error
        )
        log.info(
            "%s [%d] stops before its start is complete; cancelled: %s",
            *(*worker(), places or "its after_server_start listeners"),
        )
    elif error is not None:
        from .explanations import explain_start

        log.warning("%s", explain_start(error, start.records))


def time_parts(
    records: Sequence[Record],
    primary: str | None,
    imported: float | None,
    rest: float,
    extensions: float,
) -> list[str]:
    """The parts of a start with their seconds, which add up to the whole.

    Args:
        records: the handlers that have run.
        primary: name of the primary app. Only its handlers are subtracted from `rest`, because
            those of secondary apps run at the same time.
        imported: seconds that the import took. `None`: not known.
        rest: seconds since the import.
        extensions: seconds of `rest` that listeners of Sanic Extensions took.
    """
    parts = [] if imported is None else [f"import {imported:.2f} s"]
    places = {Place(*record[:3]) for record in records}
    names = [place.name for place in places]
    for record in records:
        note = " (blocked the event loop)" if record.blocked > BLOCKED else ""
        if primary is not None and record.app == primary:
            rest -= record.seconds
        else:
            note = f" (of {record.app}){note}"
        at = f" ({os.path.basename(record.file)}:{record.line})"
        called = record.name + (at if names.count(record.name) > 1 else "")
        parts.append(f"{called} {record.seconds:.2f} s{note}")
    if extensions >= 0.005:
        rest -= extensions
        parts.append(f"extensions {extensions:.2f} s")
    parts.append(f"Sanic {max(rest, 0.0):.2f} s")
    return parts
