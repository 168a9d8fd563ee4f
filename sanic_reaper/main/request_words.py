"""The words for what a request in flight does, and in which line of the user's code."""

from __future__ import annotations

from ..model.questions import RECEIVING
from ..model.requests import Request
from ..worker.explanations import innermost, source_of


def waits(request: Request, with_source: bool = False) -> str:
    """What a request does, and in which line of the user's code: `awaits db.py:40 in fetch`.

    Args:
        request: the request.
        with_source: whether the text of the line follows, and the file has its directory.
    """
    if request.stage == RECEIVING:
        return "waits for the rest of its body"
    frame = innermost(request.frames, None)
    verb = "runs in" if request.runs else "awaits"
    if frame is None:
        return f"{verb} an unknown line"
    file, line, function = frame
    if with_source:
        return f"{verb} {file}:{line} in {function}{source_of(file, line)}"
    return f"{verb} {file.rpartition('/')[2]}:{line} in {function}"
