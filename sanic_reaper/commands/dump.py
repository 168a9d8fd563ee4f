"""`sanic-reaper dump`: where a worker is, at this moment."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from collections.abc import Sequence

from ..state import control
from . import elsewhere
from .terminal import NOTHING_FOUND, USAGE, print_json, printable


def main(arguments: Sequence[str]) -> int:
    parser = ArgumentParser(
        prog="sanic-reaper dump",
        description="The Python stacks of a worker now, with the GIL held or not, without ptrace.",
        epilog=f"exit codes: 0 here it is; {NOTHING_FOUND} there is no such worker, or it can't be "
        f"asked; {USAGE} several servers have one",
    )
    parser.add_argument("worker", metavar="NAME|PID", help="as `sanic-reaper ps` shows it")
    parser.add_argument("--app", help="the server's app, where several have such a worker")
    parser.add_argument("--json", action="store_true", help="as data: docs/commands.md")
    options = parser.parse_args(arguments)
    servers = [
        server
        for server in elsewhere.servers()
        if server.lives
        and options.app in (None, server.app)
        and any(options.worker in (one.name, str(one.identity[0])) for one in server.workers)
    ]
    # Whatever other users claim, where root asks: our own come first.
    servers = [server for server in servers if server.uid == os.geteuid()] or servers
    if not servers:
        return _fail(f"no running server has a worker {options.worker}", NOTHING_FOUND)
    if len(servers) > 1:
        names = ", ".join(f"{server.app} [{server.main[0]}]" for server in servers)
        return _fail(f"several have a worker {options.worker}: {names}; give its pid", USAGE)
    [server] = servers
    try:
        text = control.ask_for_stack(server.directory, server.run, options.worker)
    except (OSError, LookupError) as error:
        return _fail(f"{options.worker} of {server.app}: {error}", NOTHING_FOUND)
    if options.json:
        content = {"app": server.app, "main": server.main[0], "worker": options.worker}
        print_json("dump", {**content, "text": text})
    else:
        print("\n".join(map(printable, text.splitlines())))
    return 0


def _fail(why: str, code: int) -> int:
    print(f"sanic-reaper dump: {printable(why)}", file=sys.stderr)
    return code
