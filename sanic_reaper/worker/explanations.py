"""Why a worker does not start, or is slow to: the words of the log.

A worker loads this only when it has something to explain.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable, Sequence
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, TypeAlias

from .handlers import Place, StartupTimeout

if TYPE_CHECKING:
    from .handler_runner import Record

BLOCKING = "blocking the event loop"
AWAITING = "awaiting"
BESIDE = "in the background"
EXITED = "has exited"
"""Of a worker that was asked where it is, and is gone: there is nothing to explain any more."""


def advice(event: str = "before_server_start") -> str:
    """What to do with a handler that takes too long for its event."""
    where = " on a before_server_start handler" if event == "after_server_start" else ""
    return (
        f"let the worker serve meanwhile: @background{where}; or give the event loop room: "
        "await asyncio.to_thread(...)"
    )


Frame: TypeAlias = "tuple[str, int, str]"
"""A line that something sits in: file, line, function."""


def explain(
    error: BaseException,
    what: str,
    place: Place,
    seconds: float,
    frames: Sequence[Frame] = (),
    event: str = "before_server_start",
) -> str:
    """The lines that tell what has become of a handler, where it sat, and what to do about it.

    Args:
        event: of the handler.
        frames: where it sat, innermost first, if the error itself does not tell.
    """
    timeout = _timeout_in(error)
    if timeout is not None:
        found = _frames(traceback.walk_tb(timeout.__traceback__))
        beside = timeout.source.startswith("@background")
        text = report(
            f"{what} took longer than {timeout.limit:g} s",
            place,
            seconds,
            BESIDE if beside else BLOCKING if timeout.blocked else AWAITING,
            found[::-1] or frames,
            f"a larger limit ({timeout.source})" + ("" if beside else f"; or {advice(event)}"),
        )
        return text if timeout is error else f"{text}\n    it raised {error!r} then"
    placed = f"{what} ({place.file}:{place.line})"
    return _as_raised(error, placed, f" after {seconds:.2f} s", place.file)


def explain_start(error: BaseException, records: Iterable[Record]) -> str:
    """The lines that tell why a start has failed.

    Args:
        error: what the start has raised. If that came from no handler, its traceback is shown.
        records: the handlers that have ended.
    """
    for record in records:
        if record.error is error:
            what = f"its {record.event} handler {record.name}"
            return explain(error, what, Place(*record[:3]), record.seconds, event=record.event)
    return _as_raised(error, "the start of the app")


def _as_raised(error: BaseException, what: str, after: str = "", home: str | None = None) -> str:
    if isinstance(error, SystemExit):
        return f"{what} called sys.exit({error.code!r})"
    lines = traceback.format_exception(type(error), error, _from_user_code(error, home))
    return f"{what} failed{after}\n" + "".join(lines).rstrip()


def _timeout_in(error: BaseException | None) -> StartupTimeout | None:
    """The timeout that an error is, or was made from: a client library wraps what it gets."""
    for _ in range(100):
        if error is None or isinstance(error, StartupTimeout):
            return error
        error = error.__cause__ or error.__context__
    return None


def report(
    what: str,
    place: Place | None,
    seconds: float,
    how: str,
    frames: Sequence[Frame],
    remedy: str,
) -> str:
    """What has failed, is slow or hangs, in a few lines: what, who, where exactly; what to do.

    Args:
        frames: of the thread or the coroutine, innermost first.
    """
    lines = [what]
    if place is not None:
        lines.append(f"    handler  {place}, for {seconds:.2f} s, {how}")
    sits = innermost(frames, place)
    if sits is not None:
        lines.append(f"    sits in  {sits[0]}:{sits[1]} in {sits[2]}{_source(sits[0], sits[1])}")
    lines.append(f"    remedy   {remedy}")
    return "\n".join(lines)


def innermost(frames: Sequence[Frame], place: Place | None) -> Frame | None:
    """The first frame of the user's own code; where there is none, of anybody's but ours."""
    home = place.file if place is not None else None
    for frame in frames:
        if frame[0] == home or is_user_code(frame[0]):
            return frame
    return next((frame for frame in frames if not is_ours(frame[0])), None)


def _source(file: str, line: int) -> str:
    import linecache

    text = linecache.getline(file, line).strip()
    return f":  {text}" if text else ""


def _from_user_code(error: BaseException, home: str | None) -> TracebackType | None:
    """The traceback from the handler on: nobody needs to read how Sanic came to call it."""
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file == home or is_user_code(file):
            return trace
        trace = trace.tb_next
    return error.__traceback__


def frames_of_thread(ident: int | None) -> list[Frame]:
    """Where a thread of this process is, innermost first."""
    frame = sys._current_frames().get(ident or 0)
    return [] if frame is None else _frames(traceback.walk_stack(frame))


def _frames(walk: Iterable[tuple[FrameType, int]]) -> list[Frame]:
    return [(frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in walk]


_LIBRARIES = tuple(
    {path for path in (sys.prefix, sys.base_prefix, sys.exec_prefix) if path not in ("", "/")}
)


def is_user_code(file: str) -> bool:
    """Whether a file is of the user's own: not the standard library, nor anything installed."""
    if file.startswith("<") or "/site-packages/" in file or "/dist-packages/" in file:
        return False
    return not any(file.startswith(f"{path}/lib") for path in _LIBRARIES) and not is_ours(file)


def is_ours(file: str) -> bool:
    return file.startswith(PACKAGE) and not file.startswith(PACKAGE + "examples/")


PACKAGE = __file__.rsplit("/", 2)[0] + "/"
