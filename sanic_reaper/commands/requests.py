"""`sanic-reaper requests`: shows the requests in flight, and the line in which each waits."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from ..model.questions import EVERY_REQUEST
from ..state import control
from ..state.server import Member, Server
from . import elsewhere
from .dump import choose
from .terminal import NOTHING_FOUND, USAGE, print_json, printable, seconds

MOST_FRAMES = 20
"""Maximum number of lines of one chain that text shows. JSON has all of them."""


def main(arguments: Sequence[str]) -> int:
    """Show the requests in flight and return the exit code."""
    parser = ArgumentParser(
        prog="sanic-reaper requests",
        description="Show every request in flight: since when, and the chain of lines in which it "
        "awaits, innermost first. A blocked event loop is no obstacle.",
        epilog="exit codes: 0 each worker has answered, also if it has no request; "
        f"{NOTHING_FOUND} there is no such worker, or one could not be asked; {USAGE} several "
        "servers have a worker of that name",
    )
    parser.add_argument(
        "process",
        metavar="NAME|PID",
        nargs="?",
        help="a worker, as `sanic-reaper ps` names it; without: the workers of all servers",
    )
    parser.add_argument("--app", help="ask the server of this app")
    parser.add_argument("--json", action="store_true", help="print JSON (docs/commands.md)")
    options = parser.parse_args(arguments)
    known = elsewhere.servers()
    if options.process is None:
        servers = [one for one in known if one.lives and options.app in (None, one.app)]
        if not servers:
            print("sanic-reaper requests: no server is running", file=sys.stderr)
            elsewhere.complain_of_unseen(known, "sanic-reaper requests")
            return NOTHING_FOUND
        answers = [_answer(server, worker) for server in servers for worker in server.workers]
    else:
        server, code = choose(known, options.process, options.app, "requests")
        if server is None:
            return code
        answers = [
            _answer(server, one)
            for one in server.workers
            if options.process in (one.name, str(one.identity[0]))
        ]
    if options.json:
        print_json("requests", {"workers": answers})
    else:
        print("\n\n".join("\n".join(_lines(answer)) for answer in answers))
    return NOTHING_FOUND if any(answer["error"] for answer in answers) or not answers else 0


def _answer(server: Server, worker: Member) -> dict[str, Any]:
    """What a worker has answered. `error` says why it has not, or is empty."""
    found: dict[str, Any] = {"app": server.app, "main": server.main[0], "worker": worker.name}
    found.update(pid=worker.identity[0], error="", how="", count=0, requests=[])
    try:
        text = control.ask_for_stack(
            server.directory, server.run, str(worker.identity[0]), EVERY_REQUEST
        )
        found.update(json.loads(text))
    except (OSError, LookupError, ValueError) as error:
        found["error"] = str(error)
    return found


def _lines(answer: dict[str, Any]) -> list[str]:
    head = f"{answer['worker']} [{answer['pid']}] of {answer['app']}"
    if answer["error"]:
        return [f"{head}: {printable(answer['error'])}"]
    count = answer["count"]
    lines = [
        f"{head}: {count or 'no'} request{'' if count == 1 else 's'} in flight; {answer['how']}"
    ]
    for request in answer["requests"]:
        lines += ["", *map(printable, _of(request))]
    left = count - len(answer["requests"])
    return (
        [*lines, "", f"({left} more, which the worker had no time to describe)"] if left else lines
    )


def _of(request: dict[str, Any]) -> list[str]:
    title = f"{request['method']} {request['path'] or request['route']}"
    what = [
        seconds(request["seconds"]),
        request["connection"],
        "runs now" if request["runs"] else request["stage"],
    ]
    lines = [
        f"{title}  {', '.join(what)}",
        f"  route {request['route'] or '(none)'}, id {request['id']}",
    ]
    frames = request["frames"]
    lines += [
        f'  File "{file}", line {line} in {name}' for file, line, name in frames[:MOST_FRAMES]
    ]
    return lines
