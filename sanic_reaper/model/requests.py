"""Requests in flight and tasks, as the main process knows them, and the words for them. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..untrusted import printable
from .questions import CLOSED
from .stacks import Frame

MOST_LOST = 10
"""Maximum number of lost requests that one kill logs, each in a line."""


MOST_TEXT = 3_000_000
"""Maximum length of an answer, in characters: some 5,000 requests. The reader takes no more than
`state.control.LONGEST_ANSWER`."""


class Request(NamedTuple):
    """A request in flight.

    Attributes:
        method: such as `GET`.
        path: without the query string. "": it is not shown (`REAPER_REQUEST_PATHS`).
        route: the name of its route. "": it has none yet.
        id: its id, as `request.id` has it.
        stage: `handler`, `response`, `error handler`, or `after the response`.
        seconds: seconds since its handler, or a middleware before that, began.
        connection: `HTTP`, `streaming`, `WebSocket`, or `closed`: the client has gone.
        runs: whether the event loop runs it in this moment. Otherwise it waits.
        frames: the lines in which it waits or runs, innermost first, down to its handler.
    """

    method: str
    path: str
    route: str
    id: str
    stage: str
    seconds: float
    connection: str
    runs: bool
    frames: list[Frame]

    @classmethod
    def of(cls, fields: Sequence[Any]) -> Request:
        """The request of a message, whose fields have their types.

        Its texts are escaped: a client chooses its id, and Sanic accepts line breaks there.
        """
        texts = [printable(one) if isinstance(one, str) else one for one in fields[:-1]]
        frames = [(file, line, name) for file, line, name in fields[-1]]
        return cls._make([*texts, frames])

    @property
    def title(self) -> str:
        """Method and path, or else the route: `GET /export`."""
        what = self.path or self.route or "(no route)"
        return f"{self.method} {what}"


class Task(NamedTuple):
    """A task of an event loop.

    Attributes:
        name: as `Task.get_name` has it.
        coroutine: name of its coroutine function.
        runs: whether it runs in this moment.
        frames: the lines in which it waits or runs, innermost first.
    """

    name: str
    coroutine: str
    runs: bool
    frames: list[Frame]


class InFlight(NamedTuple):
    """What a worker has answered of its requests.

    Attributes:
        total: number of requests in flight.
        requests: those that it has described: the one that runs, and the oldest.
    """

    total: int = 0
    requests: Sequence[Request] = ()

    @property
    def running(self) -> Request | None:
        """The request that the event loop runs. `None`: it runs none."""
        return next((request for request in self.requests if request.runs), None)


def counted(number: int) -> str:
    """A number of requests: `1 request`, `2 requests`."""
    return f"{number} request{'' if number == 1 else 's'}"


def lost(in_flight: InFlight, waits: Callable[[Request], str]) -> list[str]:
    """The lines on the requests that a killed worker has lost, `MOST_LOST` at most and one more.

    Args:
        in_flight: what the worker had in flight when it was asked last.
        waits: says what a request does, and in which line: `awaits db.py:40 in fetch`.
    """
    if in_flight.total and not in_flight.requests:
        return [f"lost: {counted(in_flight.total)}, which the worker could not describe"]
    lines = [
        f"lost: {request.title} ({request.seconds:.0f} s), {waits(request)}"
        for request in in_flight.requests[:MOST_LOST]
    ]
    more = in_flight.total - len(lines)
    return [*lines, f"lost: {more} more"] if more > 0 else lines


def waiting_for(in_flight: Sequence[InFlight]) -> str:
    """What a stop waits for: `waits for 3 requests, the oldest GET /export, 41 s`. "": nothing.

    Args:
        in_flight: the answer of each worker that still lives.
    """
    known = [request for one in in_flight for request in one.requests]
    waited = [request for request in known if request.connection != CLOSED]
    count = sum(one.total for one in in_flight) - len(known) + len(waited)
    if not count:
        return ""
    if not waited:
        return f"waits for {counted(count)}"
    oldest = max(waited, key=lambda request: request.seconds)
    which = f"the oldest {oldest.title}" if count > 1 else oldest.title
    return f"waits for {counted(count)}, {which}, {oldest.seconds:.0f} s"


def of_requests(how: str, in_flight: InFlight) -> str:
    """The answer to a client of the control socket, as JSON.

    Args:
        how: what the worker does, in words.
        in_flight: what it has answered. The oldest requests are in the answer, as far as there is
            room.
    """
    found, room = [], MOST_TEXT
    for request in in_flight.requests:
        text = json.dumps(request._asdict())
        room -= len(text)
        if room < 0:
            break
        found.append(text)
    head = json.dumps({"how": how, "count": in_flight.total})
    return f'{head[:-1]}, "requests": [{", ".join(found)}]}}'


def of_no_answer(how: str, last: int) -> str:
    """The answer if a worker could not tell its requests, as JSON: `unknown` says why.

    Args:
        how: what the worker does, in words.
        last: number of requests in flight at its last heartbeat. 0 if there was none.
    """
    error = f"its requests are not known: it is {how}; `sanic-reaper dump` shows its stacks"
    if how.startswith("and "):
        error = f"its requests are not known: it {how.removeprefix('and ')}"
    if last:
        error += f" ({counted(last)} in flight at its last heartbeat)"
    return json.dumps({"how": how, "unknown": error, "count": last, "requests": []})


def of_tasks(tasks: Sequence[Task]) -> list[str]:
    """The lines on the tasks of an event loop, each followed by its chain, innermost first."""
    lines = ["", f"{len(tasks)} task{'' if len(tasks) == 1 else 's'} in its event loop"]
    for task in tasks:
        what = printable(f"{task.name}: {task.coroutine}")
        lines += ["", f"{what}, {'runs' if task.runs else 'awaits'}"]
        lines += [f'  File "{file}", line {line} in {name}' for file, line, name in task.frames]
    return lines
