"""The requests in flight of a server's workers: asked for, and as text.

For the command `requests`, and for the Inspector's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ..model.questions import EVERY_REQUEST
from ..untrusted import printable
from .control import ask_for_stack
from .server import Member, Server

MOST_FRAMES = 20
"""Maximum number of lines of one chain that the text shows. JSON has all of them."""


def ask_each(server: Server, workers: Iterable[Member]) -> list[dict[str, Any]]:
    """Ask for the requests in flight of some workers, one after the other.

    Returns:
        The answer of each. Its `error` says why the worker has not answered, or is empty.
    """
    return [_ask(server, worker) for worker in workers]


def _ask(server: Server, worker: Member) -> dict[str, Any]:
    found: dict[str, Any] = {"app": server.app, "main": server.main[0], "worker": worker.name}
    found.update(pid=worker.identity[0], error="", how="", count=0, requests=[])
    pid = str(worker.identity[0])
    try:
        text = ask_for_stack(server.directory, server.run, pid, EVERY_REQUEST)
    except (OSError, LookupError) as error:
        return {**found, "error": str(error)}
    try:
        return {**found, **json.loads(text)}
    except (ValueError, TypeError):
        return {**found, "error": "its answer is incomplete"}


def text_of(answers: Iterable[Mapping[str, Any]]) -> str:
    """The answers as text: each worker with its requests, and the lines in which they wait."""
    return "\n\n".join("\n".join(map(printable, _lines(answer))) for answer in answers)


def _lines(answer: Mapping[str, Any]) -> list[str]:
    head = f"{answer['worker']} [{answer['pid']}] of {answer['app']}"
    if answer["error"]:
        return [f"{head}: {answer['error']}"]
    count = answer["count"]
    noun = f"{count or 'no'} request{'' if count == 1 else 's'}"
    lines = [f"{head}: {noun} in flight; {answer['how']}"]
    for request in answer["requests"]:
        lines += ["", *_of(request)]
    left = count - len(answer["requests"])
    return [*lines, "", f"({left} more, for which there was no time or no room)"] if left else lines


def _of(request: Mapping[str, Any]) -> list[str]:
    stage = "runs now" if request["runs"] else request["stage"]
    what = f"{_duration(request['seconds'])}, {request['connection']}, {stage}"
    return [
        f"{request['method']} {request['path'] or request['route']}  {what}",
        f"  route {request['route'] or '(none)'}, id {request['id']}",
        *(
            f'  File "{file}", line {line} in {name}'
            for file, line, name in request["frames"][:MOST_FRAMES]
        ),
    ]


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10.0 else f"{seconds:.0f} s"
