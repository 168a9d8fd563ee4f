"""The reports of the log on a handler that fails or is slow, and on an event loop that is blocked.

A worker loads this module only when it has something to report.
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
"""The answer of a worker that has exited since it was asked for its stack."""


def advice(event: str = "before_server_start") -> str:
    """What to do about a handler that takes too long.

    Args:
        event: the event of the handler.
    """
    where = " on a before_server_start handler" if event == "after_server_start" else ""
    return (
        f"let the worker serve meanwhile: @background{where}; or give the event loop room: "
        "await asyncio.to_thread(...)"
    )


Frame: TypeAlias = "tuple[str, int, str]"
"""A line that a thread or a coroutine has come to: file, line, function."""


def explain(
    error: BaseException,
    what: str,
    place: Place,
    seconds: float,
    frames: Sequence[Frame] = (),
    event: str = "before_server_start",
) -> str:
    """The report on a handler that has failed: why, in which line, and what to do about it.

    Args:
        error: what the handler has raised.
        what: how the report calls the handler.
        place: name and line of the handler.
        seconds: seconds that the handler has run.
        frames: where the handler was, innermost first, if the error has no traceback.
        event: the event of the handler.
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
    """The report on a start that has failed.

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
    """The timeout in a chain of errors, if there is one. Client libraries wrap what is raised."""
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
    request: str = "",
) -> str:
    """The report on something that has failed, is slow or hangs.

    Args:
        what: the first line.
        place: name and line of the handler. `None`: no handler is known.
        seconds: seconds that the handler has run.
        how: what it does, such as `BLOCKING`.
        frames: the frames of the thread or the coroutine, innermost first.
        remedy: what to do about it.
        request: the request that is answered. "": none.
    """
    lines = [what]
    if request:
        lines.append(f"    request  {request}")
    if place is not None:
        lines.append(f"    handler  {place}, for {seconds:.2f} s, {how}")
    sits = innermost(frames, place)
    if sits is not None:
        lines.append(f"    sits in  {sits[0]}:{sits[1]} in {sits[2]}{source_of(sits[0], sits[1])}")
    lines.append(f"    remedy   {remedy}")
    return "\n".join(lines)


def innermost(frames: Sequence[Frame], place: Place | None) -> Frame | None:
    """The innermost frame of the user's code, or else of any code but the Reaper's.

    Args:
        frames: innermost first.
        place: the handler, whose file counts as the user's code even if it is installed.
    """
    home = place.file if place is not None else None
    for frame in frames:
        if frame[0] == home or is_user_code(frame[0]):
            return frame
    return next((frame for frame in frames if not is_ours(frame[0])), None)


def source_of(file: str, line: int) -> str:
    """The text of a line, after a colon. "": the file can't be read, or can be no file's name."""
    import linecache

    try:
        text = linecache.getline(file, line).strip()
    except ValueError:  # a null byte, or what no encoding has: user code can write to the pipe
        return ""
    return f":  {text}" if text else ""


def _from_user_code(error: BaseException, home: str | None) -> TracebackType | None:
    """The traceback from the handler on, without the frames in which Sanic called it."""
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file == home or is_user_code(file):
            return trace
        trace = trace.tb_next
    return error.__traceback__


def frames_of_thread(ident: int | None) -> list[Frame]:
    """The frames of a thread of this process, innermost first.

    Args:
        ident: the thread's `ident`.
    """
    frame = sys._current_frames().get(ident or 0)
    return [] if frame is None else _frames(traceback.walk_stack(frame))


def _frames(walk: Iterable[tuple[FrameType, int]]) -> list[Frame]:
    return [(frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in walk]


_LIBRARIES = tuple(
    {path for path in (sys.prefix, sys.base_prefix, sys.exec_prefix) if path not in ("", "/")}
)


def is_user_code(file: str) -> bool:
    """Whether a file is the user's: not of the standard library, and not installed.

    Cython names its sources without a directory of the system: `uvloop/loop.pyx`.
    """
    if file.startswith("<") or "/site-packages/" in file or "/dist-packages/" in file:
        return False
    if file.endswith((".pyx", ".pxd", ".pxi")) and not file.startswith("/"):
        return False
    return not any(file.startswith(f"{path}/lib") for path in _LIBRARIES) and not is_ours(file)


def is_ours(file: str) -> bool:
    """Whether a file belongs to the Reaper. Its examples count as the user's code."""
    return file.startswith(PACKAGE) and not file.startswith(PACKAGE + "examples/")


PACKAGE = __file__.rsplit("/", 2)[0] + "/"
"""The directory of the Reaper, with a slash at the end."""
