"""The requests in flight of a server's workers: asked for, and as text.

For the command `requests`, and for the Inspector's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..model.questions import EVERY_REQUEST
from ..untrusted import printable
from .control import ask_for_stack
from .server import Member, Server

MOST_FRAMES = 20
"""Maximum number of lines of one chain that the text shows. JSON has all of them."""


_ANSWER = {"how": str, "count": int, "requests": list}
_REQUEST = {
    **dict.fromkeys(("method", "path", "route", "id", "stage"), str),
    "seconds": float,
    "connection": str,
    "runs": bool,
    "frames": list,
}
_FRAME = (str, int, str)


def ask_each(server: Server, workers: Iterable[Member]) -> Iterator[dict[str, Any]]:
    """Ask for the requests in flight of some workers, one after the other.

    A main process that does not answer in time is asked once: the next worker would take as long.

    Yields:
        The answer of each. Its `error` says why the worker has not answered, or is empty.
    """
    silent: TimeoutError | None = None
    for worker in workers:
        found: dict[str, Any] = {"app": server.app, "main": server.main[0], "worker": worker.name}
        found.update(pid=worker.identity[0], error="", how="", count=0, requests=[])
        try:
            found.update(_ask(server, worker, silent))
        except TimeoutError as error:
            found["error"], silent = str(error), error
        except (OSError, LookupError) as error:
            found["error"] = str(error)
        yield found


def _ask(server: Server, worker: Member, silent: TimeoutError | None) -> dict[str, Any]:
    if silent is not None:
        raise silent
    pid = str(worker.identity[0])
    text = ask_for_stack(server.directory, server.run, pid, EVERY_REQUEST)
    try:
        return _read(json.loads(text))
    except (ValueError, RecursionError):
        return {"error": "its answer is incomplete"}


def _read(content: object) -> dict[str, Any]:
    """The fields of an answer. If root asks, any user's program can have made it.

    Raises:
        ValueError: a field is not there, or is of another type.
    """
    answer = _of_types(content, _ANSWER)
    if isinstance(content, dict) and isinstance(why := content.get("unknown"), str):
        answer["error"] = why
    answer["requests"] = [_of_types(request, _REQUEST) for request in answer["requests"]]
    frames = (frame for request in answer["requests"] for frame in request["frames"])
    if not all(isinstance(frame, list) and (*map(type, frame),) == _FRAME for frame in frames):
        raise ValueError("a frame is a file, a line and a function")
    return answer


def _of_types(content: object, types: Mapping[str, type]) -> dict[str, Any]:
    if not isinstance(content, dict) or any(
        type(content.get(name)) is not kind for name, kind in types.items()
    ):
        raise ValueError("a field is not there, or is of another type")
    return {name: content[name] for name in types}


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
    more = ["", f"({left} more, for which there was no time or no room)"] if left > 0 else []
    return [*lines, *more]


def _of(request: Mapping[str, Any]) -> list[str]:
    stage = "runs now" if request["runs"] else request["stage"]
    what = f"{_duration(request['seconds'])}, {request['connection']}, {stage}"
    return [
        f"{request['method']} {request['path'] or request['route'] or '(no route)'}  {what}",
        f"  route {request['route'] or '(none)'}, id {request['id'] or '(none)'}",
        *(
            f'  File "{file}", line {line} in {name}'
            for file, line, name in request["frames"][:MOST_FRAMES]
        ),
    ]


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10.0 else f"{seconds:.0f} s"
