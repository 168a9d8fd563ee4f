"""`sanic-reaper requests`: shows the requests in flight, and the line in which each waits."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from ..state.requests import ask_each, text_of
from ..state.server import Member, Server
from . import elsewhere
from .dump import choose
from .terminal import NOTHING_FOUND, USAGE, print_json, printable

NOBODY = "no server is running that can be asked (under ASGI, and in a single process, none can)"


def main(arguments: Sequence[str]) -> int:
    """Show the requests in flight and return the exit code."""
    options = _parser().parse_args(arguments)
    known = elsewhere.servers()
    if options.process is not None:
        server, code = choose(known, options.process, options.app, "requests")
        if server is None:
            return code
        named = [one for one in server.living_workers if options.process in _names(one)]
        return _show([(server, named)], options.json)
    servers = [
        one for one in known if one.lives and not one.is_over and options.app in (None, one.app)
    ]
    servers.sort(key=lambda one: one.uid != os.geteuid())  # for root: his own do not wait
    if not servers:
        code = _fail(NOBODY)
        elsewhere.complain_of_unseen(known, "sanic-reaper requests")
        return code
    return _show([(server, server.living_workers) for server in servers], options.json)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="sanic-reaper requests",
        description="Show every request in flight: since when, and the chain of lines in which it "
        "awaits, innermost first. A blocked event loop is no obstacle.",
        epilog="exit codes: 0 each worker has answered, also if it has no request; "
        f"{NOTHING_FOUND} no server is running, there is no such worker, or one could not be "
        f"asked; {USAGE} several servers have a worker of that name",
    )
    parser.add_argument(
        "process",
        metavar="NAME|PID",
        nargs="?",
        help="a worker, as `sanic-reaper ps` names it; without: the workers of all servers",
    )
    parser.add_argument("--app", help="ask the server of this app")
    parser.add_argument("--json", action="store_true", help="print JSON (docs/commands.md)")
    return parser


def _names(worker: Member) -> tuple[str, str]:
    return worker.name, str(worker.identity[0])


def _show(asked: Sequence[tuple[Server, Sequence[Member]]], as_json: bool) -> int:
    code = 0
    for server, workers in asked:
        if not workers:
            code = _fail(f"{server.app} [{server.main[0]}] {_why_nobody(server)}")
    answers: list[dict[str, Any]] = []
    for server, workers in asked:
        for answer in ask_each(server, workers):
            if not as_json:  # at once: the next worker may take seconds
                print("\n" * bool(answers) + text_of([answer]), flush=True)
            answers.append(answer)
    if as_json:
        print_json("requests", {"workers": answers})
    return NOTHING_FOUND if any(answer["error"] for answer in answers) else code


def _why_nobody(server: Server) -> str:
    """Why no worker of a running server is asked."""
    if server.guards_only:
        return "can't be asked: Sanic's own manager runs its workers"
    if server.living_workers:
        return "serves no requests in its main process: name a worker"
    return "has no worker now"


def _fail(why: str) -> int:
    print(f"sanic-reaper requests: {printable(why)}", file=sys.stderr)
    return NOTHING_FOUND
