"""The report on a request that has been in flight for longer than `REAPER_SLOW_REQUEST`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..events import Event
from ..log import log
from ..model.requests import Request
from .fields import extra_of
from .request_words import waits
from .start_reports import stack_of


def report(title: str, limit: float, emit: Callable[..., Event], *fields: Any) -> None:
    """Log the report, and emit `request.slow`.

    Args:
        title: what the log calls the worker.
        limit: `REAPER_SLOW_REQUEST`, in seconds.
        emit: emits an event of this worker.
        fields: those of the message `slow`.
    """
    request = Request.of(fields)
    text = described(limit, request)
    event = emit("request.slow", text, seconds=request.seconds)
    log.warning("%s: %s", title, text, extra=extra_of(event))


def described(limit: float, request: Request) -> str:
    """The report: which request, since when, in which line, and the lines that lead there."""
    lines = [
        f"{request.title} has been in flight for {request.seconds:.1f} s "
        f"(REAPER_SLOW_REQUEST = {limit:g} s)",
        f"    request  route {request.route or '(none)'}, id {request.id or '(none)'}, "
        f"{request.stage}, {request.connection}",
    ]
    lines.append(f"    it {waits(request, with_source=True)}")
    return "\n".join([*lines, *stack_of(request.frames)])
