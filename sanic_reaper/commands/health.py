"""`sanic-reaper health`: a probe."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from collections.abc import Sequence

from ..state import health, view
from .terminal import print_json, printable

UNWELL = 1


def main(arguments: Sequence[str]) -> int:
    parser = ArgumentParser(
        prog="sanic-reaper health",
        description="Whether the server of this user is well. Where several run, all have to be.",
        epilog=f"exit codes: 0 well; {UNWELL} not, or no server runs",
    )
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument(
        "--live", action="store_true", help="main's loop advances, and a worker answers"
    )
    kind.add_argument(
        "--ready",
        action="store_true",
        help="all workers that are wanted serve, and no background start is pending",
    )
    parser.add_argument("--app", help="of this app alone")
    parser.add_argument("--json", action="store_true", help="as data: docs/commands.md")
    options = parser.parse_args(arguments)
    decide = health.live if options.live else health.ready
    found = {
        f"{server.app} [{server.main[0]}]": decide(server, time.monotonic())
        for server in view.servers()
        if server.lives and not server.is_over and options.app in (None, server.app)
    }
    well = bool(found) and not any(found.values())
    if options.json:
        print_json("health", {"well": well, "servers": found})
    elif not found:
        print("no server runs", file=sys.stderr)
    for title, why in found.items():
        if why and not options.json:
            print(printable(f"{title}: {why}"), file=sys.stderr)
    return 0 if well else UNWELL
